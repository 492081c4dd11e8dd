//! What is known here, as of one state of the server.

use crate::core::Core;
use crate::held::{Held, Local};
use coeval::View;
use std::fmt;

/// What was known in this process when the view was opened; made by
/// [`NearCache::view`](crate::NearCache::view). All of it was true at once on the server.
///
/// What is unknown says nothing about the server. A look-up by other means, for what a view does
/// not know, may be of a later state than the view: use [`get_many`](crate::NearCache::get_many)
/// for keys that belong together.
pub struct NearView<V: Clone + Send + Sync + 'static> {
    view: View<String, Held<V>>,
    link: u64,
    opened: u64,
}

impl<V: Clone + Send + Sync + 'static> NearView<V> {
    pub(crate) fn open(core: &Core<V>) -> Option<Self> {
        let limit = core.limit();
        let view = core.l1.view();
        let link = core.serving.link();
        let opened = core.clock.now();
        let may_serve = link != 0 && opened < limit;
        may_serve.then_some(Self { view, link, opened })
    }

    /// Returns what was known of `key`. Does not wait.
    pub fn get(&self, key: &str) -> Local<&V> {
        match self.view.get(key) {
            Some(held) if held.link == self.link && self.opened < held.until => {
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
