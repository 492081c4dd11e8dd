//! Random programs: the settings of a cache, and what is done with it.

use crate::common::random::Random;
use std::time::Duration;

/// Keys are below this.
pub const KEYS: u64 = 8;
/// The unit of time, in nanoseconds.
pub const UNIT: u64 = 100_000_000;
/// How long a program's longest time to live is.
pub const FOREVER: u64 = u64::MAX;

/// Times are in units.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub capacity: Option<u64>,
    pub is_weighed: bool,
    pub time_to_live: Option<u64>,
    pub time_to_idle: Option<u64>,
    pub has_relations: bool,
    pub is_heard: bool,
}

/// One write of a batch.
#[derive(Clone, Copy, Debug)]
pub enum Write {
    Insert(u64),
    InsertFor(u64, u64),
    Remove(u64),
    Invalidate(u64),
}

/// What `compare_and_set` expects.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    Right,
    Absent,
    /// The version of the newest commit, whoever's that is.
    Newest,
}

/// What a loader does.
#[derive(Clone, Copy, Debug)]
pub enum Loader {
    Plain,
    /// Sets the key that it is to load.
    Inserts,
    /// Removes it.
    Removes,
    Fails,
}

/// One operation. A number that is not a key or a time chooses among what is open.
#[derive(Clone, Debug)]
pub enum Step {
    Insert(u64),
    InsertFor(u64, u64),
    Remove(u64),
    Invalidate(u64),
    InvalidateAll,
    Batch(Vec<Write>),
    CompareAndSet(u64, Expected),
    Get(u64),
    GetVersioned(u64),
    GetMany([u64; 3]),
    OpenView,
    CloseView(usize),
    ViewAt(usize),
    ViewNow,
    Lease(u64),
    Fill(usize),
    GiveBack(usize),
    Load(u64, Loader),
    Advance(u64),
}

/// A duration of so many units.
pub fn units(count: u64) -> Duration {
    if count == FOREVER { Duration::MAX } else { Duration::from_nanos(count * UNIT) }
}

impl Settings {
    pub fn random(random: &mut Random) -> Self {
        let some =
            |random: &mut Random, items: &[u64]| random.one_in(2).then(|| random.pick(items));
        Self {
            capacity: some(random, &[0, 1, 3, 5]),
            is_weighed: random.one_in(3),
            time_to_live: some(random, &[1, 3, 20, 100_000]),
            time_to_idle: some(random, &[2, 5, 30]).filter(|_| random.one_in(2)),
            has_relations: random.one_in(3),
            is_heard: !random.one_in(3),
        }
    }
}

/// A time to live.
fn time(random: &mut Random) -> u64 {
    random.pick(&[0, 1, 2, 5, 10, 1_000, 1_000_000, FOREVER])
}

fn batch(random: &mut Random) -> Vec<Write> {
    (0..random.below(6))
        .map(|_| {
            let key = random.below(KEYS);
            match random.below(6) {
                0..3 => Write::Insert(key),
                3 => Write::InsertFor(key, time(random)),
                4 => Write::Remove(key),
                _ => Write::Invalidate(key),
            }
        })
        .collect()
}

impl Step {
    pub fn random(random: &mut Random) -> Self {
        let key = random.below(KEYS);
        let which = random.below(8) as usize;
        match random.below(100) {
            0..16 => Self::Insert(key),
            16..24 => Self::InsertFor(key, time(random)),
            24..30 => Self::Remove(key),
            30..34 => Self::Invalidate(key),
            34..36 => Self::InvalidateAll,
            36..44 => Self::Batch(batch(random)),
            44..50 => {
                let all = [Expected::Right, Expected::Right, Expected::Absent, Expected::Newest];
                Self::CompareAndSet(key, random.pick(&all))
            }
            50..58 => Self::Get(key),
            58..61 => Self::GetVersioned(key),
            61..64 => Self::GetMany([key, random.below(KEYS), random.below(KEYS)]),
            64..68 => Self::OpenView,
            68..71 => Self::CloseView(which),
            71..73 => Self::ViewAt(which),
            73 => Self::ViewNow,
            74..79 => Self::Lease(key),
            79..83 => Self::Fill(which),
            83..85 => Self::GiveBack(which),
            85..91 => {
                let all = [Loader::Plain, Loader::Inserts, Loader::Removes, Loader::Fails];
                Self::Load(key, random.pick(&all))
            }
            _ => Self::Advance(random.pick(&[1, 1, 1, 2, 5, 20, 1_000, 100_000])),
        }
    }
}

/// What a write of `key` does to others: circles, values, and one that another says otherwise.
pub fn related(key: u64) -> &'static [(u64, Option<u64>)] {
    match key {
        0 => &[(1, None), (2, Some(1_000_002))],
        1 => &[(3, None)],
        2 => &[(4, Some(2_000_004)), (0, None)],
        3 => &[(4, Some(3_000_004))],
        _ => &[],
    }
}

/// What a value weighs.
pub fn weight(value: u64) -> u32 {
    (value % 4) as u32
}
