//! A joint commit: a commit of several caches of one domain. One word decides all of its writes.
//!
//! A joint commit has a *part* for each cache: a [descriptor](super::Descriptor) with the writes to
//! that cache, and with what the commit requires of it. A part has no outcome of its own: it leads
//! to the joint commit. So does a version that the part has installed. A thread of one cache
//! that meets the version helps the whole commit, and knows the other caches by the trait
//! [`Partner`] alone.
//!
//! **Order.** The parts are in the order of the addresses of their caches, and the entries of a
//! part in the order of their records. All commits install in that order. So a commit is blocked
//! only by one that is further on, and helping ends.
//!
//! **Memory.** A helper takes a guard of another cache, and then sees that the commit is undecided.
//! The owner has guards of all caches until the commit is decided. So what the helper then reaches
//! was not retired before its guard. The joint commit itself is over with its last part, and a part
//! goes a grace period of its cache after the owner has forgotten it. Then the thread that took the
//! last part back owns the commit, and nobody else can reach it: see [`JointPool`](super::JointPool).

use crate::sync::hook::{mutant, step};
use crate::sync::{AtomicU64, AtomicUsize, Ordering};
use crate::version::{Clock, State};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

/// The largest list of parts that is kept for a later commit.
const MOST_KEPT: usize = 64;

/// A cache, as a joint commit knows it.
pub trait Partner: Send + Sync {
    /// Installs the versions of a part, unless the commit is ready or decided. Commits that block
    /// it are helped first.
    ///
    /// # Safety
    /// The caller's guard keeps `joint`, and `part` is the descriptor of this cache in it.
    unsafe fn install_part(&self, part: *const (), joint: &Joint);

    /// Whether what a part requires is met by a commit of this number; `None` if everything was
    /// cleared after that. Any answer will do if the commit is decided.
    ///
    /// # Safety
    /// As for [`install_part`](Self::install_part).
    unsafe fn is_part_met(&self, part: *const (), joint: &Joint, version: u64) -> Option<bool>;
}

/// The part of one cache in a joint commit.
pub struct JointPart {
    /// The cache. It lives while the commit is undecided, because the owner keeps it.
    pub partner: Weak<dyn Partner>,
    /// The descriptor, of a type that the partner knows.
    pub descriptor: *const (),
    /// Whether the part has preconditions.
    pub is_conditional: bool,
}

/// A commit of several caches.
pub struct Joint {
    /// As the state of a descriptor: *installing* → *ready* → the outcome.
    word: AtomicU64,
    /// The parts, in the order of the addresses of their caches.
    parts: Vec<JointPart>,
    /// Whether a part has preconditions.
    is_conditional: bool,
    /// The number of parts whose memory was not taken back yet.
    left: AtomicUsize,
    /// The next one in a list of [`JointPool`].
    pub(super) next: Option<Box<Joint>>,
}

/// A cache while a helper uses it. If the helper turns out to be its last holder, the cache is
/// dropped here. A panic of a destructor of its user's ends here: the helper's operation, which is
/// under way, has nothing to do with it.
struct Upgraded(Option<Arc<dyn Partner>>);

impl Upgraded {
    fn of(partner: &Weak<dyn Partner>) -> Option<Self> {
        Some(Self(Some(partner.upgrade()?)))
    }
}

impl Deref for Upgraded {
    type Target = dyn Partner;

    fn deref(&self) -> &Self::Target {
        self.0.as_deref().expect("the cache is there until this is dropped")
    }
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        let partner = self.0.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(partner)));
    }
}

// SAFETY: the descriptors of the parts are reached by their partners alone, whose types are
// `Send` and `Sync`.
unsafe impl Send for Joint {}
// SAFETY: as above.
unsafe impl Sync for Joint {}

impl Joint {
    /// Makes a commit without parts. The caller adds them before another thread can reach it.
    pub fn new() -> Box<Self> {
        let word = AtomicU64::new(State::INSTALLING.0);
        let (parts, left) = (Vec::new(), AtomicUsize::new(0));
        Box::new(Self { word, parts, is_conditional: false, left, next: None })
    }

    /// Whether its list of parts is worth keeping.
    pub(super) fn is_small(&self) -> bool {
        self.parts.capacity() <= MOST_KEPT
    }

    /// Makes a commit that is over as one that was just made.
    #[inline]
    pub(super) fn renew(&mut self) {
        self.parts.clear();
        self.is_conditional = false;
        // Relaxed, both: as in `add`.
        self.word.store(State::INSTALLING.0, Ordering::Relaxed);
        self.left.store(0, Ordering::Relaxed);
    }

