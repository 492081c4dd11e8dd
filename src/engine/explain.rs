//! Why a key holds what it holds, as of a view.

use super::Engine;
use super::expiry_policy::left;
use crate::chain::{Bonds, EntryTerms, NodeRef, RecordRef};
use crate::commit::{ReadAt, Resolved};
use crate::dependencies::Moment;
use crate::metrics::{Event, EventKind};
use crate::reclaim::Reclaim;
use crate::relation::{Tag, TagCell};
use crate::removal::RemovalCause;
use crate::store::{KEPT, Snapshot, cells_of};
use crate::sync::time::NEVER;
use crate::version::Version;
use equivalent::Equivalent;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// The most inputs that are followed.
const MAX_INPUTS: usize = 1_000;

/// What a key holds as of one instant, and why; made by [`Cache::explain`](crate::Cache::explain)
/// and [`View::explain`](crate::View::explain). It prints as text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation<K> {
    /// The key.
    pub key: K,
    /// The hash under which the cache and its events know the key.
    pub key_hash: u32,
    /// The instant: everything committed up to this version, and nothing later.
    pub as_of: Version,
    /// Whether there is a value, and why not.
    pub standing: Standing,
    /// The commit that wrote the newest value, present or not; `None` if the cache knows of none.
    pub written: Option<Version>,
    /// How long the value is still kept without a use; `None` for ever. This field and all down to
    /// `inputs` describe the newest value, if the cache still has it.
    pub time_left: Option<Duration>,
    /// The time until the value is due for reloading; `None` if it never is.
    pub refresh_in: Option<Duration>,
    /// The weight of the value.
    pub weight: u32,
    /// The tags of the value.
    pub tags: Vec<ExplainedTag>,
    /// What the value was derived from, through all levels, at most 1,000.
    pub inputs: Vec<ExplainedInput<K>>,
    /// The entries that a write of the key writes, too, by the declared relations.
    pub related: Vec<ExplainedRelated<K>>,
    /// What the flight recorder has of keys with this hash, the newest last. Empty unless it
    /// [was started](crate::Timeline::start).
    pub events: Vec<Event>,
}

/// Whether a key holds a value, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It holds a value.
    Present,
    /// The cache knows nothing of it: it was never written, or the cache has forgotten what came
    /// after it was removed or evicted.
    Unknown,
    /// A commit took the value away.
    Removed {
        /// That commit.
        by: Version,
        /// Why, if the flight recorder has it.
        cause: Option<RemovalCause>,
    },
    /// [`invalidate_all`](crate::Cache::invalidate_all) hid the value.
    Cleared {
        /// The newest commit of this kind.
        by: Version,
    },
    /// Its time is up.
    Expired {
        /// How long ago that was.
        since: Duration,
    },
    /// One of its tags was invalidated.
    EndedByTag {
        /// The tag.
        tag: Tag,
        /// The newest commit that invalidated it.
        by: Version,
    },
    /// Something from which it was derived has changed: see
    /// [`inputs`](Explanation::inputs), of which at least one does not hold.
    EndedByInput,
}

/// A tag of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExplainedTag {
    /// The tag.
    pub tag: Tag,
    /// The commit since which the value has it.
    pub since: Version,
    /// The newest commit that invalidated it after that.
    pub ended_by: Option<Version>,
}

/// An entry from which a value was derived, directly or through others.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExplainedInput<K> {
    /// The key of the entry.
    pub key: K,
    /// 1 if the value was derived from it directly, 2 if an input was, and so on.
    pub level: usize,
    /// The version that was used; `None` if the key held nothing then. For a derived entry it is
    /// the version since which its value has been equal.
    pub used: Option<Version>,
    /// The version that the key holds now, in the same sense.
    pub now: Option<Version>,
}

/// An entry that belongs to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExplainedRelated<K> {
    /// The key of the entry.
    pub key: K,
    /// The version that it holds; `None` if it is absent.
    pub version: Option<Version>,
    /// Whether it is older than the key to which it belongs: no commit wrote both. A
    /// [monitor](crate::Cache::monitor) finds such entries.
    pub is_older: bool,
}

impl<K> ExplainedInput<K> {
    /// Returns whether the input is as it was when it was used.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.used == self.now
    }
}

