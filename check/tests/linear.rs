//! Linearizability of single keys.

use coeval_check::linear::{Call, Model, Verdict, linearizable, linearizable_keys};
use coeval_check::simulate::Random;
use coeval_check::{History, Recorder};

#[track_caller]
fn keys(text: &str) -> Vec<u64> {
    let history: History = text.parse().unwrap();
    let (refused, too_hard) = linearizable_keys(&history);
    assert!(too_hard.is_empty());
    refused.iter().map(|refused| refused.key).collect()
}

#[test]
fn a_read_shows_what_was_written() {
    assert!(keys("0 1..2: w 1 5\n 1 3..4: r 1 5").is_empty());
    assert!(keys("0 1..9: w 1 5\n 1 3..4: r 1 -").is_empty());
    assert_eq!(keys("0 1..2: w 1 5\n 1 3..4: r 1 -"), [1]);
    assert_eq!(keys("0 1..2: w 1 5\n 0 3..4: w 1 6\n 1 5..6: r 1 5\n 1 7..8: w 2 5"), [1]);
}

#[test]
fn two_readers_do_not_see_new_then_old() {
    let reads = |first, second| {
        format!("0 1..2: w 1 5\n 0 3..20: w 1 6\n 1 4..5: r 1 {first}\n 2 6..7: r 1 {second}")
    };
    assert!(keys(&reads(5, 6)).is_empty());
    assert!(keys(&reads(6, 6)).is_empty());
    assert_eq!(keys(&reads(6, 5)), [1]);
}

#[test]
fn a_value_may_be_written_twice_and_removed() {
    assert!(keys("0 1..2: w 1 5\n 0 3..4: w 1 -\n 0 5..6: w 1 5\n 1 3..5: r 1 -").is_empty());
    assert_eq!(keys("0 1..2: w 1 5\n 0 3..4: w 1 -\n 1 5..6: r 1 5"), [1]);
}

#[test]
fn compare_and_set_is_one_step() {
    assert!(keys("0 1..9: cas 1 - 5\n 1 1..9: cas 1 5 6").is_empty());
    assert_eq!(keys("0 1..9: cas 1 - 5\n 1 1..9: cas 1 - 6"), [1]);
}

#[test]
fn what_is_unknown_may_happen_late_or_never() {
    let read = |value| format!("0 1.. unknown: w 1 5\n 1 8..9: r 1 {value}\n 1 10..11: r 1 5");
    assert!(keys(&read("-")).is_empty());
    assert!(keys(&read("5")).is_empty());
    assert!(keys("0 1.. unknown: w 1 5\n 1 8..9: r 1 -").is_empty());
    assert_eq!(keys("0 1.. unknown: w 1 5\n 1 8..9: r 1 5\n 1 10..11: r 1 -"), [1]);
}

#[test]
fn a_refusal_tells_where_it_was_stuck() {
    let history: History = "0 1..2: w 1 5\n 1 3..4: r 1 -".parse().unwrap();
    let (refused, _) = linearizable_keys(&history);
    assert!(refused[0].story.contains("Write(Some(5))"), "{}", refused[0].story);
    assert!(refused[0].story.contains("none of these:\n  3..4: Read(None)"));
}

/// A queue, to show a model of one's own.
struct Queue;

#[derive(Debug)]
enum QueueOp {
    Push(u8),
    Pop(Option<u8>),
}

impl Model for Queue {
    type Operation = QueueOp;
    type State = Vec<u8>;

    fn initial(&self) -> Vec<u8> {
        Vec::new()
    }

    fn step(&self, state: &Vec<u8>, operation: &QueueOp) -> Option<Vec<u8>> {
        match operation {
            QueueOp::Push(value) => Some(state.iter().chain([value]).copied().collect()),
            QueueOp::Pop(found) => {
                let rest = state.get(1..).unwrap_or_default().to_vec();
                (*found == state.first().copied()).then_some(rest)
            }
        }
    }
}

#[test]
fn a_model_of_ones_own() {
    let call = |start, end, operation| Call { start, end: Some(end), operation };
    let pops = |first| {
        [
            call(1, 5, QueueOp::Push(1)),
            call(2, 6, QueueOp::Push(2)),
            call(7, 8, QueueOp::Pop(Some(first))),
            call(9, 10, QueueOp::Pop(Some(3 - first))),
            call(11, 12, QueueOp::Pop(None)),
        ]
    };
    assert_eq!(linearizable(&Queue, &pops(1)), Verdict::Linearizable(vec![0, 1, 2, 3, 4]));
    assert_eq!(linearizable(&Queue, &pops(2)), Verdict::Linearizable(vec![1, 0, 2, 3, 4]));
    let twice = [call(1, 2, QueueOp::Push(1)), call(3, 4, QueueOp::Pop(None))];
    let Verdict::Not { order, stuck } = linearizable(&Queue, &twice) else { panic!("it is not") };
    assert_eq!((order, stuck), (vec![0], vec![1]));
}

/// Calls of a register that takes each at one instant: how many, and with one wrong read or none.
fn calls(random: &mut Random, len: usize, wrong: bool) -> String {
    let (mut text, mut value, mut ends) = (String::new(), None, [0; 6]);
    let at_wrong = if wrong { len / 2 + random.below(len as u64 / 2) as usize } else { len };
    for at in 0..len {
        let now = at as u64 * 10;
        let process = random.below(6) as usize;
        // The instants are 10 apart, and each call reaches up to five instants back and on.
        let start = (now.saturating_sub(random.below(50))).max(ends[process]);
        let end = now.max(start) + random.below(50);
        if start > now {
            continue;
        }
        ends[process] = end + 1;
        let shown = |value: Option<usize>| value.map_or("-".to_owned(), |value| value.to_string());
        let (found, kind) = (shown(value), random.below(3));
        let line = match kind {
            _ if at >= at_wrong => "r 1 999999".to_owned(),
            0 => format!("r 1 {found}"),
            1 => format!("w 1 {at}"),
            _ => format!("cas 1 {found} {at}"),
        };
        if kind > 0 && at < at_wrong {
            value = Some(at);
        }
        text += &format!("{process} {start}..{end}: {line}\n");
        if at >= at_wrong {
            break;
        }
    }
    text
}

#[test]
fn random_calls_are_judged_rightly() {
    let mut random = Random::new(4);
    for _ in 0..300 {
        let good = calls(&mut random, 200, false);
        assert!(keys(&good).is_empty(), "{good}");
    }
    for _ in 0..50 {
        let bad = calls(&mut random, 60, true);
        let is_there = bad.contains("999999");
        assert_eq!(keys(&bad), if is_there { vec![1] } else { vec![] }, "{bad}");
    }
}

#[test]
fn a_long_history_of_one_key_is_judged() {
    let recorder = Recorder::new();
    let mut log = recorder.log();
    for value in 0..50_000 {
        let mut tx = log.begin();
        if value % 2 == 0 {
            tx.write(1, value)
        } else {
            tx.read(1, Some(value - 1))
        }
        tx.commit();
    }
    drop(log);
    let (refused, too_hard) = linearizable_keys(&recorder.history());
    assert!(refused.is_empty() && too_hard.is_empty());
}
