//! `coeval`: the relation is declared once, and a write of the key is one commit.

use std::{cell::Cell, time::Duration};

use coeval::Cache;
use foldhash::fast::FixedState;

use super::{
    contestant::{Contestant, dawdle},
    group::{Group, Key, Reading, Way},
    timeline::{Log, Step},
};

/// What a write of the key does to its related entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Removes them.
    Invalidate,
    /// Replaces them by values derived from the new one.
    Rewrite,
}

/// A `coeval` cache with a declared relation.
pub struct Coeval {
    cache: Cache<Key, u64, FixedState>,
    relation: Relation,
}

thread_local! {
    /// The generation that this thread is about to write. The relation derives values from it.
    static WRITING: Cell<u64> = const { Cell::new(0) };
}

impl Coeval {
    /// An empty cache whose keys have `related` related entries. Its relation pauses for `widen`.
    pub fn new(relation: Relation, related: usize, widen: Duration) -> Self {
        let cache = Cache::builder()
            .hasher(FixedState::default())
            .related(move |key: &Key, entries| {
                if key.member > 0 {
                    return;
                }
                dawdle(widen);
                for key in (Group { id: key.group, related }).related() {
                    match relation {
                        Relation::Invalidate => entries.invalidate(key),
                        Relation::Rewrite => entries.insert(key, WRITING.get()),
                    };
                }
            })
            .build();
        Self { cache, relation }
    }

    #[inline]
    fn get_many<const N: usize>(&self, group: Group) -> Reading {
        let keys: [Key; N] = group.padded();
        Reading::of(group).from_all(self.cache.get_many(keys.each_ref())).at_once()
    }
}

impl Contestant for Coeval {
    fn load(&self, group: Group, generation: u64) {
        self.update(group, generation, &mut ());
        self.refill(group, generation);
    }

    fn update(&self, group: Group, generation: u64, log: &mut impl Log) {
        log.note(Step::UpdateStart);
        WRITING.set(generation);
        self.cache.insert(group.key(), generation);
        log.note(Step::CommitComplete);
    }

    fn refill(&self, group: Group, generation: u64) {
        if self.relation == Relation::Rewrite {
            return;
        }
        let batch = self.cache.batch();
        group.related().fold(batch, |batch, key| batch.insert(key, generation)).commit();
    }

    fn read(&self, group: Group, way: Way) -> Reading {
        let reading = match way {
            Way::Gets => Reading::of(group).by(|key| self.cache.get(&key)),
            Way::View => {
                let view = self.cache.view();
                Reading::of(group).by(|key| view.get(&key).copied()).at_once()
            }
            Way::GetMany => match group.related {
                0..=1 => self.get_many::<2>(group),
                2 => self.get_many::<3>(group),
                3..=4 => self.get_many::<5>(group),
                5..=8 => self.get_many::<9>(group),
                _ => self.get_many::<17>(group),
            },
        };
        reading.all_present(self.relation == Relation::Rewrite)
    }

    fn ways(&self) -> &'static [Way] {
        &Way::ALL
    }
}
