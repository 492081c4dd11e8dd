//! Unwind safety. A panic leaves a cache consistent, so all types that refer to a cache may be used
//! after a caught panic.
//!
//! The compiler cannot prove this, because the types contain cells. It would also require unwind
//! safety of keys, values and closures. As with a channel, that is the user's responsibility: they
//! are user code, and so is the code in them that panics.

use super::batch::Batch;
use super::builder::Builder;
use super::cache::Cache;
use super::domain::Domain;
use super::domain_view::DomainView;
use super::iter::{OwnedIter, OwnedKeys, OwnedValues};
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
    OwnedIter<K, V, S, R>,
    OwnedKeys<K, V, S, R>,
    OwnedValues<K, V, S, R>,
    Pinned<'_, K, V, S, R>,
    Batch<'_, K, V, S, R>,
    Lease<K, V, S, R>,
    Monitor<K, V, S, R>
);

// Types that are not a cache yet, or do not name its type.
impl<K, V, S, R> UnwindSafe for Builder<K, V, S, R> {}
impl<K, V, S, R> RefUnwindSafe for Builder<K, V, S, R> {}
impl<K, V> UnwindSafe for Settings<K, V> {}
impl<K, V> RefUnwindSafe for Settings<K, V> {}
impl UnwindSafe for Domain {}
impl RefUnwindSafe for Domain {}
impl UnwindSafe for DomainView {}
impl RefUnwindSafe for DomainView {}
impl UnwindSafe for Timeline {}
impl RefUnwindSafe for Timeline {}
