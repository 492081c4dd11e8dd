//! The checker: is there an order of all operations that explains the history and respects real
//! time?
//!
//! # The question
//! The versions fix the order of the commits that report a version. What remains to choose is a
//! *place* in that order for every read, and for every `remove` that returned a value. (Such a
//! remove commits, but does not report its version.) A choice explains the history if
//!
//! 1. every read is at a place where everything that it saw holds at once,
//! 2. a remove is after the write of the value that it took and before the next write of the key,
//! 3. real time holds: if A returned before B was called, A's place is not after B's, and is
//!    strictly before it if B writes. (A read at a place sees what was written *at* that place and
//!    before.)
//!
//! # Why one pass of least choices decides it
//! Every constraint has the form "the place of B is at least some monotone function of the other
//! places, and within fixed limits":
//!
//! - Real time: `B >= A` for a read, `B >= A + 1` for a write.
//! - A read saw the value `v` of a key: the read is at or after v's commit, and before the next
//!   commit of the key that reports its version (a fixed limit). In addition, *a remove that took v
//!   is after the read*: the place of the remove is at least that of the read plus one.
//! - A read saw the key absent: the read is in one of the key's gaps. A gap begins at a fixed place
//!   or at a remove. "The first place in a gap, from x on" grows with x and with the places of the
//!   removes.
//! - A remove took v: its place is at least v's place plus one, and below a fixed limit.
//!
//! The least solution is the least fixed point: begin with the smallest places, and raise a place
//! only if a constraint demands it. Each step keeps every place at or below its place in any
//! solution. So the first violation of a limit proves that no solution exists, and a fixed point
//! within the limits is a solution. The sets of fitting places need not be intervals for that.
//!
//! The checker does not compare pairs of operations to check real time. It sweeps over the calls
//! and returns in the order of time, and the largest place of all operations that have returned
//! bounds the next calls. Another sweep is necessary only if a read raises the place of a remove
//! that was called earlier.
//!
//! A place in a solution is the place of a commit, plus at most one for each remove in a chain of
//! strict demands. The stride between commits is the number of removes plus two. A place that is
//! farther behind its commit than the number of removes therefore proves a cycle of demands, so
//! there is no solution.
//!
//! A view that asked for a version (`historic`) may be in the past, so nothing bounds it from
//! below. It still bounds later calls, because its version had been assigned when it returned.

use super::lines::{Lines, NEVER, Place};
use super::{Key, Op, Read, Seen, What};

/// The constraints on the place of one operation.
struct Limits {
    low: Place,
    high: Place,
    /// Keys that the operation saw absent.
    absent: Vec<Key>,
    /// Removes that must come after the operation.
    before: Vec<usize>,
    writes: bool,
    historic: bool,
}

/// Returns an error with the reason unless the history is strictly serializable.
pub fn check<T: Ord + Copy + std::fmt::Debug>(history: &[Op<T>]) -> Result<(), String> {
    let lines = Lines::new(history)?;
    let mut limits = Vec::with_capacity(history.len());
    for op in history {
        let limit = limit(&lines, op).map_err(|why| format!("{why}:\n{op:?}"))?;
        if limit.low > limit.high {
            return Err(format!("no state ever matched this:\n{op:?}"));
        }
        limits.push(limit);
    }
    place(&lines, history, &limits)
}

fn limit<T: Ord + Copy + std::fmt::Debug>(lines: &Lines<T>, op: &Op<T>) -> Result<Limits, String> {
    let mut limit = Limits {
        low: 0,
        high: NEVER - 1,
        absent: Vec::new(),
        before: Vec::new(),
        writes: true,
        historic: false,
    };
    match &op.what {
        What::Commit { version, writes, found } => {
            let place = lines.place(*version);
            limit.at(place);
            let is_written = |key: Key| writes.iter().any(|(written, _)| *written == key);
            for (key, found) in found {
                if is_written(*key) {
                    found_before(lines, *key, *found, place)?;
                } else {
                    limit.see(lines, *key, *found)?; // That place has the same state.
                }
            }
        }
        What::Clear { version } => limit.at(lines.place(*version)),
        What::Remove { key, value } => {
            let (segment, end) = lines.of_value(*key, *value).expect("checked by `Lines`");
            limit.low = segment.from + 1;
            limit.high = end - 1;
        }
        What::Read(read) => limit.read(lines, read)?,
        What::Refused { key, expected, found } => {
            if expected == found {
                return Err("refused although it found what it expected".into());
            }
            let seen = found.map_or(Seen::Absent, Seen::Version);
            let seen = vec![(*key, seen)];
            limit.read(lines, &Read { seen, version: None, historic: false })?;
        }
    }
    Ok(limit)
}

impl Limits {
    fn at(&mut self, place: Place) {
        (self.low, self.high) = (place, place);
    }

    fn read<T: Ord + Copy + std::fmt::Debug>(
        &mut self,
        lines: &Lines<T>,
        read: &Read<T>,
    ) -> Result<(), String> {
        (self.writes, self.historic) = (false, read.historic);
        if let Some(version) = read.version {
            self.low = lines.place(version);
            self.high = self.low + lines.stride - 1;
        }
        read.seen.iter().try_for_each(|(key, seen)| self.see(lines, *key, *seen))
    }