impl<K> Explanation<K> {
    /// Returns whether the key holds a value.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.standing == Standing::Present
    }

    /// Returns whether no related entry is older than the key.
    #[must_use]
    pub fn belongs_together(&self) -> bool {
        self.related.iter().all(|related| !related.is_older)
    }

    fn new(key: K, key_hash: u32, as_of: Version) -> Self {
        Self {
            key,
            key_hash,
            as_of,
            standing: Standing::Unknown,
            written: None,
            time_left: None,
            refresh_in: None,
            weight: 0,
            tags: Vec::new(),
            inputs: Vec::new(),
            related: Vec::new(),
            events: Vec::new(),
        }
    }
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Explains what `key` holds in a view. `owned` is the same key. Runs the relations.
    pub fn explain<Q>(&self, snapshot: &Snapshot, key: &Q, owned: K) -> Explanation<K>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let (hash, as_of) = (self.hash(key), Version::from_u64(snapshot.version()));
        let mut explained = Explanation::new(owned, hash, as_of);
        let events = self.observers().recorder.read().events.into_iter();
        explained.events = events.filter(|event| event.key == Some(hash)).collect();
        {
            let guard = self.pin();
            if let Some(record) = self.store.find(&guard, hash, key) {
                self.explain_record(snapshot, record, &mut explained);
            }
        }
        // Relations are the user's code, which runs without a guard.
        let present = explained.written.filter(|_| explained.is_present());
        for related in self.related_keys(&self.relations(), &explained.key) {
            let version = self.read(snapshot, &related).map(|(_, version)| version);
            let is_older = version.zip(present).is_some_and(|(related, own)| related < own);
            explained.related.push(ExplainedRelated { key: related, version, is_older });
        }
        explained
    }

    fn explain_record<'g>(
        &'g self,
        snapshot: &'g Snapshot,
        record: RecordRef<'g, K, V>,
        explained: &mut Explanation<K>,
    ) {
        let at = self.store.order.with_watermark(snapshot.at(record.live()));
        let moment = Moment::at(&self.timer, snapshot.opened());
        let held = self.store.valid_at(Some(record), at, false, &moment).expect(KEPT);
        let Some((node, state)) = held.version() else { return };
        let version = Version::from_u64(state.version());
        if state.is_tombstone() {
            let by_cache = |event: &&Event| event.version == Some(version);
            let cause =
                explained.events.iter().filter(by_cache).find_map(|event| match event.kind {
                    EventKind::Evicted => Some(RemovalCause::Size),
                    EventKind::Expired => Some(RemovalCause::Expired),
                    _ => None,
                });
            explained.standing = Standing::Removed { by: version, cause };
            return;
        }
        explained.written = Some(version);
        let now = snapshot.opened();
        let deadline = node.terms().map_or(NEVER, EntryTerms::deadline);
        explained.time_left = left(deadline, now);
        explained.refresh_in = left(node.terms().map_or(NEVER, |terms| terms.times().2), now);
        explained.weight = node.terms().map_or(1, EntryTerms::weight);
        if let Some(bonds) = node.bonds() {
            explained.tags = self.explain_tags(bonds, version.get(), at);
            explained.inputs = self.explain_inputs(node, bonds, at, &moment);
        }
        explained.standing = match held.ended() {
            None => Standing::Present,
            Some(RemovalCause::Explicit) => {
                Standing::Cleared { by: Version::from_u64(snapshot.watermark()) }
            }
            Some(RemovalCause::Expired) => {
                Standing::Expired { since: Duration::from_nanos(now.saturating_sub(deadline)) }
            }
            Some(_) => ended_by_tag(&explained.tags).unwrap_or(Standing::EndedByInput),
        };
    }

    fn explain_tags(&self, bonds: &Bonds, own: u64, at: ReadAt<'_>) -> Vec<ExplainedTag> {
        let explain = |(cell, tag): (&TagCell, _)| {
            let ended = self.store.tag_invalidated_at(tag, at);
            let since = tag.tagged_since(own);
            ExplainedTag {
                tag: cell.tag().clone(),
                since: Version::from_u64(since),
                ended_by: (ended > since).then(|| Version::from_u64(ended)),
            }
        };
        cells_of(bonds).map(explain).collect()
    }

    /// Explains the inputs of a version, through all levels, the nearest first.
    fn explain_inputs<'g>(
        &'g self,
        first: NodeRef<'g, V>,
        bonds: &'g Bonds,
        at: ReadAt<'g>,
        moment: &Moment<'_>,
    ) -> Vec<ExplainedInput<K>> {
        let (mut inputs, mut seen) = (Vec::new(), HashSet::new());
        let mut todo = vec![(bonds, first.state().version(), 1)];
        let mut next = 0;
        while let Some(&(bonds, own, level)) = todo.get(next) {
            next += 1;
            for input in bonds.inputs() {
                if inputs.len() == MAX_INPUTS {
                    return inputs;
                }
                let record = self.store.record_of(at.live(), input);
                let held = self.store.valid_at(Some(record), at, false, moment).unwrap_or_default();
                let used = input.is_present().then(|| Version::from_u64(input.number_for(own)));
                let key = record.key().clone();
                inputs.push(ExplainedInput { key, level, used, now: equal_since(held) });
                let more = held.version().and_then(|(node, state)| Some((node.bonds()?, state)));
                if let Some((more, state)) = more
                    && seen.insert(std::ptr::from_ref(more))
                {
                    todo.push((more, state.version(), level + 1));
                }
            }
        }
        inputs
    }
}

/// The version of a valid value; of a derived one, that since which it has been equal.
fn equal_since<V>(held: Resolved<'_, V>) -> Option<Version> {
    let found = held.value()?;
    let own = found.number();
    let number = found.bonds().map_or(own, |bonds| bonds.equal_since(own));
    Some(Version::from_u64(number))
}

fn ended_by_tag(tags: &[ExplainedTag]) -> Option<Standing> {
    let ended = |tag: &ExplainedTag| {
        tag.ended_by.map(|by| Standing::EndedByTag { tag: tag.tag.clone(), by })
    };
    tags.iter().find_map(ended)
}
