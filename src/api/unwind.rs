//! A panic leaves a cache whole, so what refers to one may be used afterwards, whatever it passed by.
//!
//! The compiler cannot tell, because of the cells inside. What it would ask of keys, values and closures that have
//! interior mutability is up to those, as with a channel: they are the user's, and a panic in them is as well.

use super::batch::Batch;
use super::builder::Builder;
use super::cache::Cache;
use super::lease::Lease;
use super::monitor::Monitor;
use super::pinned::Pinned;
use super::settings::Settings;
use super::view::{Iter, View};
use super::weak::WeakCache;
use crate::metrics::Timeline;
use crate::reclaim::Reclaim;
use std::panic::{RefUnwindSafe, UnwindSafe};

macro_rules! unwind_safe {
    ($($name:ident<$($lifetime:lifetime,)? K, V, S, R>),*) => {$(
        impl<K, V, S, R: Reclaim> UnwindSafe for $name<$($lifetime,)? K, V, S, R> {}
        impl<K, V, S, R: Reclaim> RefUnwindSafe for $name<$($lifetime,)? K, V, S, R> {}
    )*};
}

unwind_safe!(
    Cache<K, V, S, R>,
    WeakCache<K, V, S, R>,
    View<K, V, S, R>,
    Iter<'_, K, V, S, R>,
    Pinned<'_, K, V, S, R>,
    Batch<'_, K, V, S, R>,
    Lease<K, V, S, R>,
    Monitor<K, V, S, R>
);

// What is not a cache yet, or does not know its type.
impl<K, V, S, R> UnwindSafe for Builder<K, V, S, R> {}
impl<K, V, S, R> RefUnwindSafe for Builder<K, V, S, R> {}
impl<K, V> UnwindSafe for Settings<K, V> {}
impl<K, V> RefUnwindSafe for Settings<K, V> {}
impl UnwindSafe for Timeline {}
impl RefUnwindSafe for Timeline {}