    /// Adds the constraint that the operation saw this of a key at its place.
    fn see<T: Ord + Copy + std::fmt::Debug>(
        &mut self,
        lines: &Lines<T>,
        key: Key,
        seen: Seen<T>,
    ) -> Result<(), String> {
        let found = match seen {
            Seen::Absent => {
                self.absent.push(key);
                return Ok(());
            }
            Seen::Value(value) | Seen::At(value, _) => lines.of_value(key, value),
            Seen::Version(version) => lines.of_version(key, version),
        };
        let (segment, end) =
            found.ok_or_else(|| format!("key {key}: saw a value that was never committed"))?;
        if let Seen::At(_, version) = seen
            && lines.place(version) != segment.from
        {
            return Err(format!("key {key}: the value was not written at that version"));
        }
        self.low = self.low.max(segment.from);
        self.high = self.high.min(end - 1);
        self.before.extend(segment.taken_by);
        Ok(())
    }
}

/// Checks that a commit at `place` found the key, just before, as it reports.
fn found_before<T: Ord + Copy + std::fmt::Debug>(
    lines: &Lines<T>,
    key: Key,
    found: Seen<T>,
    place: Place,
) -> Result<(), String> {
    let segment = lines.before(key, place);
    let is_present = segment.value.is_some() && segment.taken_by.is_none();
    let is_as_found = match found {
        Seen::Absent if is_present => {
            return Err("set only if absent, and it was present".into());
        }
        Seen::Absent => true,
        _ if !is_present => return Err("set a present key, and it was absent".into()),
        Seen::Value(value) => segment.value == Some(value),
        Seen::Version(version) => lines.place(version) == segment.from,
        Seen::At(value, version) => {
            segment.value == Some(value) && lines.place(version) == segment.from
        }
    };
    match is_as_found {
        true => Ok(()),
        false => Err("set over another version than expected: an update was lost".into()),
    }
}

/// Finds the least solution.
fn place<T: Ord + Copy + std::fmt::Debug>(
    lines: &Lines<T>,
    history: &[Op<T>],
    limits: &[Limits],
) -> Result<(), String> {
    let moments = moments(history);
    let threads = history.iter().map(|op| op.thread + 1).max().unwrap_or(0);
    let mut places: Vec<Place> = limits.iter().map(|limit| limit.low).collect();
    loop {
        let mut moved = false;
        // The largest place of all operations that have returned, and its operation. The same for
        // each thread alone, because the calls of one thread may touch in time.
        let mut bound = (0, usize::MAX);
        let mut own = vec![(0, usize::MAX); threads];
        for &(_, is_return, index) in &moments {
            if is_return {
                bound = bound.max((places[index], index));
                continue;
            }
            let thread = history[index].thread;
            let least = bound.max(own[thread]);
            let place = least_place(lines, &limits[index], places[index], least.0, &places);
            if place > limits[index].high || behind(lines, place) {
                return Err(explain(history, index, least.1));
            }
            moved |= place != places[index];
            places[index] = place;
            own[thread] = own[thread].max((place, index));
            for &remove in &limits[index].before {
                if places[remove] <= place {
                    places[remove] = place + 1;
                    moved = true;
                    if place + 1 > limits[remove].high || behind(lines, place + 1) {
                        return Err(explain(history, index, remove));
                    }
                }
            }
        }
        if !moved {
            return Ok(());
        }
    }
}

/// The smallest place that fits an operation, given its own place so far, the operations that
/// returned before its call, and the removes.
fn least_place<T: Ord + Copy + std::fmt::Debug>(
    lines: &Lines<T>,
    limit: &Limits,
    so_far: Place,
    bound: Place,
    places: &[Place],
) -> Place {
    let bound = if limit.historic { 0 } else { bound + Place::from(limit.writes) };
    let mut place = so_far.max(bound);
    loop {
        let before = place;
        for &key in &limit.absent {
            place = lines.next_absent(key, place, places);
            if place == NEVER {
                return NEVER;
            }
        }
        if place == before {
            return place;
        }
    }
}

/// Whether a place is farther behind its commit than any solution puts it.
fn behind<T: Ord + Copy + std::fmt::Debug>(lines: &Lines<T>, place: Place) -> bool {
    place % lines.stride == lines.stride - 1
}

/// Calls and returns in the order of time. At equal times calls come first, so an operation counts
/// as earlier only if it certainly was.
fn moments<T>(history: &[Op<T>]) -> Vec<(u64, bool, usize)> {
    let mut moments = Vec::with_capacity(2 * history.len());
    for (index, op) in history.iter().enumerate() {
        assert!(op.start <= op.end, "a call returns after it began");
        moments.push((op.start, false, index));
        moments.push((op.end, true, index));
    }
    // The sort is stable: calls of one thread at one time keep the order in which they were
    // recorded.
    moments.sort_by_key(|&(time, is_return, _)| (time, is_return));
    moments
}

fn explain<T: std::fmt::Debug>(history: &[Op<T>], index: usize, other: usize) -> String {
    let this = &history[index];
    match history.get(other) {
        Some(other) => format!("these contradict each other:\n{other:?}\n{this:?}"),
        None => format!("this fits no place:\n{this:?}"),
    }
}
