//! Random programs: the settings of a cache, and the operations on it.

use crate::common::random::Random;
use std::time::Duration;

/// Keys are below this.
pub const KEYS: u64 = 12;
/// Keys from this one on can be derived, from keys below them.
pub const DERIVED: u64 = 6;
/// Tags are below this.
pub const TAGS: u64 = 3;
/// The unit of time, in nanoseconds.
pub const UNIT: u64 = 100_000_000;
/// The longest time to live of a program.
pub const FOREVER: u64 = u64::MAX;

/// The settings of a cache. Times are in units.
#[derive(Clone, Debug)]
pub struct Settings {
    pub capacity: Option<u64>,
    pub is_weighed: bool,
    pub time_to_live: Option<u64>,
    pub time_to_idle: Option<u64>,
    pub refresh_after: Option<u64>,
    pub has_relations: bool,
    pub is_heard: bool,
    /// One for each key that can be derived.
    pub recipes: Vec<Recipe>,
    /// Whether programs use derivations and tags.
    pub has_ties: bool,
}

/// How a value is derived.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub of: Vec<u64>,
    /// Whether to derive absent inputs that can be derived.
    pub derives: bool,
    /// Smaller changes usually make no difference.
    pub coarse: u64,
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
    /// The version of the newest commit of any key.
    Newest,
}

/// What another thread does during a load or a derivation.
#[derive(Clone, Copy, Debug)]
pub enum Meanwhile {
    Insert(u64),
    Remove(u64),
    InvalidateTag(u64),
    InvalidateAll,
}

/// The outcome of a loader.
#[derive(Clone, Copy, Debug)]
pub enum Loader {
    Loads,
    Fails,
}

/// One operation. A number that is not a key, a tag or a time selects one of the open views or
/// leases.
#[derive(Clone, Debug)]
pub enum Step {
    Insert(u64),
    InsertFor(u64, u64),
    InsertTagged(u64, Vec<u64>),
    Tag(u64, Vec<u64>),
    InvalidateTag(u64),
    Remove(u64),
    Invalidate(u64),
    InvalidateAll,
    Batch(Vec<Write>),
    /// Reads these keys and then does these writes. During the first run, another thread may act.
    Transact([u64; 2], Vec<Write>, Option<Meanwhile>),
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
    Load(u64, Loader, Option<Meanwhile>),
    Derive(u64, Option<Meanwhile>),
    Prewarm(Vec<u64>),
    /// Whether it repairs its findings.
    Monitor(bool),
    Advance(u64),
}

/// A duration of `count` units.
pub fn units(count: u64) -> Duration {
    if count == FOREVER { Duration::MAX } else { Duration::from_nanos(count * UNIT) }
}

impl Recipe {
    fn random(random: &mut Random, key: u64) -> Self {
        let lowest = |random: &mut Random| if random.one_in(2) { DERIVED.min(key - 1) } else { 0 };
        let below = |random: &mut Random| {
            let lowest = lowest(random);
            lowest + random.below(key - lowest)
        };
        let of = (0..1 + random.below(3)).map(|_| below(random)).collect();
        Self { of, derives: random.one_in(2), coarse: random.pick(&[1, 4, 1_000, 10_000_000]) }
    }

    /// The value that is derived from the values that `get` returns.
    pub fn make(&self, get: impl FnMut(u64) -> Option<u64>) -> u64 {
        let found = self.of.iter().copied().map(get);
        found.fold(7, |sum, value| sum * 3 + value.unwrap_or(17)) / self.coarse
    }
}

