//! The destructors of several values of a commit that was not made panic: the first panic reaches
//! the caller, and all values are dropped.

use crate::common::{on_every_reclaimer, steps, store};
use coeval::reclaim::Reclaim;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

std::thread_local! {
    /// How many destructors of derived values are yet to panic.
    static BOMBS: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

/// A value; those above 100 are derived.
#[derive(PartialEq)]
struct Bomb(u64);

impl Bomb {
    fn new(number: u64) -> Self {
        LIVE.set(LIVE.get() + 1);
        Self(number)
    }
}

impl Clone for Bomb {
    fn clone(&self) -> Self {
        Self::new(self.0)
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        LIVE.set(LIVE.get() - 1);
        let left = BOMBS.get();
        if self.0 > 100 && left > 0 {
            BOMBS.set(left - 1);
            // Unlike `panic!`, this prints nothing.
            resume_unwind(Box::new("a bomb"));
        }
    }
}

fn values_of_an_aborted_derivation<R: Reclaim>() {
    let cache = store::<u64, Bomb, R>();
    cache.insert(1, Bomb::new(1));
    let other = cache.clone();
    steps::at(&["derive.before_fill"], move || {
        other.insert(2, Bomb::new(5)); // So the commit is not made.
        BOMBS.set(2);
    });
    let panic = catch_unwind(AssertUnwindSafe(|| {
        cache.derive(3, |scope| {
            let two = scope.derive(2, |scope| Bomb::new(scope.get(&1).unwrap().0 + 100));
            Bomb::new(two.0 + 100)
        })
    }));
    assert_eq!(steps::left(), 0);
    assert!(panic.is_err_and(|panic| panic.is::<&str>()), "the first panic reaches the caller");
    assert_eq!(BOMBS.take(), 0);
    assert_eq!((cache.get(&2).map(|found| found.0), cache.contains_key(&3)), (Some(5), false));
    assert_eq!(cache.derive(3, |_| Bomb::new(7)).0, 7, "the key can be derived");
    drop(cache);
    assert_eq!(LIVE.get(), 0, "all values are dropped, each once");
}

on_every_reclaimer!(values_of_an_aborted_derivation);
