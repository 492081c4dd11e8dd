//! A look-up that finds a value which has ended, and what others do in the middle of it.

use super::{Cache, tags};
use crate::common::steps::at;
use crate::common::{on_every_reclaimer, store};
use coeval::reclaim::Reclaim;

/// Another value takes its place before it ends: the key was never absent.
fn a_look_up_of_what_is_replaced_and_then_ends<R: Reclaim>() {
    let cache: Cache<R> = store();
    cache.invalidate_all(); // From now on look-ups go the long way.
    for _ in 0..2 {
        cache.insert_tagged(1, 10, &tags(["a"]));
        let other = cache.clone();
        // When it is found, before it is known whether it stands.
        at(&["present.found"], move || {
            other.insert(1, 11);
            other.invalidate_tag("a");
        });
        assert_eq!(cache.get(&1), Some(11));
    }
}

on_every_reclaimer!(a_look_up_of_what_is_replaced_and_then_ends);
