//! A report derived from 200 prices, each derived from one of 20 forwards, which are derived from
//! rates: `cargo run --example pricing`.
//!
//! One call derives everything that is due, through all levels, and sets it in one commit. A
//! forward that ten prices use is derived once. If it comes out as before, its prices become valid
//! again without a derivation.

use coeval::{Cache, Scope};
use std::cell::Cell;

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
#[derive(Default)]
struct Derived {
    forwards: Cell<u64>,
    prices: Cell<u64>,
    reports: Cell<u64>,
}

fn count(derived: &Cell<u64>) {
    derived.set(derived.get() + 1);
}

impl Derived {
    fn forward(&self, scope: &mut Scope<Key, u64>, number: u64) -> u64 {
        scope.derive(Key::Forward(number), |scope| {
            count(&self.forwards);
            scope.get(&Key::Rate(number)).unwrap_or(0) / 100
        })
    }

    fn price(&self, scope: &mut Scope<Key, u64>, number: u64) -> u64 {
        scope.derive(Key::Price(number), |scope| {
            count(&self.prices);
            self.forward(scope, number % FORWARDS) * (number + 1)
        })
    }

    fn report(&self, book: &Book) -> u64 {
        book.derive(Key::Report, |scope| {
            count(&self.reports);
            // The forwards come first, so that the cache knows which prices are still valid.
            (0..FORWARDS).for_each(|number| _ = self.forward(scope, number));
            (0..PRICES).map(|number| self.price(scope, number)).sum()
        })
    }

    /// How many forwards, prices and reports were derived since the last call.
    fn take(&self) -> [u64; 3] {
        [&self.forwards, &self.prices, &self.reports].map(Cell::take)
    }
}

fn main() {
    let (book, derived) = (Book::new(), Derived::default());
    let rates = |of: &dyn Fn(u64) -> u64| {
        let batch =
            (0..FORWARDS).fold(book.batch(), |batch, at| batch.insert(Key::Rate(at), of(at)));
        batch.commit();
    };
    rates(&|at| 1_000 * at);
    let first = derived.report(&book);
    println!("report {first}, derived: {:?}", derived.take());

    book.insert(Key::Rate(7), 7_777);
    assert_eq!(book.get(&Key::Report), None);
    let second = derived.report(&book);
    let made = derived.take();
    println!("one rate has changed: report {second}, derived: {made:?}");
    assert_eq!((made, book.get(&Key::Report)), ([1, PRICES / FORWARDS, 1], Some(second)));

    rates(&|at| if at == 7 { 7_778 } else { 1_000 * at + 1 });
    let third = derived.report(&book);
    let made = derived.take();
    println!("all have changed by a little: report {third}, derived: {made:?}");
    assert_eq!((made, third), ([FORWARDS, 0, 1], second), "no price is different");
}
