//! The order in which the entries would leave, as far as the policy knows it.

use super::{Policy, QueueKind, Residents};
use crate::queue::{Handle, Queued};

/// How many turns of its queue an entry would outlast without a further hit, roughly: from 0, for
/// those at which the policy looks first, to [`Rank::HOTTEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(u8);

/// An entry that the policy holds, and its rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranked {
    pub handle: Handle,
    pub rank: Rank,
}

impl Rank {
    /// The rank of an entry in main whose hit counter is full.
    pub const HOTTEST: Self = Self(6);
    /// The number of ranks.
    const COUNT: usize = Self::HOTTEST.0 as usize + 1;

    /// The rank of an entry in a queue. One in small with some hits is about to move to main, where
    /// it comes after those without a hit.
    fn new(queue: QueueKind, hits: u32) -> Self {
        Self(match (queue, hits) {
            (QueueKind::Small, 0) => 0,
            (QueueKind::Small, 1) => 1,
            (QueueKind::Main, 0) => 2,
            (QueueKind::Small, _) => 3,
            (QueueKind::Main, hits) => 3 + hits.min(super::HITS) as u8,
        })
    }
}

impl Policy {
    /// Returns the entries that the policy holds and that have a value, those that would leave
    /// first in front. While other threads run the policy, the list may lack some entries, and have
    /// others twice. Visits all entries.
    pub fn coldest_first(&self, residents: &impl Residents) -> Vec<Ranked> {
        let mut ranks: [Vec<Ranked>; Rank::COUNT] = Default::default();
        let mut sort = |queue, Queued { handle, .. }: Queued| {
            let Some(hits) = residents.hits(handle) else { return };
            let rank = Rank::new(queue, hits);
            ranks[usize::from(rank.0)].push(Ranked { handle, rank });
        };
        self.small.visit(|queued| sort(QueueKind::Small, queued));
        self.main.visit(|queued| sort(QueueKind::Main, queued));
        ranks.concat()
    }
}
