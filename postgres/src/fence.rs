//! What a read from the server says of itself: which transactions it saw.

use pgwire_replication::Lsn;
use std::fmt;
use std::str::FromStr;

/// The statement whose one value, a text, is the [`Fence`] of a read.
///
/// It must run with the snapshot of the read: as the first statement of a transaction that is
/// `REPEATABLE READ` (or `SERIALIZABLE`), in which the read follows, or as a part of one statement
/// that reads everything (`SELECT …, (SELECT …)`). The server must be the primary.
pub const FENCE: &str =
    "SELECT pg_current_snapshot()::text || ' ' || pg_current_wal_insert_lsn()::text";

/// Which transactions a read saw: its snapshot, and a position in the log that was taken after the
/// snapshot, so that all that the read saw was committed before it. Parsed from the value of
/// [`FENCE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    pub(crate) at: u64,
    pub(crate) snapshot: Snapshot,
}

/// The text is not what [`FENCE`] selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoFence(String);

impl fmt::Display for NoFence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a snapshot and a position in the log", self.0)
    }
}

impl std::error::Error for NoFence {}

impl FromStr for Fence {
    type Err = NoFence;

    fn from_str(text: &str) -> Result<Self, NoFence> {
        let parse = || {
            let (snapshot, position) = text.split_once(' ')?;
            Some(Self {
                at: Lsn::parse(position).ok()?.as_u64(),
                snapshot: Snapshot::parse(snapshot)?,
            })
        };
        parse().ok_or_else(|| NoFence(text.to_owned()))
    }
}

/// Which transactions were over when it was taken, as PostgreSQL writes it: `10:20:10,14`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// All smaller numbers are over.
    pub oldest: u64,
    /// This number and all greater ones had not begun.
    pub next: u64,
    /// The numbers in between that were running, in their order.
    running: Vec<u64>,
}

impl Snapshot {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let oldest = parts.next()?.parse().ok()?;
        let next = parts.next()?.parse().ok()?;
        let list = parts.next()?.split(',').filter(|number| !number.is_empty());
        let mut running = list.map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
        running.sort_unstable();
        parts.next().is_none().then_some(Self { oldest, next, running })
    }

    /// Whether what this transaction did is seen. The stream has the lower half of the number only;
    /// the whole number is the one next to those of the snapshot.
    pub fn sees(&self, transaction: u32) -> bool {
        let ahead = transaction.wrapping_sub(self.next as u32).cast_signed();
        let number = self.next.wrapping_add_signed(i64::from(ahead));
        number < self.oldest || (number < self.next && self.running.binary_search(&number).is_err())
    }
}

#[cfg(test)]
mod tests {
    use super::Fence;

    #[test]
    fn a_fence_is_parsed() {
        let fence: Fence = "10:20:10,14 1/2A".parse().unwrap();
        assert_eq!(fence.at, 0x1_0000_002A);
        let seen: Vec<_> = (8..22).filter(|&it| fence.snapshot.sees(it)).collect();
        assert_eq!(seen, [8, 9, 11, 12, 13, 15, 16, 17, 18, 19]);
        for text in ["", "10:20:", "10:20 0/1", "10:20:x 0/1", "10:20: 0", "1:2:3:4 0/1"] {
            assert!(text.parse::<Fence>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_snapshot_knows_transactions_of_the_epoch_before() {
        let fence: Fence = "4294967290:4294967300:4294967295 0/1".parse().unwrap();
        // 2^32 = 4294967296: of the numbers up to 4294967299, the last four have wrapped around.
        assert!(fence.snapshot.sees(3) && fence.snapshot.sees(4_294_967_294));
        assert!(!fence.snapshot.sees(4) && !fence.snapshot.sees(4_294_967_295));
    }
}
