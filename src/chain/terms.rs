//! The terms of a value: until when it is kept, its weight, and the shape of its dependencies.

use super::FEW;
use crate::sync::hook::mutant;
use crate::sync::{AtomicU8, AtomicU64, Ordering};

/// The terms of a value: until when it is kept, its weight, and the shape of its dependencies.
/// Times are nanoseconds of the cache's timer.
#[repr(C)] // What look-ups read first comes first.
pub struct EntryTerms {
    /// The weight of the value, which counts against the capacity.
    weight: u32,
    /// The shape of the dependencies of the value.
    pub(super) counts: DependencyCounts,
    /// How many loads of a newer value have failed, as far as it is counted, and the flag
    /// [`GIVEN_WEIGHT`](Self::GIVEN_WEIGHT).
    pub(super) failures: AtomicU8,
    /// How long the load of the value took; see [`load_time`](Self::load_time).
    load_time: AtomicU8,
    /// The time from which on the value is absent. If the value is kept as long as it is used, each
    /// use moves this time on. Then the lowest bit is not part of the time: it says that a thread
    /// found the value expired.
    pub(super) deadline: AtomicU64,
    /// The latest deadline.
    pub(super) end: u64,
    /// How long the value is kept without a use; 0: without a use it is kept until `end`;
    /// [`BY_POLICY`](Self::BY_POLICY): a policy moves the deadline.
    pub(super) idle: u64,
    /// The time from which on the value is to be loaded anew. It is served meanwhile.
    pub(super) refresh: AtomicU64,
    /// The time at which the value was written, or restored; [`NEVER`] if nobody asked for the
    /// time.
    ///
    /// [`NEVER`]: crate::sync::time::NEVER
    written: u64,
}

/// What a value weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    pub amount: u32,
    /// Whether a caller has given the weight, in place of the weigher.
    pub is_given: bool,
}

impl Weight {
    /// A weight that the weigher says, or 1 without one.
    pub fn weighed(amount: u32) -> Self {
        Self { amount, is_given: false }
    }

    /// A weight that a caller gives.
    pub fn given(amount: u32) -> Self {
        Self { amount, is_given: true }
    }
}

/// Whether a version is a [`Derived`](super::Derived) one, and, in the common cases, how many
/// inputs and tags it has. It is one word, so that a look-up needs one comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct DependencyCounts(u16);

impl DependencyCounts {
    /// The version is not derived.
    pub const NONE: Self = Self(0);
    /// The version is derived; the counts are not known.
    pub const UNKNOWN: Self = Self(u16::MAX);
    pub const ONE_TAG: Self = Self::inline(0, 1);

    /// The version is derived and has no deadline. Its inputs and tags, of these numbers, are
    /// stored in it, and no input is derived. That is all that most look-ups need.
    pub const fn inline(inputs: u8, tags: u8) -> Self {
        Self(u16::from_le_bytes([inputs, tags]))
    }

    /// The numbers of inputs and tags that [`inline`](Self::inline) received.
    #[inline(always)]
    pub fn counts(self) -> Option<(usize, usize)> {
        let [inputs, tags] = self.0.to_le_bytes();
        (self != Self::NONE && self != Self::UNKNOWN).then_some((inputs.into(), tags.into()))
    }

    /// The number of inputs, if there are no tags.
    #[inline(always)]
    pub fn inputs_only(self) -> Option<usize> {
        let inputs = usize::from(self.0);
        (1..=FEW).contains(&inputs).then_some(inputs)
    }
}

impl EntryTerms {
    /// A bit in the deadline of a value that is kept as long as it is used: a thread found the
    /// value expired.
    pub(super) const EXPIRED: u64 = 1;
    /// In place of the time without a use: a policy of the user moves the deadline.
    pub(super) const BY_POLICY: u64 = u64::MAX;
    /// A bit beside the failures: a caller has given the weight.
    const GIVEN_WEIGHT: u8 = 1 << 7;

