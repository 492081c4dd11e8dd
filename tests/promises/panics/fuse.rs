//! Keys and values whose code panics at a chosen call.

use crate::common::counted::{Counted, Ledgers};
use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The code that panics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Site {
    Hash,
    Eq,
    Clone,
    Relation,
    DropKey,
    DropValue,
}

std::thread_local! {
    /// The site that panics in this thread, and after how many more calls.
    static FUSE: Cell<Option<(Site, u64)>> = const { Cell::new(None) };
}

/// The payload of a panic by a burnt fuse.
struct Burnt;

/// The code of each site calls this.
pub fn reach(site: Site) {
    let Some((armed, left)) = FUSE.get() else { return };
    if armed != site {
        return;
    }
    if left > 0 {
        FUSE.set(Some((site, left - 1)));
        return;
    }
    FUSE.set(None);
    // Unlike `panic!`, this prints nothing; the tests cause thousands of panics.
    std::panic::resume_unwind(Box::new(Burnt));
}

/// Runs `body` with a panic in the `calls`-th call of `site`. Returns true if that call was
/// reached. The panic may have reached this function, or a destructor may have swallowed it.
pub fn with_fuse(site: Site, calls: u64, body: impl FnOnce()) -> bool {
    FUSE.set(Some((site, calls)));
    let result = catch_unwind(AssertUnwindSafe(body));
    let burnt = FUSE.take().is_none();
    match result {
        Ok(()) => {
            let swallowed = burnt && !matches!(site, Site::DropKey | Site::DropValue);
            assert!(!swallowed, "a panic in {site:?} did not reach the caller");
        }
        Err(panic) if panic.is::<Burnt>() => assert!(burnt),
        Err(panic) => std::panic::resume_unwind(panic),
    }
    burnt
}

pub struct Key(pub Counted);
pub struct Val(pub Counted);
/// Looks a key up.
pub struct ById(pub u64);

/// Hashes keys to few values, so that keys are compared often.
fn hash(id: u64, state: &mut impl Hasher) {
    reach(Site::Hash);
    (id % 3).hash(state);
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(self.0.read(), state);
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(self.0, state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        reach(Site::Eq);
        self.0 == other.0
    }
}

impl Eq for Key {}

impl equivalent::Equivalent<Key> for ById {
    fn equivalent(&self, key: &Key) -> bool {
        reach(Site::Eq);
        self.0 == key.0.read()
    }
}

impl Clone for Val {
    fn clone(&self) -> Self {
        reach(Site::Clone);
        Self(self.0.clone())
    }
}

impl Clone for Key {
    fn clone(&self) -> Self {
        reach(Site::Clone);
        Self(self.0.clone())
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        reach(Site::DropKey);
    }
}

impl Drop for Val {
    fn drop(&mut self) {
        reach(Site::DropValue);
    }
}

/// Makes keys and values, and counts them.
#[derive(Clone)]
pub struct Maker(pub Arc<Ledgers>);

impl Maker {
    pub fn new() -> Self {
        Self(Arc::new(Ledgers::new()))
    }

    pub fn key(&self, id: u64) -> Key {
        Key(self.0.key(id))
    }

    pub fn value(&self, id: u64) -> Val {
        Val(self.0.value(id))
    }
}
