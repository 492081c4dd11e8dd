//! Terms of a value whose deadline a policy of the user moves.

use super::node::EntryTerms;
use crate::sync::{AtomicU64, Ordering};

impl EntryTerms {
    /// The terms of a value that was saved: its deadline, and what [`times`](Self::times) returned.
    #[cfg(feature = "serde")]
    pub fn restored(deadline: u64, end: u64, idle: u64, refresh: u64, weight: u32) -> Self {
        let mut terms = Self::new(0, end, 0, refresh, weight);
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
        self.failures.store(self.failures().saturating_add(1), Ordering::Relaxed);
        self.refresh.fetch_max(until, Ordering::Relaxed);
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
