//! A view of all caches of a domain.

use super::cache::Cache;
use super::domain::Domain;
use super::view::View;
use crate::engine::{OfEach, OpenedView};
use crate::error::ForeignCache;
use crate::reclaim::Reclaim;
use crate::version::Version;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::panic::Location;
use std::sync::Arc;

/// A read-only snapshot of all caches of a [`Domain`] as of one [`Version`]; made by
/// [`Domain::view`].
///
/// In each cache it is a [`View`], which [`of`](Self::of) returns. It keeps the caches alive.
///
/// ```
/// let domain = coeval::Domain::new();
/// let (names, ages) = (domain.cache::<u64, &str>(), domain.cache::<u64, u32>());
/// let mut batch = domain.batch();
/// batch.insert(&names, 7, "Ada")?.insert(&ages, 7, 36)?;
/// batch.commit();
/// let view = domain.view();
/// ages.insert(7, 37);
/// names.remove(&7);
/// assert_eq!((view.of(&names)?.get(&7), view.of(&ages)?.get(&7)), (Some(&"Ada"), Some(&36)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DomainView {
    version: u64,
    views: OfEach<OpenedView>,
}

impl Domain {
    /// Opens a view of all caches of the domain, as of one version.
    ///
    /// O(n) for n caches. Lock-free: it begins again only if a commit was made meanwhile. May call
    /// the allocator.
    #[must_use]
    #[track_caller]
    pub fn view(&self) -> DomainView {
        let (version, views) = self.core().open();
        views.iter().for_each(|view| view.snapshot().opened_by(Location::caller()));
        DomainView { version, views }
    }
}

impl DomainView {
    /// Returns the view of one cache. It may outlive this one. O(n) for n caches of the domain,
    /// wait-free.
    ///
    /// # Errors
    /// [`ForeignCache`] if the cache is not of the domain, or was made after the view was opened.
    pub fn of<K, V, S, R>(
        &self,
        cache: &Cache<K, V, S, R>,
    ) -> Result<View<K, V, S, R>, ForeignCache>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: BuildHasher,
        R: Reclaim,
    {
        let engine = cache.shared_engine();
        let view = view_of(&self.views, Arc::as_ptr(&engine).addr());
        let snapshot = engine.share(view.ok_or(ForeignCache::new(()))?.snapshot());
        Ok(View::new(engine, snapshot))
    }

    /// Returns the version of all views.
    #[must_use]
    pub fn version(&self) -> Version {
        Version::from_u64(self.version)
    }
}

/// Returns the view of the cache at this address.
pub(super) fn view_of(views: &[OpenedView], cache: usize) -> Option<&OpenedView> {
    views.iter().find(|view| view.member.address() == cache)
}

impl fmt::Debug for DomainView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DomainView")
            .field("version", &self.version())
            .field("caches", &self.views.len())
            .finish()
    }
}
