//! A history from its text.

use crate::history::{History, Kind, Micro, NEVER, Outcome, Txn};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A line of text that is not a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    line: String,
    why: &'static str,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.why, self.line)
    }
}

impl std::error::Error for ParseError {}

impl FromStr for History {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut logs: BTreeMap<u32, History> = BTreeMap::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let to_error = |why| ParseError { line: line.to_owned(), why };
            let (head, body) = line.split_once(':').ok_or(to_error("a colon is missing"))?;
            let mut txn = head_of(head).map_err(to_error)?;
            let log = logs.entry(txn.process).or_default();
            txn.first = log.micros.len() as u32;
            for action in body.split(';').filter(|action| !action.trim().is_empty()) {
                push_action(log, action).map_err(to_error)?;
            }
            txn.len = log.micros.len() as u32 - txn.first;
            log.txns.push(txn);
        }
        let mut history = History::default();
        logs.into_values().for_each(|log| history.push_log(log));
        history.sort();
        Ok(history)
    }
}

fn head_of(head: &str) -> Result<Txn, &'static str> {
    let mut words = head.split_whitespace();
    let process = words.next().and_then(|word| word.parse().ok()).ok_or("no process")?;
    let (start, end) = words.next().and_then(|word| word.split_once("..")).ok_or("no interval")?;
    let start = start.parse().map_err(|_| "no start")?;
    let outcome = match words.next() {
        None => Outcome::Committed,
        Some("aborted") => Outcome::Aborted,
        Some("unknown") => Outcome::Unknown,
        Some(_) => return Err("an outcome is `aborted` or `unknown`"),
    };
    if words.next().is_some() {
        return Err("more than an outcome before the colon");
    }
    let end = if end.is_empty() { NEVER } else { end.parse().map_err(|_| "no end")? };
    Ok(Txn { start, end, first: 0, len: 0, process, outcome })
}

fn push_action(log: &mut History, action: &str) -> Result<(), &'static str> {
    let mut words = action.split_whitespace();
    let what = words.next().ok_or("no micro-operation")?;
    let numbers: Vec<Option<u64>> = words
        .map(|word| match word {
            "-" => Ok(None),
            _ => word.parse().map(Some).map_err(|_| "not a number"),
        })
        .collect::<Result<_, _>>()?;
    let (&key, values) = numbers.split_first().ok_or("no key")?;
    let key = key.ok_or("no key")?;
    let mut one = |kind, value: Option<u64>, joined| {
        let len = u32::from(value.is_some());
        log.micros.push(Micro { key, value: value.unwrap_or(0), len, kind, joined });
    };
    match (what, values) {
        ("r", [value]) => one(Kind::Read, *value, false),
        ("w", [value]) => one(Kind::Write, *value, false),
        ("cas", [found, value]) => {
            one(Kind::Read, *found, true);
            one(Kind::Write, *value, false);
        }
        ("a", [Some(value)]) => one(Kind::Append, Some(*value), false),
        ("+", [Some(value)]) => one(Kind::Add, Some(*value), false),
        ("l" | "s", values) => {
            let mut elements: Vec<u64> =
                values.iter().copied().collect::<Option<_>>().ok_or("not a number")?;
            let kind = if what == "l" { Kind::ReadList } else { Kind::ReadSet };
            if what == "s" {
                elements.sort_unstable();
            }
            let (value, len) = (log.elements.len() as u64, elements.len() as u32);
            log.elements.append(&mut elements);
            log.micros.push(Micro { key, value, len, kind, joined: false });
        }
        _ => return Err("no such micro-operation"),
    }
    Ok(())
}
