//! The pictures are whole: each tag is closed, and all that takes part is shown.

use coeval_check::{Checker, Finding, History};

fn findings(text: &str) -> Vec<Finding> {
    let history: History = text.parse().unwrap();
    Checker::new().check(&history).unwrap().findings
}

/// Checks that the elements are nested, as XML asks.
fn assert_nested(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("a tag is closed");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{svg}");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_cycle_is_drawn_with_all_its_steps() {
    let texts = [
        "0 1..9: w 1 5\n 1 1..9: w 2 6\n 2 1..9: r 1 5; r 2 -\n 3 1..9: r 1 -; r 2 6",
        "0 1..9: + 1 5\n 1 1..9: + 1 6\n 2 1..9: s 1 5\n 3 1..9: s 1 6",
        "0 1..2: w 1 5\n 0 3..4: w 1 6\n 1 5..6: r 1 5",
        "0 1.. unknown: w 1 5; w 2 6\n 1 1..9: r 1 5; r 2 -",
    ];
    for text in texts {
        let findings = findings(text);
        let [finding] = &findings[..] else { panic!("{findings:?}") };
        let svg = finding.svg();
        assert_nested(&svg);
        assert_eq!(svg.matches("class=\"step\"").count(), finding.cycle.len());
        assert_eq!(svg.matches("class=\"box\"").count(), finding.transactions.len());
        assert!(svg.contains(&finding.name()));
        for of in &finding.transactions {
            assert!(svg.contains(&format!(">T{}</text>", of.number)));
        }
    }
}

#[test]
fn an_anomaly_without_a_cycle_is_drawn_with_its_note() {
    let findings = findings("0 1..2 aborted: w 1 5\n 1 3..4: r 1 5");
    let svg = findings[0].svg();
    assert_nested(&svg);
    assert!(svg.contains("was aborted") && !svg.contains("class=\"step\""));
}
