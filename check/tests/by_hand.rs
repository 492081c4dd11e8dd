//! Each anomaly by the smallest history that has it, beside one that differs in one detail and has
//! none.

use coeval_check::{Checker, History, Malformed, Report};

#[track_caller]
fn report(text: &str) -> Report {
    let history: History = text.parse().expect("it is a history");
    Checker::new().check(&history).expect("it is well-formed")
}

#[track_caller]
fn names(text: &str) -> Vec<String> {
    report(text).counts().map(|(name, _)| name.to_owned()).collect()
}

/// The first history has just these anomalies, the second one has none.
#[track_caller]
fn bad_and_good(bad: &str, expected: &[&str], good: &str) {
    assert_eq!(names(bad), expected, "{}", report(bad));
    assert!(report(good).is_clean(), "{}", report(good));
}

#[test]
fn g0_write_cycle() {
    bad_and_good(
        "0 1..9: a 1 11; a 2 12
         1 1..9: a 1 21; a 2 22
         2 10..11: l 1 11 21; l 2 22 12",
        &["G0"],
        "0 1..9: a 1 11; a 2 12
         1 1..9: a 1 21; a 2 22
         2 10..11: l 1 11 21; l 2 12 22",
    );
}

#[test]
fn g0_that_only_time_shows() {
    bad_and_good(
        "0 1..2: a 1 11
         1 3..4: a 1 21
         2 5..6: l 1 21 11",
        &["G0-realtime"],
        "0 1..3: a 1 11
         1 3..4: a 1 21
         2 5..6: l 1 21 11",
    );
}

#[test]
fn g1a_aborted_read() {
    bad_and_good(
        "0 1..2 aborted: w 1 5
         1 3..4: r 1 5",
        &["G1a"],
        "0 1..2 aborted: w 1 5
         1 3..4: r 1 -",
    );
    bad_and_good(
        "0 1..2 aborted: a 1 5
         1 3..4: a 1 6
         2 5..6: l 1 5 6",
        &["G1a"],
        "0 1.. unknown: a 1 5
         1 3..4: a 1 6
         2 5..6: l 1 5 6",
    );
    assert_eq!(names("0 1..2 aborted: + 1 5\n 1 3..4: s 1 5"), ["G1a"]);
}

#[test]
fn g1b_intermediate_read() {
    bad_and_good(
        "0 1..9: w 1 5; w 1 6
         1 2..8: r 1 5",
        &["G1b"],
        "0 1..9: w 1 5; w 1 6
         1 2..8: r 1 6",
    );
    bad_and_good(
        "0 1..9: a 1 5; a 1 6
         1 2..8: l 1 5
         2 10..11: l 1 5 6",
        &["G1b", "G-single"],
        "0 1..9: a 1 5; a 1 6
         1 2..8: l 1
         2 10..11: l 1 5 6",
    );
}

#[test]
fn g1c_circular_information_flow() {
    bad_and_good(
        "0 1..9: w 1 5; r 2 6
         1 1..9: w 2 6; r 1 5",
        &["G1c"],
        "0 1..9: w 1 5; r 2 -
         1 1..9: w 2 6; r 1 5",
    );
}

#[test]
fn g1c_that_only_time_shows() {
    bad_and_good(
        "0 1..2: r 1 5
         1 3..4: w 1 5",
        &["G1c-realtime"],
        "0 1..3: r 1 5
         1 3..4: w 1 5",
    );
}

#[test]
fn g1c_that_only_the_process_shows() {
    bad_and_good(
        "0 1..3: r 1 5
         0 3..4: w 1 5",
        &["G1c-process"],
        "0 1..3: r 1 -
         0 3..4: w 1 5",
    );
}

#[test]
fn g_single_read_skew() {
    bad_and_good(
        "0 1..9: w 1 5; w 2 6
         1 1..9: r 1 5; r 2 -",
        &["G-single"],
        "0 1..9: w 1 5; w 2 6
         1 1..9: r 1 5; r 2 6",
    );
    bad_and_good(
        "0 1..9: + 1 5; + 2 6
         1 1..9: s 1 5; s 2",
        &["G-single"],
        "0 1..9: + 1 5; + 2 6
         1 1..9: s 1; s 2",
    );
}

#[test]
fn stale_reads() {
    // A read that began after a later write had returned.
    bad_and_good(
        "0 1..2: w 1 5
         0 3..4: w 1 6
         1 5..6: r 1 5",
        &["G-single-realtime"],
        "0 1..2: w 1 5
         0 3..5: w 1 6
         1 5..6: r 1 5",
    );
    for stale in ["a 1 5\n 1 3..4: l 1", "+ 1 5\n 1 3..4: s 1", "w 1 5\n 1 3..4: r 1 -"] {
        assert_eq!(names(&format!("0 1..2: {stale}")), ["G-single-realtime"]);
        assert!(report(&format!("0 1..3: {stale}")).is_clean());
        let later = Checker::new().without_real_time();
        let history = format!("0 1..2: {stale}").parse().unwrap();
        assert!(later.check(&history).unwrap().is_clean());
    }
}

