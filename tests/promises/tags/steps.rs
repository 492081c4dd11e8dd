//! A look-up that finds a value that has ended, and actions of other threads in the middle of it.

use super::{Cache, tags};
use crate::common::steps::at;
use crate::common::{on_every_reclaimer, store};
use coeval::reclaim::Reclaim;

/// Another value replaces it before it ends, so the key was never absent.
fn a_look_up_of_a_value_that_is_replaced_and_then_ends<R: Reclaim>() {
    let cache: Cache<R> = store();
    cache.invalidate_all(); // From now on, look-ups take the long path.
    for _ in 0..2 {
        cache.insert_tagged(1, 10, &tags(["a"]));
        let other = cache.clone();
        // The value is found, but not yet checked.
        at(&["present.found"], move || {
            other.insert(1, 11);
            other.invalidate_tag("a");
        });
        assert_eq!(cache.get(&1), Some(11));
    }
}

on_every_reclaimer!(a_look_up_of_a_value_that_is_replaced_and_then_ends);
