//! JSON and CSV output.

use std::fmt::Write;

use serde::Serialize;

use super::head::Head;
use crate::compare::{
    bars::Reached,
    results::{Absent, Results, Row},
};

/// One document.
pub fn json(head: &Head, results: &Results, bars: &[Reached]) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        taken_on: &'a Head,
        results: &'a [Row],
        absent: &'a [Absent],
        bars: &'a [Reached],
    }
    let Results { rows, absent } = results;
    let document = Document { taken_on: head, results: rows, absent, bars };
    serde_json::to_string_pretty(&document).expect("results are plain data")
}

/// One line per row. Semicolons separate the rounds.
pub fn csv(results: &Results) -> String {
    let mut text = String::from(
        "workload,metric,variant,store,unit,median,least,most,ratio_to_coeval,rounds\n",
    );
    for row in &results.rows {
        let unit = serde_json::to_string(&row.unit).expect("a unit is a word");
        let ratio = row.ratio_to_coeval.map_or_else(String::new, |ratio| format!("{ratio:.4}"));
        let rounds: Vec<String> = row.rounds.iter().map(f64::to_string).collect();
        let _ = writeln!(
            text,
            "{},{},{},{},{},{},{},{},{ratio},{}",
            quoted(&row.workload),
            quoted(&row.metric),
            quoted(&row.variant),
            row.store,
            unit.trim_matches('"'),
            row.median,
            row.least,
            row.most,
            rounds.join(";"),
        );
    }
    text
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::results::{Figure, Unit, sum_up};

    #[test]
    fn a_row_is_a_line_and_commas_are_quoted() {
        let figure = Figure::new("gets", "zipf, 2 thr", Unit::PerSecond, 1.5);
        let rows = sum_up("w", &[("coeval", vec![figure.clone(), figure])]);
        let text = csv(&Results { rows, absent: Vec::new() });
        let line = text.lines().nth(1).unwrap();
        assert_eq!(line, "w,gets,\"zipf, 2 thr\",coeval,per_second,1.5,1.5,1.5,1.0000,1.5;1.5");
    }
}
