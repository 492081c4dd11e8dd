//! The caches of several cores. They never drop a line of their own accord, so a line moves only
//! because a core has written it.

use coeval::internals::lines::{Access, LineAccess};
use std::collections::HashMap;

/// A place in the code.
pub type Place = &'static std::panic::Location<'static>;

/// The most cores that a replay may have.
pub const CORES: usize = 128;

/// A line: the cores that have a copy, as a set of bits, and whether memory is behind them.
#[derive(Default)]
struct Line {
    copies: u128,
    is_dirty: bool,
}

/// The lines of all cores, by the MESI protocol. The core that has the only copy of a line may
/// write it without asking.
#[derive(Default)]
pub struct Cores {
    lines: HashMap<usize, Line>,
    /// How often each line moved.
    moves: HashMap<usize, u64>,
    /// How often a line moved because of this place in the code.
    causes: HashMap<Place, u64>,
}

impl Cores {
    /// Replays the accesses of one operation on this core. If `counts`, counts the lines that
    /// another core wrote and this one reads, and the lines whose other copies a write removes. A
    /// line that nobody wrote comes from memory, or from a cache that all cores share: it does not
    /// count.
    pub fn replay(&mut self, core: usize, accesses: &[LineAccess], counts: bool) {
        assert!(core < CORES);
        let own = 1 << core;
        for &LineAccess { line: number, access, by } in accesses {
            let line = self.lines.entry(number).or_default();
            let is_elsewhere = line.copies & !own != 0;
            let moves = match access {
                Access::Read => line.copies & own == 0 && is_elsewhere && line.is_dirty,
                Access::Write => is_elsewhere,
            };
            match access {
                Access::Read if line.copies & own != 0 => {}
                Access::Read => *line = Line { copies: line.copies | own, is_dirty: false },
                Access::Write => *line = Line { copies: own, is_dirty: true },
            }
            if moves && counts {
                *self.moves.entry(number).or_insert(0) += 1;
                *self.causes.entry(by).or_insert(0) += 1;
            }
        }
    }

    /// How often lines moved, and how often the line moved that moved most.
    pub fn moves(&self) -> (u64, u64) {
        (self.moves.values().sum(), self.moves.values().copied().max().unwrap_or(0))
    }

    /// The places in the code that moved lines, most moves first.
    pub fn causes(&self) -> Vec<(Place, u64)> {
        let mut causes: Vec<_> = self.causes.iter().map(|(by, moves)| (*by, *moves)).collect();
        causes.sort_by(|(a, many), (b, more)| more.cmp(many).then(a.cmp(b)));
        causes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made<const N: usize>(accesses: [(usize, Access); N]) -> [LineAccess; N] {
        let by = std::panic::Location::caller();
        accesses.map(|(line, access)| LineAccess { line, access, by })
    }

    #[test]
    fn lines_move_when_another_core_wrote_them() {
        use Access::{Read, Write};
        let mut cores = Cores::default();
        let (read, write) = (made([(1, Read)]), made([(1, Write)]));
        let mut moved = |core, accesses: &[LineAccess]| {
            let before = cores.moves().0;
            cores.replay(core, accesses, true);
            cores.moves().0 - before
        };
        assert_eq!([moved(0, &write), moved(0, &read), moved(0, &write)], [0, 0, 0], "its own");
        assert_eq!([moved(1, &read), moved(1, &read)], [1, 0], "read once");
        assert_eq!([moved(2, &read), moved(2, &read)], [0, 0], "not written since it was read");
        assert_eq!([moved(0, &write), moved(0, &write)], [1, 0], "the copies go once");
        assert_eq!([moved(1, &write), moved(2, &write)], [1, 1], "from writer to writer");
        assert_eq!(moved(3, &made([(2, Read), (2, Write)])), 0, "a line that nobody has");
        assert_eq!(cores.moves(), (4, 4));
    }
}