    /// The value is kept until `end`. If `idle` is not 0, it is kept no longer than `idle` without
    /// a use; the first use is at `now`.
    pub fn new(now: u64, end: u64, idle: u64, refresh: u64, weight: Weight) -> Self {
        let deadline = AtomicU64::new(end);
        let refresh = AtomicU64::new(refresh);
        let flag = if weight.is_given { Self::GIVEN_WEIGHT } else { 0 };
        let (counts, failures, load_time) =
            (DependencyCounts::NONE, AtomicU8::new(flag), AtomicU8::new(0));
        let (written, weight) = (now, weight.amount);
        let terms =
            Self { deadline, end, idle, refresh, weight, counts, failures, load_time, written };
        let deadline = if idle == 0 { end } else { terms.after_use(now) };
        Self { deadline: AtomicU64::new(deadline), ..terms }
    }

    /// The same terms for a derived version.
    pub(super) fn with_counts(self, counts: DependencyCounts) -> Self {
        Self { counts, ..self }
    }

    /// The same terms, for a version that replaces this one and has the same weight.
    pub fn again(&self) -> Self {
        let deadline =
            AtomicU64::new(self.deadline() & if self.idle == 0 { !0 } else { !Self::EXPIRED });
        let Self { end, idle, weight, written, .. } = *self;
        let refresh = AtomicU64::new(self.refresh.load(Ordering::Relaxed));
        let failures = AtomicU8::new(self.failures.load(Ordering::Relaxed)); // as in `failures`
        let counts = DependencyCounts::NONE;
        let load_time = AtomicU8::new(self.load_time.load(Ordering::Relaxed)); // as in `load_time`
        Self { deadline, end, idle, refresh, weight, counts, failures, load_time, written }
    }

    /// How many loads of a newer value have failed.
    pub fn failures(&self) -> u8 {
        self.failures.load(Ordering::Relaxed) & !Self::GIVEN_WEIGHT // Relaxed: it orders nothing.
    }

    /// The latest deadline, the time without a use, and the time from which on the value is to be
    /// loaded anew.
    pub fn times(&self) -> (u64, u64, u64) {
        (self.end, self.idle, self.refresh.load(Ordering::Relaxed)) // Relaxed: as in `is_stale`.
    }

    /// Whether the value is to be loaded anew at `time`.
    pub fn is_stale(&self, time: u64) -> bool {
        self.refresh.load(Ordering::Relaxed) <= time // Relaxed: it orders nothing.
    }

    /// The time from which on the value is absent, unless it is used before.
    #[inline]
    pub fn deadline(&self) -> u64 {
        // Relaxed, as below: no other memory depends on it.
        self.deadline.load(Ordering::Relaxed)
    }

    /// Whether uses move the deadline.
    #[inline(always)]
    pub fn is_moved_by_uses(&self) -> bool {
        self.idle != 0
    }

    /// The deadline of a value that has no dependencies, if uses do not move it.
    #[inline(always)]
    pub fn plain_deadline(&self) -> Option<u64> {
        let is_plain = self.counts == DependencyCounts::NONE && !self.is_moved_by_uses();
        is_plain.then(|| self.deadline())
    }

    /// The weight of the value.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// The weight of the value, and whether a caller has given it.
    pub fn whole_weight(&self) -> Weight {
        let flags = self.failures.load(Ordering::Relaxed); // as in `failures`
        Weight { amount: self.weight, is_given: flags & Self::GIVEN_WEIGHT != 0 }
    }

    /// The weight of the value, if a caller has given it.
    pub fn given_weight(&self) -> Option<u32> {
        let Weight { amount, is_given } = self.whole_weight();
        is_given.then_some(amount)
    }

    /// Whether the value is expired at `time`. A value that was found expired stays expired, so
    /// that no reader sees it come back. Lock-free: the loop repeats only if another thread used
    /// the value meanwhile.
    pub fn is_expired(&self, time: u64) -> bool {
        let relaxed = Ordering::Relaxed;
        let mut deadline = self.deadline();
        loop {
            let mark = if self.idle == 0 { 0 } else { deadline & Self::EXPIRED };
            if deadline - mark > time {
                return false;
            }
            if self.idle == 0 || mark != 0 || mutant("terms.unmarked") {
                return true;
            }
            let expired = deadline | Self::EXPIRED;
            match self.deadline.compare_exchange(deadline, expired, relaxed, relaxed) {
                Ok(_) => return true,
                Err(now) => deadline = now,
            }
        }
    }

