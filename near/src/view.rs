//! What is known here, as of one state of the server.

use crate::core::Core;
use crate::held::{Held, Local};
use crate::serving::Terms;
use coeval::View;
use std::fmt;

/// What was known in this process when the view was opened; made by
/// [`NearCache::view`](crate::NearCache::view). All of it was true at once on the server.
///
/// What is unknown says nothing about the server. A look-up by other means, for what a view does
/// not know, may be of a later state than the view: use [`get_many`](crate::NearCache::get_many)
/// for keys that belong together.
///
/// In a cluster, one state of the server means one of each slot; and what is known of a slot becomes
/// unknown, also in an open view, when the slot moves, or its node is flushed or lost.
pub struct NearView<V: Clone + Send + Sync + 'static> {
    view: View<String, Held<V>>,
    terms: Terms,
    opened: u64,
}

impl<V: Clone + Send + Sync + 'static> NearView<V> {
    pub(crate) fn open(core: &Core<V>) -> Option<Self> {
        let limit = core.limit();
        let view = core.l1.view();
        let terms = core.serving.terms.for_view();
        let opened = core.clock.now();
        let is_any = core.is_cluster() || terms.is_any();
        (is_any && opened < limit).then_some(Self { view, terms, opened })
    }

    /// In a cluster, no two look-ups find entries of two terms of one slot. If the view has entries
    /// of a term, then that began before the view was opened; so no earlier term is under way.
    fn may_serve(&self, held: &Held<V>) -> bool {
        self.terms.is_under_way(held.term)
    }

    /// Returns what was known of `key`. Does not wait.
    pub fn get(&self, key: &str) -> Local<&V> {
        match self.view.get(key) {
            Some(held) if self.may_serve(held) && self.opened < held.until => {
                Local::from_known(held.value.as_ref())
            }
            _ => Local::Unknown,
        }
    }
}

impl<V: Clone + Send + Sync + 'static> fmt::Debug for NearView<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NearView").field("version", &self.view.version()).finish_non_exhaustive()
    }
}
