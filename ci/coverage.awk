# Lines of `src` that no test runs, by function, from the lcov text of llvm-cov. ci/coverage.sh
# calls this. The sources are formatted by rustfmt, so an item ends at the closing brace that stands
# below its first word.
#
#   list    the file that lists what is known to be uncovered, with the reasons
#   least   the least coverage, in percent
#   root    the path before `src/` in the lcov text

# The list: a heading for each reason, then the functions, each with the most lines that it may
# leave out.
BEGIN {
    while ((getline entry <list) > 0) {
        if (split(entry, field, " ") == 3 && field[1] ~ /^[0-9]+$/) {
            known[field[2] " " field[3]] = field[1]
        }
    }
}

sub(/^SF:/, "") {
    file = index($0, root "src/") == 1 ? substr($0, length(root "src/") + 1) : ""
    if (file ~ /(^|\/)tests(\/|\.rs$)/) { file = "" }
    if (file != "") { read_source(file) }
    next
}

file != "" && sub(/^DA:/, "") {
    split($0, field, ",")
    line = field[1]
    if (is_test[line]) { next }
    room = file
    if (!sub(/\/.*/, "", room)) { room = "(root)" }
    lines[room]++
    if (field[2] > 0) { covered[room]++; last_uncovered = 0; next }
    name = file " " item[line]
    missed[name]++
    # Lines between two uncovered ones that are not code belong to one range.
    if (last_uncovered && last_name == name) { sub(/[0-9]+$/, line, ranges[name]) }
    else { ranges[name] = ranges[name] (ranges[name] ? ", " : "") line "-" line }
    last_uncovered = line
    last_name = name
}

END {
    for (name in missed) {
        text = ranges[name]
        gsub(/ /, "", text)
        count = split(text, range, ",")
        text = ""
        for (i = 1; i <= count; i++) {
            split(range[i], end, "-")
            text = text (i > 1 ? ", " : "") (end[1] == end[2] ? end[1] : range[i])
        }
        listing = missed[name] " " name ": " text
        if (!(name in known)) { listing = listing " (not listed)"; unlisted++ }
        else if (missed[name] > known[name]) {
            listing = listing " (more than the " known[name] " of the list)"
            unlisted++
        }
        print listing | "sort -k2,3"
    }
    close("sort -k2,3")
    for (name in known) {
        if (!(name in missed)) { print "listed, and covered now: " name | "sort" }
    }
    close("sort")
    print "room lines uncovered percent"
    for (room in lines) {
        all += lines[room]
        hit += covered[room]
        share = percent(covered[room], lines[room])
        print room, lines[room], lines[room] - covered[room], share | "sort"
    }
    close("sort")
    print "all", all, all - hit, percent(hit, all)
    if (all == 0 || 100 * hit < least * all) {
        print "error: less than " least " % of the lines are covered"
        bad = 1
    }
    if (unlisted > 0) {
        print "error: " unlisted " functions have uncovered lines that the list does not explain"
        bad = 1
    }
    exit bad
}

function percent(part, whole) { return whole ? sprintf("%.1f", 100 * part / whole) : "-" }

# Finds out for each line which item it belongs to, and whether only tests have it.
function read_source(file,   path, number, text, indent, depth, name, test_indent, i, here) {
    split("", is_test)
    split("", item)
    path = "src/" file
    number = depth = 0
    test_indent = -1
    while ((getline text <path) > 0) {
        number++
        indent = match(text, /[^ ]/) - 1
        if (test_indent < 0 && text ~ /^ *#\[cfg\(((all|any)\()?test[,)]/) { test_indent = indent }
        if (test_indent >= 0) { is_test[number] = 1 }
        name = name_of(text)
        if (name != "") {
            while (depth > 0 && indents[depth] >= indent) { depth-- }
            indents[++depth] = indent
            names[depth] = name
        }
        here = ""
        for (i = 1; i <= depth; i++) { here = here (i > 1 ? "::" : "") names[i] }
        item[number] = here == "" ? "(file)" : here
        # An item ends with its brace, or with its line.
        if (indent >= 0 && depth > 0 && indents[depth] == indent &&
            (text ~ /^ *\}/ || (name != "" && text ~ /(;|\}) *(\/\/.*)?$/))) { depth-- }
        if (test_indent == indent && text !~ /^ *#/ && text ~ /^ *\}|;$|\}$/) { test_indent = -1 }
    }
    close(path)
}

# The name of the item that begins in this line: a function, a type that is implemented, a module.
function name_of(text) {
    sub(/^ */, "", text)
    sub(/^pub(\([a-z: ]*\))? /, "", text)
    while (sub(/^(const|async|unsafe|default|extern "C") /, "", text)) { }
    if (sub(/^(fn|mod|trait) /, "", text) || sub(/^macro_rules! /, "", text)) {
        sub(/[^A-Za-z0-9_].*/, "", text)
        return text
    }
    if (text ~ /^impl[ <]/) { return implemented(text) }
    return ""
}

# `Drop for Guard` of `impl<'a, T: Into<U>> Drop for Guard<'a, T> where ...`, in one word.
function implemented(text,   i, open, letter, plain) {
    text = substr(text, 5)
    open = 0
    plain = ""
    for (i = 1; i <= length(text); i++) {
        letter = substr(text, i, 1)
        if (letter == "<") { open++ }
        else if (letter == ">" && substr(text, i - 1, 1) != "-") { open-- }
        else if (open == 0) { plain = plain letter }
    }
    sub(/ where .*/, "", plain)
    sub(/ *\{.*/, "", plain)
    gsub(/^ +| +$/, "", plain)
    gsub(/ for /, "-for-", plain)
    gsub(/'[a-z_]+ ?|[ &]/, "", plain)
    return plain
}
