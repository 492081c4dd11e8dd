//! Entries with tags, and the invalidation of all entries with one tag.

use super::cache::Cache;
use crate::chain::Parcel;
use crate::reclaim::Reclaim;
use crate::relation::Tag;
use crate::version::Version;
use std::hash::{BuildHasher, Hash};

/// # Tags
/// A value may have several [tags](Tag), and any number of entries may have the same tag. The
/// invalidation of a tag is one commit that makes all of them absent. It costs the same for one
/// entry as for a million: each reader of a value with tags checks whether one was invalidated
/// since. Values without tags pay nothing for this.
///
/// A value that is loaded, refreshed or derived in place of a value with tags has the same tags. A
/// load that is under way when a tag of its key is invalidated is therefore refused, as after any
/// other change. A value that a write sets has the tags that the write specifies:
/// [`insert`](Self::insert), a batch's `insert` and a relation specify none.
///
/// An ended value is absent for every reader. It counts in [`len`](Self::len) and
/// [`weighted_size`](Self::weighted_size) until it is loaded again, written, removed or evicted, or
/// until it is swept out: by [`maintain`](Self::maintain), by [`collect`](Self::collect), or by
/// writers if the cache was [built](crate::Builder::sweep_ended) so. A value that is loaded after
/// that has only the tags that its [loader gives](Self::get_with_terms). A tag takes memory as long
/// as some value has it.
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Sets `key` and applies its [declared relations](crate::Builder::related) in one commit. The
    /// value has these tags. The values that relations write have none. O(tags), lock-free.
    ///
    /// ```
    /// use coeval::{Cache, Tag};
    ///
    /// let cache = Cache::new();
    /// let (tenant, prices) = (Tag::from("tenant:7"), Tag::from("prices"));
    /// cache.insert_tagged("cart", 30, &[tenant.clone(), prices.clone()]);
    /// cache.insert_tagged("offer", 20, &[prices.clone()]);
    /// cache.insert_tagged("name", 10, &[tenant]);
    /// cache.invalidate_tag(prices);
    /// assert_eq!(cache.get_many([&"cart", &"offer", &"name"]), [None, None, Some(10)]);
    /// ```
    pub fn insert_tagged(&self, key: K, value: V, tags: &[Tag]) -> Version {
        if tags.is_empty() {
            return self.insert(key, value);
        }
        let mut place = Parcel::empty();
        place.put(value);
        self.engine().insert_tagged(key, &mut place, tags)
    }

    /// Adds `tags` to those that `key` has, in one commit, which replaces the value with a clone of
    /// it. The value keeps its deadlines, and values derived from it stay. An invalidation of a tag
    /// before that commit does not affect the entry. If the key is absent, nothing has the tags
    /// afterwards. O(tags), lock-free.
    ///
    /// ```
    /// use coeval::{Cache, Tag};
    ///
    /// let cache = Cache::new();
    /// cache.insert("cart", 30);
    /// cache.tag("cart", &[Tag::from("tenant:7")]);
    /// cache.invalidate_tag("tenant:7");
    /// assert_eq!(cache.get("cart"), None);
    /// ```
    pub fn tag(&self, key: K, tags: &[Tag]) -> Version
    where
        V: Clone,
    {
        self.engine().tag(&key, tags)
    }

    /// Removes all entries that have the tag, in one commit. O(1), lock-free; delays no other
    /// thread.
    ///
    /// A view that was opened before still shows them. Declared relations are not followed: give
    /// the same tags to entries that belong together.
    pub fn invalidate_tag(&self, tag: impl Into<Tag>) -> Version {
        self.engine().invalidate_tag(&tag.into())
    }
}
