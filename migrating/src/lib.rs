//! Both sides of each row of `docs/migrating.md`. A row is a test: what the other crate answers to
//! the left side, and what coeval answers to the right side, is the same value, which is written
//! beside it. For each table, one more test checks that these are its rows, in its order.
#![cfg(test)]

mod in_flight;
mod maps;
mod moka_rows;
mod quick_cache_rows;

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Declares the rows of a table: `name: "left cell" gives value { the peer } { coeval }`.
macro_rules! rows {
    ($chapter:literal:
        $($name:ident: $cell:literal gives $expected:expr; $peer:block $ours:block)+
    ) => {
        $(
            #[test]
            fn $name() {
                let expected = $expected;
                assert_eq!($peer, expected, "the left side of {}", $cell);
                assert_eq!($ours, expected, "the right side of {}", $cell);
            }
        )+

        #[test]
        fn these_are_the_rows_of_the_table() {
            assert_eq!(crate::left_cells($chapter), [$($cell),+]);
        }
    };
}
pub(crate) use rows;

/// Returns the left cells of a chapter's table.
fn left_cells(chapter: &str) -> Vec<String> {
    let guide = include_str!("../../docs/migrating.md");
    let mut chapters = guide.split("\n## ");
    let chapter = chapters.find(|text| text.lines().next() == Some(chapter)).expect("a chapter");
    let table = chapter.lines().filter(|line| line.starts_with("| "));
    let cells = table.map(|line| line.trim_start_matches("| ").split(" | ").next());
    cells.skip(1).map(|cell| cell.expect("a cell").trim().to_string()).collect()
}

/// Polls a future until it is done.
fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::yield_now();
    }
}

/// A time after which an entry ends, and one that is longer.
const SHORT: Duration = Duration::from_millis(20);
const LONGER: Duration = Duration::from_millis(60);