#[test]
fn a_process_that_does_not_see_its_own_write() {
    bad_and_good(
        "0 1..3: w 1 5
         0 3..4: r 1 -",
        &["G-single-process"],
        "0 1..3: w 1 5
         1 3..4: r 1 -",
    );
    let history = "0 1..3: w 1 5\n 0 3..4: r 1 -".parse().unwrap();
    assert!(Checker::new().without_order().check(&history).unwrap().is_clean());
}

#[test]
fn lost_update() {
    bad_and_good(
        "0 1..2: w 1 5
         1 3..9: r 1 5; w 1 6
         2 3..9: r 1 5; w 1 7",
        &["lost-update"],
        "0 1..2: w 1 5
         1 3..9: r 1 5; w 1 6
         2 3..9: r 1 6; w 1 7",
    );
    assert_eq!(names("1 3..9: cas 1 - 6\n 2 3..9: cas 1 - 7"), ["lost-update"]);
    bad_and_good(
        "1 3..9: l 1; a 1 6
         2 3..9: l 1; a 1 7
         3 10..11: l 1 6 7",
        &["lost-update", "G-single"],
        "1 3..9: l 1; a 1 6
         2 3..9: l 1 6; a 1 7
         3 10..11: l 1 6 7",
    );
}

#[test]
fn long_fork() {
    bad_and_good(
        "0 1..9: w 1 5
         1 1..9: w 2 6
         2 1..9: r 1 5; r 2 -
         3 1..9: r 1 -; r 2 6",
        &["long-fork"],
        "0 1..9: w 1 5
         1 1..9: w 2 6
         2 1..9: r 1 5; r 2 -
         3 1..9: r 1 5; r 2 6",
    );
    // Of one set.
    bad_and_good(
        "0 1..9: + 1 5
         1 1..9: + 1 6
         2 1..9: s 1 5
         3 1..9: s 1 6",
        &["long-fork"],
        "0 1..9: + 1 5
         1 1..9: + 1 6
         2 1..9: s 1 5
         3 1..9: s 1 5 6",
    );
}

#[test]
fn g2_item_write_skew() {
    bad_and_good(
        "0 1..9: r 1 -; r 2 -; w 1 5
         1 1..9: r 1 -; r 2 -; w 2 6",
        &["G2-item"],
        "0 1..9: r 1 -; r 2 -; w 1 5
         1 1..9: r 1 5; r 2 -; w 2 6",
    );
    assert_eq!(names("0 1..9: s 1; + 1 5\n 1 1..9: s 1; + 1 6"), ["G2-item"]);
}

#[test]
fn the_anomaly_of_a_reader() {
    // Fekete, O'Neil and O'Neil 2004: without the reader, there is a serial order.
    bad_and_good(
        "0 1..9: r 1 -; r 2 -; w 1 5
         1 1..4: r 2 -; w 2 6
         2 5..6: r 1 -; r 2 6",
        &["G2-item"],
        "0 1..9: r 1 -; r 2 -; w 1 5
         1 1..4: r 2 -; w 2 6
         2 5..6: r 1 5; r 2 6",
    );
}

#[test]
fn internal() {
    for (bad, good) in [
        ("w 1 5; r 1 -", "w 1 5; r 1 5"),
        ("w 1 5; w 1 6; r 1 5", "w 1 5; w 1 6; r 1 6"),
        ("r 1 -; w 1 5; r 1 -", "r 1 -; w 1 5; r 1 5"),
        ("a 1 5; l 1", "a 1 5; l 1 5"),
        ("l 1; a 1 5; l 1", "l 1; a 1 5; l 1 5"),
        ("+ 1 5; s 1", "+ 1 5; s 1 5"),
        ("r 1 5; w 1 5", "r 1 -; w 1 5"),
        ("l 1 5; a 1 5", "l 1; a 1 5"),
        ("s 1 5; + 1 5", "s 1; + 1 5"),
    ] {
        let with = |micros| format!("0 1..2: {micros}");
        bad_and_good(&with(bad), &["internal"], &with(good));
    }
    // A read that was not repeated: it is also a read skew.
    bad_and_good(
        "0 1..2: w 1 5
         1 1..9: r 1 -; r 1 5",
        &["internal"],
        "0 1..2: w 1 5
         1 1..9: r 1 5; r 1 5",
    );
}

#[test]
fn garbage_and_duplicates() {
    assert_eq!(names("0 1..2: r 1 5"), ["garbage-read"]);
    assert_eq!(names("0 1..2: l 1 5"), ["garbage-read"]);
    assert_eq!(names("0 1..2: s 1 5"), ["garbage-read"]);
    assert_eq!(names("0 1..2: a 1 5\n 1 3..4: l 1 5 5"), ["duplicate-element"]);
}

