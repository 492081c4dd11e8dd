//! The comparison as one HTML page.

use coeval_bench::picture::page::Page;

use super::{pictures::Picture, read_back::Document};

const INTRODUCTION: &str = "\
The stores take turns, each in a process of its own; a figure is the median of the rounds. Compare \
figures of one run only. What is missing here is in the tables of the same run.";

/// The page. The pictures must show the document's results.
pub fn html(document: &Document, pictures: &[Picture]) -> String {
    let mut page = Page::new("coeval beside other stores");
    page.paragraph("", INTRODUCTION);
    for Picture { svg, caption, .. } in pictures {
        page.figure(svg, caption);
    }
    page.heading("What the project set itself");
    let is = |bar: &[String], word: &str| bar.iter().any(|cell| cell == word);
    let (mut table, missing): (Vec<_>, Vec<_>) =
        document.bars.iter().skip(1).cloned().partition(|bar| !is(bar, "not measured"));
    let met = table.iter().filter(|bar| is(bar, "met")).count();
    let (measured, missing) = (table.len(), missing.len());
    page.paragraph("", &format!("{met} of {measured} are met; {missing} more were not measured."));
    table.splice(0..0, document.bars.first().cloned());
    page.table(&table);
    page.heading("What each store promises");
    page.table(&columns(&document.promises));
    page.heading("What it was taken on");
    for note in &document.notes {
        page.paragraph("note", note);
    }
    page.html()
}

/// The cells of a plain text table, which are at least two spaces apart.
fn columns(text: &str) -> Vec<Vec<String>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.contains('─'));
    let cells = |line: &str| -> Vec<String> {
        let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        cells.map(str::to_owned).collect()
    };
    lines.map(cells).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_tables_become_tables() {
        let text = "  store     atomic batch  who may block\n  ─────\n  coeval           \
        yes        nowhere\n";
        let rows = [["store", "atomic batch", "who may block"], ["coeval", "yes", "nowhere"]];
        assert_eq!(columns(text), rows);
    }

    #[test]
    fn unmeasured_bars_are_counted_and_not_shown() {
        let bar = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let bars = vec![
            bar(["coeval against", "bar", ""]),
            bar(["papaya", "≥ 1", "met"]),
            bar(["moka", "≥ 5", "not measured"]),
        ];
        let html = html(&Document { bars, ..Document::default() }, &[]);
        assert!(html.contains("1 of 1 are met; 1 more were not measured."), "{html}");
        assert!(html.contains("<td>papaya</td>") && !html.contains("moka"), "{html}");
    }
}