    /// Notes a use. The deadline moves only if that changes it by a thousandth of the idle time, so
    /// that frequent hits do not write.
    pub fn touch(&self, now: u64) {
        let seen = self.deadline();
        // 0 and `BY_POLICY`
        if self.idle.wrapping_sub(1) >= Self::BY_POLICY - 1 || seen & Self::EXPIRED != 0 {
            return;
        }
        let deadline = self.after_use(now);
        if deadline > seen.saturating_add(self.idle >> 10) {
            // If this fails, another thread has noted a use or found the value expired.
            let relaxed = Ordering::Relaxed;
            let _ = self.deadline.compare_exchange(seen, deadline, relaxed, relaxed);
        }
    }

    fn after_use(&self, now: u64) -> u64 {
        self.end.min(now.saturating_add(self.idle)) & !Self::EXPIRED
    }
}

/// Terms that a policy of the user changes, or that were saved.
impl EntryTerms {
    /// The terms of a value that was saved: its deadline, and what [`times`](Self::times) returned.
    #[cfg(feature = "serde")]
    pub fn restored(
        now: u64,
        deadline: u64,
        (end, idle, refresh): (u64, u64, u64),
        weight: Weight,
    ) -> Self {
        let mut terms = Self::new(now, end, 0, refresh, weight);
        let flag = if idle == 0 { 0 } else { Self::EXPIRED };
        terms.deadline = AtomicU64::new(deadline.min(end) & !flag);
        terms.idle = idle;
        terms
    }

    /// The same terms for a value that a policy keeps until `until`, at most. If the value is kept
    /// without a time to idle, the policy may move that time on.
    pub fn by_policy(mut self, until: u64) -> Self {
        let (is_idle, until) =
            (self.idle != 0 && self.idle != Self::BY_POLICY, until.min(self.end));
        let first = if is_idle { self.deadline().min(until) } else { until };
        if is_idle {
            self.end = until;
        } else {
            self.idle = Self::BY_POLICY;
        }
        self.deadline = AtomicU64::new(first & !Self::EXPIRED);
        self
    }

    /// Notes a failed load of a newer value, and postpones the next one to `until`, at the
    /// earliest. If two threads note a failure at the same time, they may count as one.
    pub fn note_failure(&self, until: u64) {
        // Relaxed, both: they order nothing.
        let noted = self.failures.load(Ordering::Relaxed);
        if noted & !Self::GIVEN_WEIGHT != !Self::GIVEN_WEIGHT {
            self.failures.store(noted + 1, Ordering::Relaxed);
        }
        self.refresh.fetch_max(until, Ordering::Relaxed);
    }

    /// The time at which the value was written, or restored.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// How long the load of the value took, in nanoseconds, at most a fifth less than it was; 0 if
    /// it was not loaded.
    pub fn load_time(&self) -> u64 {
        let code = self.load_time.load(Ordering::Relaxed); // Relaxed: it orders nothing.
        if code == 0 { 0 } else { ((4 + u64::from(code & 3)) << (code >> 2)) >> 2 }
    }

    /// Notes how long the load of the value took. What is kept is the power of two below it, and
    /// how many quarters of that it is longer.
    pub fn note_load_time(&self, nanos: u64) {
        let nanos = nanos.clamp(4, 1 << 60);
        let power = nanos.ilog2();
        let code = (power << 2) as u8 | ((nanos >> (power - 2)) & 3) as u8;
        self.load_time.store(code, Ordering::Relaxed); // Relaxed: as above.
    }

    /// Whether a policy moves the deadline.
    pub fn is_by_policy(&self) -> bool {
        self.idle == Self::BY_POLICY
    }

    /// Moves the deadline `seen` to `until`, as a policy says, unless a thread has moved it or
    /// found the value expired.
    pub fn postpone(&self, seen: u64, until: u64) {
        let (until, relaxed) = (until.min(self.end) & !Self::EXPIRED, Ordering::Relaxed);
        if seen & Self::EXPIRED == 0 && until != seen {
            let _ = self.deadline.compare_exchange(seen, until, relaxed, relaxed);
        }
    }
}
