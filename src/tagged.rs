//! Entries with tags, and the end of all that have one.

use crate::cache::Cache;
use crate::reclaim::Reclaim;
use crate::relation::Tag;
use crate::version::Version;
use std::hash::{BuildHasher, Hash};

/// # Tags
/// A value may have several [tags](Tag), and any number of entries the same one. To invalidate a tag is one commit
/// that makes all of them absent, and costs the same for one entry as for a million: whoever reads a value with tags
/// looks whether one was invalidated since. Values without tags pay nothing for it.
///
/// A value that is loaded, refreshed or derived in place of one with tags has the same; so a load that was under way
/// when a tag of its key was invalidated is refused, as after any other change. What a write sets has the tags that
/// this write says: [`insert`](Self::insert), a batch and a relation say none.
///
/// What has ended so is absent for every reader, and counts in [`len`](Self::len) and
/// [`weighted_size`](Self::weighted_size) until it is loaded again, written, removed or evicted. A tag takes memory as
/// long as some value has it.
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Sets `key`, and with it its [declared relations](crate::Builder::related), by one commit. The value has these tags;
    /// what relations write has none. O(tags), lock-free.
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
        self.engine().insert_tagged(key, value, tags)
    }

    /// Gives `key` tags beside those that it has, by one commit, which puts a clone in place of its value: it keeps its
    /// deadlines, and what was derived from it stays. An invalidation of a tag before that commit does not concern it. If
    /// the key is absent nothing has the tags afterwards. O(tags), lock-free.
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

    /// Removes all entries that have the tag, by one commit. O(1), lock-free, and holds nobody up.
    ///
    /// A view that was opened before still sees them. Declared relations are not followed: tag what belongs together
    /// alike.
    pub fn invalidate_tag(&self, tag: impl Into<Tag>) -> Version {
        self.engine().invalidate_tag(&tag.into())
    }
}