impl Settings {
    pub fn random(random: &mut Random) -> Self {
        let some =
            |random: &mut Random, items: &[u64]| random.one_in(2).then(|| random.pick(items));
        let mut settings = Self {
            capacity: some(random, &[0, 1, 3, 5, 8]),
            is_weighed: random.one_in(3),
            time_to_live: some(random, &[1, 3, 20, 100_000]),
            time_to_idle: some(random, &[2, 5, 30]).filter(|_| random.one_in(2)),
            refresh_after: some(random, &[1, 3, 20]).filter(|_| random.one_in(2)),
            has_relations: random.one_in(3),
            is_heard: !random.one_in(3),
            recipes: (DERIVED..KEYS).map(|key| Recipe::random(random, key)).collect(),
            has_ties: !random.one_in(4),
        };
        // A value that has ended may be evicted, and only a listener can tell.
        settings.is_heard |= settings.has_ties && settings.capacity.is_some();
        settings
    }

    pub fn recipe(&self, key: u64) -> &Recipe {
        &self.recipes[(key - DERIVED) as usize]
    }
}

/// A time to live.
fn time(random: &mut Random) -> u64 {
    random.pick(&[0, 1, 2, 5, 10, 1_000, 1_000_000, FOREVER])
}

fn tags(random: &mut Random) -> Vec<u64> {
    (0..random.below(4)).map(|_| random.below(TAGS)).collect()
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

impl Meanwhile {
    /// Mostly nothing. The action may concern `key`.
    fn random(random: &mut Random, key: u64, has_ties: bool) -> Option<Self> {
        let key = if random.one_in(3) { key } else { random.below(KEYS) };
        match random.below(16) {
            0..3 => Some(Self::Insert(key)),
            3 | 4 => Some(Self::Remove(key)),
            5 | 6 if has_ties => Some(Self::InvalidateTag(random.below(TAGS))),
            7 if random.one_in(2) => Some(Self::InvalidateAll),
            _ => None,
        }
    }
}

impl Step {
    pub fn random(random: &mut Random, settings: &Settings) -> Self {
        let has_ties = settings.has_ties;
        if has_ties && random.one_in(3) {
            return Self::of_ties(random);
        }
        let key = random.below(KEYS);
        let which = random.below(8) as usize;
        match random.below(104) {
            0..16 => Self::Insert(key),
            16..24 => Self::InsertFor(key, time(random)),
            24..30 => Self::Remove(key),
            30..34 => Self::Invalidate(key),
            34..36 => Self::InvalidateAll,
            36..41 => Self::Batch(batch(random)),
            41..44 => {
                let (reads, writes) = ([key, random.below(KEYS)], batch(random));
                Self::Transact(reads, writes, Meanwhile::random(random, key, has_ties))
            }
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
            85..92 => {
                let loader = random.pick(&[Loader::Loads, Loader::Loads, Loader::Fails]);
                Self::Load(key, loader, Meanwhile::random(random, key, has_ties))
            }
            92..94 => Self::Prewarm((0..random.below(5)).map(|_| random.below(KEYS)).collect()),
            94 | 95 => Self::Monitor(random.one_in(2)),
            _ => Self::Advance(random.pick(&[1, 1, 1, 2, 5, 20, 1_000, 100_000])),
        }
    }

    /// A step that derives or tags values.
    fn of_ties(random: &mut Random) -> Self {
        let key = random.below(KEYS);
        match random.below(10) {
            0 | 1 => Self::InsertTagged(key, tags(random)),
            2 => Self::Tag(key, tags(random)),
            3 => Self::InvalidateTag(random.below(TAGS)),
            _ => {
                let key = DERIVED + random.below(KEYS - DERIVED);
                Self::Derive(key, Meanwhile::random(random, key, true))
            }
        }
    }
}

/// What a write of `key` does to others. The relations include cycles, values, and values that
/// contradict each other.
pub fn related(key: u64) -> &'static [(u64, Option<u64>)] {
    match key {
        0 => &[(1, None), (2, Some(1_000_002))],
        1 => &[(3, None), (7, None)],
        2 => &[(4, Some(2_000_004)), (0, None)],
        3 => &[(4, Some(3_000_004))],
        5 => &[(8, Some(5_000_008))],
        _ => &[],
    }
}

/// The weight of a value.
pub fn weight(value: u64) -> u32 {
    (value % 4) as u32
}
