//! How far the stream is, and whether hits are served.

use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, watch};

/// How far a stream was applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// The link whose entries are served; 0 if none are.
    pub link: u64,
    pub position: u64,
    /// All that was committed before this time is applied.
    pub confirmed: u64,
}

/// A link is one stream, from when it is set up until it breaks. Links are counted from one.
pub(crate) struct Progress {
    /// The link whose entries may be served; 0: none may. What hits ask for.
    serving: AtomicU64,
    /// Until when, if nothing more is confirmed: `max_staleness` after the time before which all
    /// that was committed is applied.
    limit: AtomicU64,
    max_staleness: u64,
    /// The same link, and the position, for those who wait.
    reached: watch::Sender<Reached>,
    /// Wakes the heartbeat, when somebody waits for a position that the server does not send.
    pub impatient: Notify,
}

impl Progress {
    pub fn new(max_staleness: u64) -> Self {
        Self {
            serving: AtomicU64::new(0),
            limit: AtomicU64::new(0),
            max_staleness,
            reached: watch::Sender::new(Reached::default()),
            impatient: Notify::new(),
        }
    }

    /// The link whose entries may be served; 0 if none may. Acquire: pairs with `open` and `close`.
    /// Who asks after it has taken a lease, and is told of a link, knows: the clearing that ends
    /// that link comes after the lease.
    #[inline]
    pub fn serving(&self) -> u64 {
        self.serving.load(Ordering::Acquire)
    }

    /// Until when entries may be served that are read after this. Acquire: pairs with `confirm`.
    /// Who loads it before an entry does not get one that was ended until the time that was
    /// confirmed.
    #[inline]
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Acquire)
    }

    /// All that was committed before this time is applied.
    pub fn confirmed(&self) -> u64 {
        self.limit().saturating_sub(self.max_staleness)
    }

    /// All that was committed before this time is applied. Release: pairs with `limit`.
    pub fn confirm(&self, time: u64) {
        self.limit.fetch_max(time.saturating_add(self.max_staleness), Ordering::Release);
        self.reached.send_modify(|reached| reached.confirmed = reached.confirmed.max(time));
    }

    /// A new stream begins here; nobody is served from it yet.
    pub fn begin(&self, position: u64) {
        self.reached.send_modify(|reached| {
            reached.link = 0;
            reached.position = position;
        });
    }

    /// Entries of this link may be served. First those who read from now on wait for the stream;
    /// then it is served from. Release: pairs with `serving`.
    pub fn open(&self, link: u64) {
        self.reached.send_modify(|reached| reached.link = link);
        self.serving.store(link, Ordering::Release);
    }

    /// No entries may be served. Before the cache is cleared: a lease that is taken after that
    /// finds no link. Release: pairs with `serving`.
    pub fn close(&self) {
        self.serving.store(0, Ordering::Release);
        self.reached.send_modify(|reached| reached.link = 0);
    }

    /// All up to this position is applied.
    pub fn advance(&self, position: u64) {
        self.reached.send_if_modified(|reached| {
            let is_news = position > reached.position;
            reached.position = reached.position.max(position);
            is_news
        });
    }

    pub fn reached(&self) -> Reached {
        *self.reached.borrow()
    }

    /// Waits until the stream has reached this position, whether it is served from or not.
    pub async fn wait_for_position(&self, position: u64) {
        self.wait_until(|reached| reached.position >= position).await;
    }

    /// Waits until the stream that is served from has reached this position, which somebody was
    /// told before this time. Does not wait if none is, and no longer than it is: then there are no
    /// entries that are older. Nor longer than until all is applied that was committed before the
    /// time: the position was another server's.
    pub async fn wait_while_serving(&self, position: u64, told: u64) {
        let link = self.reached().link;
        self.wait_until(|reached| {
            let is_over = reached.link == 0 || reached.link != link;
            is_over || reached.position >= position || reached.confirmed >= told
        })
        .await;
    }

    async fn wait_until(&self, holds: impl Fn(&Reached) -> bool) {
        let mut reached = self.reached.subscribe();
        // The sender lives as long as `self`.
        let _ = reached.wait_for(holds).await;
    }
}

#[cfg(test)]
mod tests {
    use super::Progress;

    #[tokio::test]
    async fn who_waits_is_woken() {
        let progress = Progress::new(0);
        progress.wait_while_serving(7, 1).await; // nothing is served
        progress.begin(5);
        progress.open(1);
        let advance = async {
            tokio::task::yield_now().await;
            progress.advance(6);
            tokio::task::yield_now().await;
            progress.advance(7);
        };
        tokio::join!(progress.wait_while_serving(7, 1), progress.wait_for_position(7), advance);
        let close = async {
            tokio::task::yield_now().await;
            progress.close();
        };
        let confirm = async {
            tokio::task::yield_now().await;
            progress.confirm(1);
        };
        tokio::join!(progress.wait_while_serving(u64::MAX, 1), confirm);
        tokio::join!(progress.wait_while_serving(8, 2), close);
        assert_eq!(progress.reached().position, 7);
    }
}