#[test]
fn incompatible_order() {
    bad_and_good(
        "0 1..9: a 1 5
         1 1..9: a 1 6
         2 1..9: l 1 5 6
         3 1..9: l 1 6",
        &["incompatible-order"],
        "0 1..9: a 1 5
         1 1..9: a 1 6
         2 1..9: l 1 5 6
         3 1..9: l 1 5",
    );
}

#[test]
fn what_is_unknown_counts_once_it_is_seen() {
    bad_and_good(
        "0 1.. unknown: w 1 5; w 2 6
         1 1..9: r 1 5; r 2 -",
        &["G-single"],
        "0 1.. unknown: w 1 5; w 2 6
         1 1..9: r 1 -; r 2 -",
    );
    // Seen by one that is itself only known because it was seen.
    assert_eq!(
        names(
            "0 1.. unknown: w 1 5; w 2 6
             1 2.. unknown: r 1 5; w 3 7
             2 3..9: r 3 7; r 2 -"
        ),
        ["G-single"]
    );
}

#[test]
fn a_removed_register_tells_nothing_by_its_absence() {
    let stale = "0 1..2: w 1 5\n 1 3..4: r 1 -";
    assert!(report(&format!("{stale}\n 2 1..9: w 1 -")).is_clean());
    let lossy = Checker::new().absences_tell_nothing();
    assert!(lossy.check(&stale.parse().unwrap()).unwrap().is_clean());
    assert!(!report(stale).is_clean());
}

#[test]
fn what_cannot_be_judged_is_refused() {
    let check = |text: &str| Checker::new().check(&text.parse().unwrap()).unwrap_err();
    let twice = Malformed::NotUnique { key: 1, value: 5 };
    assert_eq!(check("0 1..2: w 1 5\n 0 3..4: w 1 5"), twice);
    assert_eq!(check("0 1..2: w 1 5; l 1"), Malformed::TwoTypes { key: 1 });
    assert_eq!(check("0 1..3: w 1 5\n 0 2..4: w 1 6"), Malformed::Overlap { process: 0 });
    assert_eq!(check("0 3..1: w 1 5"), Malformed::Overlap { process: 0 });
}

#[test]
fn a_story_names_the_transactions_and_why() {
    let story = report("0 1..9: w 1 5; w 2 6\n 1 1..9: r 1 5; r 2 -").to_string();
    for part in [
        "1 of G-single",
        "T0 (process 0, 1..9): write 1 := 5; write 2 := 6",
        "T0 wrote 5 to key 1, which T1 saw",
        "T1 found key 2 absent, and T0 wrote after that: 6",
    ] {
        assert!(story.contains(part), "{part} is not in\n{story}");
    }
}

#[test]
fn a_history_prints_as_it_is_read() {
    let text = "0 1..9: w 1 5; cas 1 5 6; r 1 6; w 1 -\n\
                1 2..8 aborted: l 2 7 8; a 2 9\n\
                2 3.. unknown: s 3 1 2; + 3 4; r 4 -\n";
    let history: History = text.parse().unwrap();
    assert_eq!(history.to_string(), text);
    assert_eq!((history.len(), history.micro_operations()), (3, 10));
    for wrong in [
        "0 1..2 aborted then: w 1 5",
        "0 1..2 w 1 5",
        "x 1..2: w 1 5",
        "0 1..2: q 1 5",
        "0 1..2: w 1",
        "0 1: w 1 5",
    ] {
        let error = wrong.parse::<History>().unwrap_err();
        assert!(error.to_string().contains(wrong), "{error}");
    }
}

#[test]
fn the_number_of_a_process_says_nothing_of_their_number() {
    let last = u32::MAX;
    let text = format!("{last} 1..2: w 1 5\n{last} 3..4: r 1 -");
    assert_eq!(names(&text), ["G-single-process"]);
    let overlap: History = format!("{last} 1..3: w 1 5\n{last} 2..4: r 1 5").parse().unwrap();
    assert_eq!(Checker::new().check(&overlap).unwrap_err(), Malformed::Overlap { process: last });
}

/// Each of them is known to have taken effect only because the next one has.
#[test]
fn many_unknown_outcomes_take_no_longer() {
    let mut text = String::from("0 1..2: w 1 1\n");
    for value in 1..30_000 {
        let start = value * 2 + 1;
        text += &format!("1 {start}.. unknown: r 1 {value}; w 1 {}\n", value + 1);
    }
    text += "2 90000..90001: r 1 30000";
    assert!(report(&text).is_clean());
}

#[test]
fn a_key_of_two_types_is_an_error() {
    let history = "0 1..4: r 1 7; l 1 3".parse().unwrap();
    assert_eq!(Checker::new().check(&history).err(), Some(Malformed::TwoTypes { key: 1 }));
}
