//! Connections between entries. Declared relations let a write of a key change other entries. Tags
//! let one commit invalidate many entries.

mod tag;
mod terms;

pub use tag::{Tag, TagCell};
pub use terms::Terms;

use crate::chain::Parcel;
use std::any::{Any, type_name};
use std::cell::Cell;
use std::fmt;

/// The advice for relations that lead to too many keys.
const ADVICE: &str = "make them end earlier, or raise `Builder::max_related`";

/// The name of a key in a message: the key itself if its type is a common one, otherwise the hash
/// that the timeline also shows.
pub struct KeyName(String);

impl KeyName {
    /// Names a key by its hash.
    fn by_hash<K>(hash: u32) -> Self {
        Self(format!("the key with hash {hash:#010x}, a `{}`", type_name::<K>()))
    }

    /// Names a key.
    pub fn new<K: 'static>(key: &K, hash: u32) -> Self {
        fn debug<T: fmt::Debug + 'static>(key: &dyn Any) -> Option<String> {
            key.downcast_ref::<T>().map(|key| format!("the key {key:?}"))
        }
        let known: [fn(&dyn Any) -> Option<String>; 13] = [
            debug::<String>,
            debug::<&'static str>,
            debug::<std::sync::Arc<str>>,
            debug::<Box<str>>,
            debug::<u64>,
            debug::<u32>,
            debug::<u16>,
            debug::<u128>,
            debug::<usize>,
            debug::<i64>,
            debug::<i32>,
            debug::<(u64, u64)>,
            debug::<Vec<u8>>,
        ];
        let name = known.iter().find_map(|debug| debug(key));
        name.map_or_else(|| Self::by_hash::<K>(hash), Self)
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Panics because the relations of a written key lead to too many others. `last` is the last key
/// whose relations were followed.
#[cold]
#[track_caller]
pub fn too_many(first: &KeyName, last: &KeyName, most: usize) -> ! {
    panic!(
        "the relations of {first} lead to more than {most} keys, the last of them by {last} \
         ({ADVICE}); nothing was written"
    )
}

/// The largest number of nested levels at which the closures of relations may write to the cache.
const MAX_DEPTH: u32 = 64;

/// The time during which a thread evaluates relations. Dropping it ends that time.
pub struct RelationScope<'d>(&'d Cell<u32>);

impl<'d> RelationScope<'d> {
    /// Begins one more level. Returns `None` if that exceeds the largest number.
    pub fn begin(depth: &'d Cell<u32>) -> Option<Self> {
        (depth.get() < MAX_DEPTH).then(|| {
            depth.set(depth.get() + 1);
            Self(depth)
        })
    }
}

impl Drop for RelationScope<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Panics because the closures of relations write to the cache in too many nested levels.
#[cold]
#[track_caller]
pub fn too_deep(of: &KeyName) -> ! {
    panic!(
        "the relations of {of} are evaluated for a write by a relation's closure, {MAX_DEPTH} \
         deep: declare the related keys with `Related` in the closure, instead of writing them"
    )
}

/// A write that a relation requires: its key, until the write is planned, and its value. Without a
/// value it removes the key.
pub(crate) type RelatedWrite<K, V> = (Option<K>, Parcel<V>);

/// Collects what a write of a key does to other entries, all in the writer's commit.
///
/// The closure given to [`related`](crate::Builder::related) receives it.
pub struct Related<K, V> {
    writes: Vec<RelatedWrite<K, V>>,
    /// The largest number of these writes.
    most: usize,
    /// The hash of the key whose relations these are.
    of: u32,
}

/// The closure that declares relations.
pub type Relation<K, V> = dyn Fn(&K, &mut Related<K, V>) + Send + Sync;

impl<K, V> Related<K, V> {
    pub(crate) fn new(writes: Vec<RelatedWrite<K, V>>, most: usize) -> Self {
        Self { writes, most, of: 0 }
    }

    /// Attributes what is collected from now on to the key with this hash.
    pub(crate) fn begin(&mut self, of: u32) {
        self.of = of;
    }

    /// Removes `key` in the same commit.
    pub fn invalidate(&mut self, key: K) -> &mut Self {
        self.push(key);
        self
    }

    /// Sets `key` to a derived value that is available, in the same commit.
    pub fn insert(&mut self, key: K, value: V) -> &mut Self {
        self.push(key).put(value);
        self
    }

    /// Adds a write. Returns the place of its value, which is empty.
    fn push(&mut self, key: K) -> &mut Parcel<V> {
        if self.writes.len() >= self.most {
            let (most, name) = (self.most, KeyName::by_hash::<K>(self.of));
            panic!("the relations of {name} name more than {most} keys ({ADVICE})");
        }
        self.writes.reserve(1);
        let at = self.writes.len();
        // SAFETY: there is room for one more. Both of its fields are written.
        unsafe {
            let write = self.writes.as_mut_ptr().add(at);
            (&raw mut (*write).0).write(Some(key));
            Parcel::init(&raw mut (*write).1);
            self.writes.set_len(at + 1);
            &mut (*write).1
        }
    }

    /// Removes `key` in the same commit, so that the next reader derives it again.
    pub fn recompute(&mut self, key: K) -> &mut Self {
        self.invalidate(key)
    }

    /// Returns the collected writes, in order.
    pub(crate) fn writes(&mut self) -> impl Iterator<Item = &mut RelatedWrite<K, V>> {
        self.writes.iter_mut()
    }

    /// Drops the collected writes.
    pub(crate) fn clear(&mut self) {
        self.writes.clear();
    }

    /// Returns the list, for reuse.
    pub(crate) fn into_list(self) -> Vec<RelatedWrite<K, V>> {
        self.writes
    }
}

impl<K, V> fmt::Debug for Related<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Related").field("writes", &self.writes.len()).finish_non_exhaustive()
    }
}
