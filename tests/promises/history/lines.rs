//! The one candidate order: the values of every key, ordered by version.

use super::{Key, Op, Seen, Value, What};
use std::collections::{BTreeSet, HashMap};

/// A place in the order of all operations. The commit whose version has rank `r` is at `r *
/// stride`. Reads, and removes of unknown version, are at the place of a commit or between two of
/// them.
pub type Place = u64;

/// After every place.
pub const NEVER: Place = u64::MAX;

/// A segment of a key's line: the key has `value` from `from` on, until the next segment or until
/// the remove `taken_by` (an index into the history).
pub struct Segment {
    pub from: Place,
    pub value: Option<Value>,
    pub taken_by: Option<usize>,
}

/// Every key's segments, in order.
pub struct Lines<T> {
    versions: Vec<T>,
    pub stride: Place,
    lines: HashMap<Key, Vec<Segment>>,
    by_value: HashMap<(Key, Value), usize>,
}

impl<T: Ord + Copy + std::fmt::Debug> Lines<T> {
    /// Replays the commits of a history in the order of their versions.
    pub fn new(history: &[Op<T>]) -> Result<Self, String> {
        let removes = history.iter().filter(|op| matches!(op.what, What::Remove { .. })).count();
        let mut lines = Self {
            versions: versions(history),
            // Between two commits there is room for a chain of all removes: see `check`.
            stride: removes as Place + 2,
            lines: HashMap::new(),
            by_value: HashMap::new(),
        };
        lines.replay(history)?;
        lines.take(history)?;
        Ok(lines)
    }

    /// The place of a version.
    pub fn place(&self, version: T) -> Place {
        let rank = self.versions.binary_search(&version).expect("all versions were collected");
        (rank as Place + 1) * self.stride
    }

    fn replay(&mut self, history: &[Op<T>]) -> Result<(), String> {
        let keys = keys(history);
        for &key in &keys {
            self.lines.insert(key, vec![Segment { from: 0, value: None, taken_by: None }]);
        }
        let mut commits: Vec<_> = history.iter().filter(|op| version_of(op).is_some()).collect();
        commits.sort_by_key(|op| version_of(op));
        for pair in commits.windows(2) {
            if version_of(pair[0]) == version_of(pair[1]) {
                return Err(format!("two commits bear one version:\n{:?}\n{:?}", pair[0], pair[1]));
            }
        }
        for op in commits {
            match &op.what {
                What::Commit { version, writes, .. } => {
                    for &(key, value) in writes {
                        self.write(key, value, *version);
                    }
                }
                What::Clear { version } => keys.iter().for_each(|&k| self.write(k, None, *version)),
                _ => unreachable!("only commits have a version"),
            }
        }
        Ok(())
    }

    fn write(&mut self, key: Key, value: Option<Value>, version: T) {
        let from = self.place(version);
        let line = self.lines.get_mut(&key).expect("all keys were collected");
        assert!(line.last().is_some_and(|last| last.from < from), "a commit writes a key once");
        if let Some(value) = value {
            let twice = self.by_value.insert((key, value), line.len());
            assert!(twice.is_none(), "the recorder wrote {value} to {key} twice");
        }
        line.push(Segment { from, value, taken_by: None });
    }

    /// Notes which remove took which value.
    fn take(&mut self, history: &[Op<T>]) -> Result<(), String> {
        for (index, op) in history.iter().enumerate() {
            let What::Remove { key, value } = op.what else { continue };
            let Some(&at) = self.by_value.get(&(key, value)) else {
                return Err(format!("removed a value that was never committed:\n{op:?}"));
            };
            let segment = &mut self.lines.get_mut(&key).expect("it has a value")[at];
            if let Some(other) = segment.taken_by.replace(index) {
                let other = &history[other];
                return Err(format!("two removes took one value:\n{other:?}\n{op:?}"));
            }
        }
        Ok(())
    }

    /// The segment of a value, and the place at which the next one of its key begins.
    pub fn of_value(&self, key: Key, value: Value) -> Option<(&Segment, Place)> {
        let &at = self.by_value.get(&(key, value))?;
        Some((&self.lines[&key][at], self.end(key, at)))
    }

    /// The segment that a commit began, if it wrote a value.
    pub fn of_version(&self, key: Key, version: T) -> Option<(&Segment, Place)> {
        let from = self.place(version);
        let line = &self.lines[&key];
        let at = line.binary_search_by_key(&from, |segment| segment.from).ok()?;
        line[at].value.map(|_| (&line[at], self.end(key, at)))
    }

    /// The segment just before a place.
    pub fn before(&self, key: Key, place: Place) -> &Segment {
        let line = &self.lines[&key];
        &line[line.partition_point(|segment| segment.from < place) - 1]
    }

    /// The first place from `from` on at which the key is absent, given the places of the removes.
    pub fn next_absent(&self, key: Key, from: Place, places: &[Place]) -> Place {
        let line = &self.lines[&key];
        let first = line.partition_point(|segment| segment.from <= from) - 1;
        for (at, segment) in line.iter().enumerate().skip(first) {
            let absent_from = match (segment.value, segment.taken_by) {
                (None, _) => segment.from,
                (Some(_), Some(remove)) => places[remove],
                (Some(_), None) => continue,
            };
            if absent_from < self.end(key, at) {
                let place = absent_from.max(from);
                if place < self.end(key, at) {
                    return place;
                }
            }
        }
        NEVER
    }

    fn end(&self, key: Key, at: usize) -> Place {
        self.lines[&key].get(at + 1).map_or(NEVER, |next| next.from)
    }
}

/// The version of a commit, if the commit reports it.
fn version_of<T: Copy>(op: &Op<T>) -> Option<T> {
    match op.what {
        What::Commit { version, .. } | What::Clear { version } => Some(version),
        _ => None,
    }
}

/// The version of a key that a read saw, if the read reports it.
fn told<T: Copy>((_, seen): &(Key, Seen<T>)) -> Option<T> {
    match seen {
        Seen::At(_, version) | Seen::Version(version) => Some(*version),
        _ => None,
    }
}

/// Every version that occurs, in order.
fn versions<T: Ord + Copy>(history: &[Op<T>]) -> Vec<T> {
    let mut all = BTreeSet::new();
    for op in history {
        all.extend(version_of(op));
        match &op.what {
            What::Commit { found, .. } => all.extend(found.iter().filter_map(told)),
            What::Refused { expected, found, .. } => all.extend(expected.iter().chain(found)),
            What::Read(read) => {
                all.extend(read.version);
                all.extend(read.seen.iter().filter_map(told));
            }
            _ => {}
        }
    }
    all.into_iter().collect()
}

/// Every key that occurs.
fn keys<T>(history: &[Op<T>]) -> BTreeSet<Key> {
    let mut all = BTreeSet::new();
    for op in history {
        match &op.what {
            What::Commit { writes, found, .. } => {
                all.extend(writes.iter().map(|(key, _)| *key));
                all.extend(found.iter().map(|(key, _)| *key));
            }
            What::Remove { key, .. } | What::Refused { key, .. } => {
                all.insert(*key);
            }
            What::Read(read) => all.extend(read.seen.iter().map(|(key, _)| *key)),
            What::Clear { .. } => {}
        }
    }
    all
}