    /// Adds a part, which ends by [`release`](Self::release).
    #[inline]
    pub fn add(&mut self, part: JointPart) {
        self.is_conditional |= part.is_conditional;
        self.parts.push(part);
        // Relaxed: what installs a part publishes this.
        self.left.store(self.parts.len(), Ordering::Relaxed);
    }

    /// Takes a part back. Returns the commit with the last one.
    ///
    /// # Safety
    /// The commit was [made](Self::new) in a box, which nobody else owns. A grace period of the
    /// part's cache has passed since no version leads to the part. This is called once for a part.
    #[inline]
    pub unsafe fn release(joint: *const Self) -> Option<Box<Self>> {
        // AcqRel: each thread has done with the commit before the last one owns it.
        let relaxed = mutant("joint.released_relaxed");
        let order = if relaxed { Ordering::Relaxed } else { Ordering::AcqRel };
        // SAFETY: the caller's promise: this part is left.
        let was = unsafe { &*joint }.left.fetch_sub(1, order);
        // SAFETY: the last part. No thread of any of the caches can reach the commit.
        (was == 1).then(|| unsafe { Box::from_raw(joint.cast_mut()) })
    }

    /// The word that decides the commit.
    pub fn word(&self) -> &AtomicU64 {
        &self.word
    }

    fn state(&self) -> State {
        // Acquire: pairs with the compare-and-swap in `advance`, as in a descriptor.
        State(self.word.load(Ordering::Acquire))
    }

    fn advance(&self, from: State, to: State) -> State {
        // AcqRel: pairs with `state` on both sides.
        match self.word.compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => to,
            Err(now) => State(now),
        }
    }

    /// Whether the commit is being installed. If it is so under a guard of a cache, that guard
    /// keeps the part of the cache.
    pub fn is_installing(&self) -> bool {
        self.state().is_installing()
    }

    /// Whether the commit is ready, and not decided yet; see [`is_installing`](Self::is_installing).
    pub fn is_ready(&self) -> bool {
        self.state().is_ready()
    }

    /// The outcome. Stamps a ready commit first. `None` while the commit is being installed.
    pub fn outcome(&self, clock: &Clock) -> Option<State> {
        let state = self.state();
        if state.is_ready() {
            return Some(self.stamp(clock));
        }
        (!state.is_installing()).then_some(state)
    }

    /// Installs what is not installed yet, in all caches, and decides the commit. Lock-free:
    /// helping goes on only to commits that are further on, so it nests no deeper than there are
    /// undecided joint commits.
    pub fn complete(&self, clock: &Clock) -> State {
        for part in &self.parts {
            // A cache that is gone has no owner of an undecided commit: this one is decided.
            let Some(partner) = Upgraded::of(&part.partner) else { break };
            // SAFETY: the caller reached this commit under a guard of one of its caches, which
            // keeps it: see `release`.
            unsafe { partner.install_part(part.descriptor, self) };
            if mutant("joint.ready_early") {
                break;
            }
        }
        self.decide(clock)
    }

    /// Decides the commit, all of whose parts are installed.
    #[inline]
    pub fn decide(&self, clock: &Clock) -> State {
        step("joint.before_ready");
        self.advance(State::INSTALLING, State::READY);
        step("joint.ready");
        self.stamp(clock)
    }

    /// Decides a ready commit: the one atomic step that publishes all writes of all caches.
    #[inline]
    fn stamp(&self, clock: &Clock) -> State {
        loop {
            let state = self.state();
            if !state.is_ready() {
                return state;
            }
            let version = clock.tick(); // after ready was seen
            step("commit.ticked");
            match if self.is_conditional { self.are_met(version) } else { Some(true) } {
                // A cache was cleared after the number was taken. Another number is taken.
                None => continue,
                Some(true) => return self.advance(State::READY, State::committed(version)),
                Some(false) => return self.advance(State::READY, State::ABORTED),
            }
        }
    }

    /// Whether all preconditions of all parts are met; see [`Partner::is_part_met`].
    fn are_met(&self, version: u64) -> Option<bool> {
        let first = usize::from(mutant("joint.first_part_only"));
        let parts = self.parts.iter().take(if first == 1 { 1 } else { usize::MAX });
        for part in parts.filter(|part| part.is_conditional) {
            // A cache that is gone: the commit is decided, and any answer will do.
            let Some(partner) = Upgraded::of(&part.partner) else { return Some(false) };
            // SAFETY: as in `complete`.
            if !unsafe { partner.is_part_met(part.descriptor, self, version) }? {
                return Some(false);
            }
        }
        Some(true)
    }
}
