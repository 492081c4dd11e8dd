//! Tags: names that entries have in common, to be invalidated by them.
//!
//! A tag that some version has is a *cell*, in which the commits that invalidated it stand, and which each such
//! version holds. Who reads the version compares: it is absent from a commit on that is newer than it.
//!
//! A cell goes as a record does. When nobody holds it any more it is *condemned*, and if nobody has come upon it by a
//! grace period later, *sealed* and taken out of the index, and after another one freed. All of that is one word.

use crate::commit::Milestones;
use crate::index::Indexed;
use crate::sync::hook::mutant;
use crate::sync::{AtomicU64, Ordering};
use std::fmt;
use std::sync::Arc;

/// A name that entries have in common, by which [`invalidate_tag`](crate::Cache::invalidate_tag) finds them: a text or a
/// number. Cheap to clone.
///
/// ```
/// use coeval::Tag;
///
/// assert_eq!(Tag::from("tenant:7"), Tag::new("tenant:7".to_string()));
/// assert_ne!(Tag::from("7"), Tag::from(7));
/// assert_eq!(Tag::from("tenant:7").to_string(), "tenant:7");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Name);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Name {
    Number(u64),
    Text(Arc<str>),
}

impl Tag {
    /// A tag of this name.
    #[must_use]
    pub fn new(name: impl Into<Self>) -> Self {
        name.into()
    }
}

impl From<u64> for Tag {
    fn from(number: u64) -> Self {
        Self(Name::Number(number))
    }
}

impl From<Arc<str>> for Tag {
    fn from(text: Arc<str>) -> Self {
        Self(Name::Text(text))
    }
}

impl From<&str> for Tag {
    fn from(text: &str) -> Self {
        Self(Name::Text(text.into()))
    }
}

impl From<String> for Tag {
    fn from(text: String) -> Self {
        Self(Name::Text(text.into()))
    }
}

impl From<&Self> for Tag {
    fn from(tag: &Self) -> Self {
        tag.clone()
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::Number(number) => fmt::Display::fmt(number, f),
            Name::Text(text) => fmt::Display::fmt(text, f),
        }
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::Number(number) => write!(f, "Tag({number})"),
            Name::Text(text) => write!(f, "Tag({text:?})"),
        }
    }
}

/// Nobody holds the cell, and it may be sealed after a grace period. Who comes upon it takes this off.
const CONDEMNED: u64 = 1;
/// The cell is dead.
const SEALED: u64 = 2;
/// A grace period is under way, after which it may be sealed.
const CONDEMNING: u64 = 4;
/// One hold; the bits from here on count them.
const HOLD: u64 = 8;

/// See the module's header.
pub struct TagCell {
    word: AtomicU64,
    hash: u32,
    tag: Tag,
    /// The commits that invalidated it.
    pub ended: Milestones<()>,
}

impl TagCell {
    /// A cell that nobody holds.
    pub fn new(hash: u32, tag: Tag) -> Self {
        Self { word: AtomicU64::new(0), hash, tag, ended: Milestones::new() }
    }

    /// The tag.
    pub fn tag(&self) -> &Tag {
        &self.tag
    }

    /// Changes the word, unless `change` says `None`. AcqRel: who gets something by it sees what came before.
    fn change(&self, change: impl FnMut(u64) -> Option<u64>) -> Result<u64, u64> {
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, change)
    }

    /// Holds the cell, which was revived under the caller's guard, or is held by what that keeps.
    pub fn hold(&self) {
        self.word.fetch_add(HOLD, Ordering::AcqRel);
    }

    /// Lets go of a cell that the caller holds, and then [looks](Self::condemn) whether it is to end.
    pub fn let_go(&self) {
        self.word.fetch_sub(HOLD, Ordering::AcqRel);
    }

    /// If nobody holds it, has it end: true if the caller is to [`seal`](Self::seal) it after a grace period.
    #[must_use]
    pub fn condemn(&self) -> bool {
        let may = |now: u64| now < HOLD && now & (SEALED | CONDEMNING) == 0;
        self.change(|now| may(now).then_some(now | CONDEMNED | CONDEMNING)).is_ok()
    }

    /// A grace period after it was condemned: true if it has ended. Else somebody has come upon it since, and it is to
    /// be condemned again if that one has let go.
    #[must_use]
    pub fn seal(&self) -> bool {
        let blindly = mutant("tag.seal_blindly");
        let may = |now: u64| now < HOLD && (now & CONDEMNED != 0 || blindly);
        let sealed = self.change(|now| may(now).then_some(now | SEALED)).is_ok();
        if !sealed {
            self.word.fetch_and(!(CONDEMNED | CONDEMNING), Ordering::AcqRel);
        }
        sealed
    }
}

impl Indexed for TagCell {
    const READ: usize = 0;

    fn hash(&self) -> u32 {
        self.hash
    }

    fn revive(&self) -> bool {
        self.change(|now| (now & SEALED == 0).then_some(now & !CONDEMNED)).is_ok()
    }

    fn is_sealed(&self) -> bool {
        self.word.load(Ordering::Acquire) & SEALED != 0
    }
}
