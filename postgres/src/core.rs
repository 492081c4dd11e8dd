//! What the handles of one cache share, and the rules by which entries are served and ended.

use crate::clock::Clock;
use crate::error::Error;
use crate::fence::Fence;
use crate::planted::{Defect, Planted};
use crate::progress::Progress;
use crate::recent::Recent;
use crate::status::Counts;
use crate::stream::{Event, Transaction};
use coeval::Cache;
use std::hash::Hash;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The settings that parts of a cache look up.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// In nanoseconds.
    pub max_staleness: u64,
    pub heartbeat: Duration,
    pub dead_after: Duration,
    /// How long somebody waits for the stream until the server is made to flush its log.
    pub patience: Duration,
}

pub(crate) struct Core<K, V> {
    pub cache: Cache<K, V>,
    pub settings: Settings,
    pub clock: Clock,
    pub progress: Progress,
    pub recent: Recent,
    pub counts: Counts,
    pub planted: Planted,
    last_failure: Mutex<Option<Arc<str>>>,
}

/// What a load has found before it began.
pub(crate) struct Begun {
    link: u64,
    to_see: Range<u64>,
}

/// What may become of a load's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They are as of the stream's position, unless a lease says otherwise.
    Install,
    /// They are for their caller alone.
    Uncached,
}

/// What the cache holds for some keys.
pub(crate) enum Look<V, const N: usize> {
    All([V; N]),
    NotAll,
    /// Nothing may be served.
    Closed,
}

impl<K, V> Core<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub fn new(cache: Cache<K, V>, settings: Settings, planted: Planted) -> Self {
        Self {
            cache,
            clock: Clock::new(settings.max_staleness),
            progress: Progress::new(settings.max_staleness),
            settings,
            recent: Recent::new(),
            counts: Counts::default(),
            planted,
            last_failure: Mutex::new(None),
        }
    }

    /// Until when entries are served that are read after this, if nothing more is confirmed.
    #[inline]
    pub fn limit(&self) -> u64 {
        if self.planted.has(Defect::NoBound) { u64::MAX } else { self.progress.limit() }
    }

    /// Whether hits are served at all.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.progress.serving() != 0 || self.planted.has(Defect::BreakIgnored)
    }

    /// Looks keys up, as of one instant.
    #[inline(always)]
    pub fn look_up<const N: usize>(&self, keys: &[K; N]) -> Look<V, N> {
        let limit = self.limit();
        if !self.is_open() {
            return Look::Closed;
        }
        let found = match N {
            // For one key, there is nothing that would have to be of one instant.
            1 => keys.each_ref().map(|key| self.cache.get(key)),
            _ => self.cache.get_many(keys.each_ref()),
        };
        if found.iter().any(Option::is_none) {
            return Look::NotAll;
        }
        match self.clock.is_before([limit]) {
            true => Look::All(found.map(|value| value.expect("none is absent"))),
            false => Look::Closed,
        }
    }

    /// What a load must know later. After its lease was taken, and before its snapshot is.
    pub fn begin_load(&self) -> Begun {
        self.counts.loads.add();
        Begun { link: self.progress.serving(), to_see: self.recent.to_see() }
    }

    /// Waits until the stream has reached what a load saw, and says what may become of its values.
    pub async fn judge(&self, begun: Begun, fence: &Fence) -> Verdict {
        self.catch_up(fence.at).await;
        if begun.link == 0 || self.progress.serving() != begun.link {
            self.counts.uncached.add();
            return Verdict::Uncached;
        }
        let sees_all = self.recent.are_visible(begun.to_see, &fence.snapshot);
        if sees_all || self.planted.has(Defect::HiddenIgnored) {
            return Verdict::Install;
        }
        self.counts.hidden.add();
        Verdict::Uncached
    }

    /// Waits until the stream that is served from has reached this position.
    pub async fn catch_up(&self, position: u64) {
        if self.planted.has(Defect::NoWait) {
            return;
        }
        let told = self.clock.now();
        let wait = self.progress.wait_while_serving(position, told);
        if tokio::time::timeout(self.settings.patience, wait).await.is_err() {
            self.progress.impatient.notify_one();
            // Without a limit of its own: the heartbeat asks for a position after this, which is no
            // smaller if both are of one server, and ends the stream if that does not come.
            self.progress.wait_while_serving(position, told).await;
        }
    }

    /// Takes one event of the stream. `transaction`: the one under way.
    pub fn take(&self, event: Event<K>, transaction: &mut Transaction<K>) -> Result<(), Error> {
        match event {
            Event::Changed(key) if self.planted.has(Defect::RowByRow) => {
                self.cache.invalidate_many([key]);
                std::thread::sleep(Duration::from_millis(1)); // so that somebody sees it
            }
            Event::Changed(key) => transaction.add(key),
            Event::AllChanged => transaction.add_all(),
            Event::Committed(mark) => {
                // The order is what counts: a lease that is taken after the commit finds the
                // number, and who finds the position finds the commit.
                let waiting = self.recent.push(mark.transaction).map_err(|_| Error::Hidden)?;
                if Recent::is_filling(waiting) {
                    self.progress.impatient.notify_one();
                }
                if transaction.is_all() {
                    self.counts.cleared.add();
                }
                transaction.apply(&self.cache);
                self.counts.transactions.add();
                self.progress.advance(mark.position);
            }
            Event::Reached(position) => self.progress.advance(position),
        }
        Ok(())
    }

    /// Ends what is served from a stream, which is over. The order is what counts: see
    /// `Progress::serving`.
    pub fn close(&self, why: &Error) {
        let why = why.to_string();
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.into());
        self.progress.close();
        if !self.planted.has(Defect::BreakIgnored) {
            self.cache.invalidate_all();
        }
    }

    pub fn last_failure(&self) -> Option<String> {
        let failure = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.as_deref().map(ToOwned::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::{Core, Settings};
    use crate::planted::Planted;
    use crate::stream::{Event, Mark, Transaction};
    use std::time::Duration;
    use tokio::time::timeout;

    /// Rather than to run out of room for transactions that no snapshot has seen, between two beats
    /// that are far apart.
    #[tokio::test]
    async fn many_transactions_wake_the_heartbeat() {
        let hour = Duration::from_secs(3600);
        let settings =
            Settings { max_staleness: 0, heartbeat: hour, dead_after: hour, patience: hour };
        let core = Core::<u8, u8>::new(coeval::Cache::new(), settings, Planted::default());
        let mut transaction = Transaction::new();
        let mut commit = |count: u32| {
            for position in 0..u64::from(count) {
                let mark = Mark { position, transaction: 3 };
                core.take(Event::Committed(mark), &mut transaction).unwrap();
            }
        };
        let is_woken = async || {
            timeout(Duration::from_millis(1), core.progress.impatient.notified()).await.is_ok()
        };
        commit(20_000);
        assert!(!is_woken().await);
        commit(20_000);
        assert!(is_woken().await);
        core.recent.forget();
        commit(20_000);
        assert!(!is_woken().await, "snapshots have seen the others");
    }
}
