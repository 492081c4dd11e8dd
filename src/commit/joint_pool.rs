//! The memory of joint commits that are over, for those to come.

use super::Joint;
use crate::sync::per_thread::PerThread;
use crate::version::Clock;
use std::cell::Cell;
use std::sync::Arc;

/// The most joint commits that a thread keeps. What it retires in a few grace periods comes back
/// together, and is used up by as many commits.
const MOST: usize = 1024;

/// The memory of the joint commits of one domain.
///
/// A thread that takes back the last part of a joint commit owns the commit, which no other thread
/// can reach any more. It keeps the commit for its own next one. No list is shared, so no thread
/// can have one of these in hand while another takes it, whichever caches it has guards of.
pub struct JointPool(PerThread<FreeJoints>);

/// The joint commits that a thread keeps, linked by their `next`.
#[derive(Default)]
struct FreeJoints {
    first: Cell<Option<Box<Joint>>>,
    count: Cell<usize>,
}

impl Drop for FreeJoints {
    /// Drops one after the other, since a list of boxes would drop them one within the other.
    fn drop(&mut self) {
        let mut next = self.first.take();
        while let Some(mut joint) = next {
            next = joint.next.take();
        }
    }
}

impl JointPool {
    pub fn new() -> Self {
        Self(PerThread::new())
    }

    /// Returns a commit without parts.
    #[inline]
    pub fn take(&self) -> Box<Joint> {
        let mine = self.0.get();
        let Some(mut joint) = mine.first.take() else { return Joint::new() };
        mine.first.set(joint.next.take());
        mine.count.set(mine.count.get() - 1);
        joint
    }

    /// Keeps a commit that is over.
    #[inline]
    pub fn keep(&self, mut joint: Box<Joint>) {
        let mine = self.0.get();
        if mine.count.get() < MOST && joint.is_small() {
            joint.renew();
            joint.next = mine.first.take();
            mine.first.set(Some(joint));
            mine.count.set(mine.count.get() + 1);
        }
    }
}

/// What a cache shares with the other caches of its domain.
#[derive(Clone)]
pub struct Membership {
    pub clock: Clock,
    /// `None`: the cache is of no domain.
    pub joints: Option<Arc<JointPool>>,
}

impl Membership {
    /// Of a cache that is of no domain.
    pub fn none() -> Self {
        Self { clock: Clock::new(), joints: None }
    }
}
