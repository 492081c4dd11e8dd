//! Tags: names that entries share, and by which one commit invalidates them.
//!
//! Each tag of some version has a *cell*. The cell stores the commits that invalidated the tag, and
//! each version with the tag holds the cell. A reader of such a version compares the two: the
//! version is absent as of the first commit in the cell that is newer than it.
//!
//! A cell ends as a record does. When nothing holds it any more, it is *condemned*. If no thread
//! has found it within a grace period, it is *sealed* and taken out of the index. It is freed after
//! another grace period. One word contains all of this state.

use crate::commit::Milestones;
use crate::index::Indexed;
use crate::pool::{PoolOf, Pooled, Shape};
use crate::sync::hook::mutant;
use crate::sync::{AtomicU64, Ordering};
use std::alloc::Layout;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A name that entries share, a text or a number, by which
/// [`invalidate_tag`](crate::Cache::invalidate_tag) finds them. Cheap to clone.
///
/// ```
/// use coeval::Tag;
///
/// assert_eq!(Tag::from("tenant:7"), Tag::new("tenant:7".to_string()));
/// assert_ne!(Tag::from("7"), Tag::from(7));
/// assert_eq!(Tag::from("tenant:7").to_string(), "tenant:7");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(TagName);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum TagName {
    Number(u64),
    Text(Arc<str>),
}

impl Tag {
    /// Creates a tag of this name.
    #[must_use]
    pub fn new(name: impl Into<Self>) -> Self {
        name.into()
    }
}

#[cfg(feature = "serde")]
impl Tag {
    /// Returns the name: a number, or a text as the error.
    pub(crate) fn name(&self) -> Result<u64, &str> {
        match &self.0 {
            TagName::Number(number) => Ok(*number),
            TagName::Text(text) => Err(text),
        }
    }
}

impl From<u64> for Tag {
    fn from(number: u64) -> Self {
        Self(TagName::Number(number))
    }
}

impl From<Arc<str>> for Tag {
    fn from(text: Arc<str>) -> Self {
        Self(TagName::Text(text))
    }
}

impl From<&str> for Tag {
    fn from(text: &str) -> Self {
        Self(TagName::Text(text.into()))
    }
}

impl From<String> for Tag {
    fn from(text: String) -> Self {
        Self(TagName::Text(text.into()))
    }
}

impl From<&String> for Tag {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<Box<str>> for Tag {
    fn from(text: Box<str>) -> Self {
        Self(TagName::Text(text.into()))
    }
}

impl From<Cow<'_, str>> for Tag {
    fn from(text: Cow<'_, str>) -> Self {
        Self(TagName::Text(text.into()))
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
            TagName::Number(number) => fmt::Display::fmt(number, f),
            TagName::Text(text) => fmt::Display::fmt(text, f),
        }
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            TagName::Number(number) => write!(f, "Tag({number})"),
            TagName::Text(text) => write!(f, "Tag({text:?})"),
        }
    }
}

/// Nothing holds the cell, and it may be sealed after a grace period. A thread that finds the cell
/// removes this mark.
const CONDEMNED: u64 = 1;
/// The cell is dead.
const SEALED: u64 = 2;
/// A grace period is under way, after which the cell may be sealed.
const CONDEMNING: u64 = 4;
/// One hold; the bits from here on count the holds.
const HOLD: u64 = 8;

/// The cell of a tag; see the module documentation.
pub struct TagCell {
    word: AtomicU64,
    hash: u32,
    tag: Tag,
    /// The commits that invalidated the tag.
    pub ended: Milestones<()>,
}

// All orderings: each change of the word pairs with the earlier changes and passes on what came
// before it. So a thread that seals the cell sees all that its former holders did.
impl TagCell {
    /// Creates a cell that nothing holds.
    pub fn new(hash: u32, tag: Tag) -> Self {
        Self { word: AtomicU64::new(0), hash, tag, ended: Milestones::new() }
    }

    /// Returns the tag.
    pub fn tag(&self) -> &Tag {
        &self.tag
    }

    /// Changes the word, unless `change` returns `None`.
    fn change(&self, change: impl FnMut(u64) -> Option<u64>) -> Result<u64, u64> {
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, change)
    }

    /// Adds a hold to the cell. The caller has revived the cell under a guard that it still has, or
    /// keeps something that holds the cell.
    pub fn hold(&self) {
        self.word.fetch_add(HOLD, Ordering::AcqRel);
    }

    /// Releases a hold of the caller, which then [checks](Self::condemn) whether the cell ends.
    pub fn let_go(&self) {
        self.word.fetch_sub(HOLD, Ordering::AcqRel);
    }

    /// Condemns the cell if nothing holds it. Returns true if the caller must [`seal`](Self::seal)
    /// it after a grace period.
    #[must_use]
    pub fn condemn(&self) -> bool {
        let may = |now: u64| now < HOLD && now & (SEALED | CONDEMNING) == 0;
        self.change(|now| may(now).then_some(now | CONDEMNED | CONDEMNING)).is_ok()
    }

    /// Seals the cell, a grace period after it was condemned. Returns true if the cell has ended.
    /// Otherwise a thread has found it since, and it must be condemned again after that thread lets
    /// go.
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

impl Pooled for TagCell {
    const SHAPE: Shape = Shape::plain(Layout::new::<Self>());
}

impl Indexed for TagCell {
    type Memory = PoolOf<Self>;

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
