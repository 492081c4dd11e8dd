//! A look-up that finds a value which has ended, and what others do in the middle of it.

use super::{Cache, tags};
use crate::common::{on_every_reclaimer, store};
use coeval::reclaim::Reclaim;
use std::cell::RefCell;

std::thread_local! { static ACT: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) }; }

/// Has this thread do something once, when it has found a value and not yet looked whether that stands.
fn when_found(act: impl FnOnce() + 'static) {
    ACT.set(Some(Box::new(act)));
    coeval::internals::set_step_hook(|name| {
        if name == "present.found"
            && let Some(act) = ACT.take()
        {
            act();
        }
    });
}

/// Another value takes its place before it ends: the key was never absent.
fn a_look_up_of_what_is_replaced_and_then_ends<R: Reclaim>() {
    let cache: Cache<R> = store();
    cache.invalidate_all(); // From now on look-ups go the long way.
    for _ in 0..2 {
        cache.insert_tagged(1, 10, &tags(["a"]));
        let other = cache.clone();
        when_found(move || {
            other.insert(1, 11);
            other.invalidate_tag("a");
        });
        assert_eq!(cache.get(&1), Some(11));
    }
}

on_every_reclaimer!(a_look_up_of_what_is_replaced_and_then_ends);
