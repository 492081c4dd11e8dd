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
    /// The rank of an entry that the policy does not hold.
    #[cfg(feature = "serde")]
    pub const UNKNOWN: Self = Self(2);
    /// The number of ranks.
    const COUNT: usize = Self::HOTTEST.0 as usize + 1;

    /// The number of the rank.
    #[cfg(feature = "serde")]
    pub fn number(self) -> u8 {
        self.0
    }

    /// The rank with this number. A number that is too large stands for the hottest rank.
    #[cfg(feature = "serde")]
    pub fn from_number(number: u8) -> Self {
        Self(number).min(Self::HOTTEST)
    }

    /// The hits of an entry with this rank.
    #[cfg(feature = "serde")]
    pub fn hits(self) -> u32 {
        self.place().1
    }

    /// The queue and the hits of an entry with this rank.
    #[cfg(feature = "serde")]
    fn place(self) -> (QueueKind, u32) {
        match self.0 {
            0 => (QueueKind::Small, 0),
            1 => (QueueKind::Small, 1),
            2 => (QueueKind::Main, 0),
            3 => (QueueKind::Small, 2),
            more => (QueueKind::Main, u32::from(more) - 3),
        }
    }

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

    /// Counts this many insertions, of entries that are [put](Self::put) into the queues next.
    #[cfg(feature = "serde")]
    pub fn expect(&self, insertions: u64) {
        self.history.advance_by(insertions);
    }

    /// Takes a handle that the policy does not hold, for which there is room, and which would leave
    /// after all others of its rank. Returns the hits that its entry must have.
    #[cfg(feature = "serde")]
    pub fn put(&self, entry: Handle, rank: Rank) -> u32 {
        let (queue, hits) = rank.place();
        self.push(None, queue, entry, self.history.now());
        hits
    }
}
