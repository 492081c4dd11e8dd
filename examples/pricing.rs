//! A report derived from 200 prices, each derived from one of 20 forwards, which are derived from
//! rates: `cargo run --features macros --example pricing`.
//!
//! One call derives everything that is due, through all levels, and sets it in one commit. A
//! forward that ten prices use is derived once. If it comes out as before, its prices become valid
//! again without a derivation.

use coeval::{Cache, Scope};
use std::sync::atomic::{AtomicU64, Ordering};

const FORWARDS: u64 = 20;
const PRICES: u64 = 200;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Key {
    Rate(u64),
    Forward(u64),
    Price(u64),
    Report,
}

type Book = Cache<Key, u64>;

/// How many of each level were derived.
static DERIVED: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

#[coeval::derived(key = Key::Forward(number))]
fn forward(scope: &mut Scope<Key, u64>, number: u64) -> u64 {
    DERIVED[0].fetch_add(1, Ordering::Relaxed);
    scope.get(&Key::Rate(number)).unwrap_or(0) / 100
}

#[coeval::derived(key = Key::Price(number))]
fn price(scope: &mut Scope<Key, u64>, number: u64) -> u64 {
    DERIVED[1].fetch_add(1, Ordering::Relaxed);
    forward(scope, number % FORWARDS) * (number + 1)
}

#[coeval::derived(key = Key::Report)]
fn report(scope: &mut Scope<Key, u64>) -> u64 {
    DERIVED[2].fetch_add(1, Ordering::Relaxed);
    // The forwards come first, so that the cache knows which prices are still valid.
    (0..FORWARDS).for_each(|number| _ = forward(scope, number));
    (0..PRICES).map(|number| price(scope, number)).sum()
}

/// How many forwards, prices and reports were derived since the last call.
fn derived() -> [u64; 3] {
    DERIVED.each_ref().map(|count| count.swap(0, Ordering::Relaxed))
}

fn main() {
    let book = Book::new();
    let rates = |of: &dyn Fn(u64) -> u64| {
        book.insert_many((0..FORWARDS).map(|at| (Key::Rate(at), of(at))));
    };
    rates(&|at| 1_000 * at);
    let first = report(&book);
    println!("report {first}, derived: {:?}", derived());

    book.insert(Key::Rate(7), 7_777);
    assert_eq!(book.get(&Key::Report), None);
    let second = report(&book);
    let made = derived();
    println!("one rate has changed: report {second}, derived: {made:?}");
    assert_eq!((made, book.get(&Key::Report)), ([1, PRICES / FORWARDS, 1], Some(second)));

    rates(&|at| if at == 7 { 7_778 } else { 1_000 * at + 1 });
    let third = report(&book);
    let made = derived();
    println!("all have changed by a little: report {third}, derived: {made:?}");
    assert_eq!((made, third), ([FORWARDS, 0, 1], second), "no price is different");
}
