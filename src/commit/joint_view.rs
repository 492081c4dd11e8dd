//! A joint view: places in the lists of several caches of one domain, with one version.
//!
//! A place must be in its list before the clock is read for its version (see `views`). For several
//! lists, all places are put in first. Until then the joint view is *opening*. A writer that passes
//! an opening place needs to do nothing for it: the clock is read for it later, so its version is
//! not older than what the writer has committed. When all places are in their lists, the view is
//! *announced*, and the first thread that needs its version reads the clock for all places.
//!
//! Another view of one of the caches may be put upon an opening place, because no thread waits.
//! It *detaches* the place first: the place gets a version of its own, so that the versions still
//! descend along the list. The joint view is then opened anew, unless that version happens to be
//! the common one. If it is not, a commit took a number in between. So opening is lock-free.

use crate::sync::hook::{mutant, step};
use crate::sync::{AtomicU64, Ordering, fence};
use crate::version::Clock;
use std::sync::Arc;

/// The common version of the places of a joint view.
pub struct JointInstant(AtomicU64);

const OPENING: u64 = 0;
const ANNOUNCED: u64 = 1;
/// What is added to a version.
const VERSION: u64 = 2;

impl JointInstant {
    /// Makes the instant of a view that is opening.
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(OPENING)))
    }

    /// Notes that all places are in their lists.
    pub fn announce(&self) {
        step("joint_view.before_announced");
        // AcqRel: pairs with `version`. A thread that sees it sees all places in their lists.
        self.0.fetch_max(ANNOUNCED, Ordering::AcqRel);
        fence(Ordering::SeqCst); // partner: the writer's fence, in `Views::first_below`
    }

    /// The version. Reads the clock if nobody has; `None` while the view is opening.
    pub fn version(&self, clock: &Clock) -> Option<u64> {
        match self.0.load(Ordering::Acquire) {
            OPENING if !mutant("joint_view.unannounced") => None,
            OPENING | ANNOUNCED => {
                fence(Ordering::SeqCst); // partner: the writer's fence, in `Views::first_below`
                Some(self.propose(clock.now()))
            }
            set => Some(set - VERSION),
        }
    }

    /// Makes this the version, unless there is one. Returns the version. The number was read from
    /// the clock after the announcement.
    pub fn propose(&self, number: u64) -> u64 {
        let mut now = self.0.load(Ordering::Acquire);
        while now < VERSION {
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire); // pairs with `version`
            match self.0.compare_exchange(now, number + VERSION, success, failure) {
                Ok(_) => return number,
                Err(other) => now = other,
            }
        }
        now - VERSION
    }
}
