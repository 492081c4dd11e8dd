//! Histories of concurrent operations, and whether they are strictly serializable.
#![allow(dead_code)]

mod by_hand;
pub mod check;
mod lines;
pub mod record;

/// A key of a recorded operation.
pub type Key = u32;
/// A value, unique among all values that a history writes to one key.
pub type Value = u64;

/// One operation: which thread did it, between which two moments, and what it did or saw.
///
/// `T` is the type of versions: the cache's own, or plain numbers in hand-made histories.
#[derive(Clone, Debug)]
pub struct Op<T> {
    pub thread: usize,
    /// The moment before the call, in nanoseconds. For a view: before the call that opened it.
    pub start: u64,
    /// The moment after the call returned.
    pub end: u64,
    pub what: What<T>,
}

/// What an operation did or saw.
#[derive(Clone, Debug)]
pub enum What<T> {
    /// Committed `writes` as `version` (a key at most once; `None`: removed). A successful
    /// `compare_and_set`, or a transaction, also states what it found of each key just before the
    /// commit.
    Commit { version: T, writes: Vec<(Key, Option<Value>)>, found: Vec<(Key, Seen<T>)> },
    /// Removed all keys as `version`.
    Clear { version: T },
    /// `remove` took `value` out of `key`. It is a commit, but does not report its version.
    Remove { key: Key, value: Value },
    /// Saw all of `seen` in one state.
    Read(Read<T>),
    /// `compare_and_set` of `key` expected `expected` and was refused because it found `found`.
    Refused { key: Key, expected: Option<T>, found: Option<T> },
}

/// What a read saw.
#[derive(Clone, Debug)]
pub struct Read<T> {
    pub seen: Vec<(Key, Seen<T>)>,
    /// The version that the read claims to show, if any.
    pub version: Option<T>,
    /// Whether the read asked for this version, which may be in the past.
    pub historic: bool,
}

/// What a read saw of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen<T> {
    Absent,
    Value(Value),
    /// A value, and the version of the commit that wrote it.
    At(Value, T),
    /// Only the version.
    Version(T),
}
