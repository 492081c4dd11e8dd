//! The stream: set up, applied, watched, and set up anew after each break.

use crate::control::Control;
use crate::core::Core;
use crate::error::Error;
use crate::fence::Fence;
use crate::planted::Defect;
use crate::source::{KeysOf, PgStream, chance};
use crate::stream::{CommitStream, Transaction};
use pgwire_replication::ReplicationConfig;
use std::convert::Infallible;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The shortest and the longest pause between attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

pub(crate) struct Supervisor<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub core: Arc<Core<K, V>>,
    pub config: ReplicationConfig,
    pub keys_of: Arc<KeysOf<K>>,
    /// How the first attempt went: told when the first stream is served from, or has failed.
    pub first: Option<oneshot::Sender<Result<(), Error>>>,
}

impl<K, V> Supervisor<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Runs until the task is aborted, or nobody waits for a first stream that has failed.
    pub async fn run(mut self) {
        let mut pause = PAUSES.0;
        loop {
            let before = self.core.counts.links.get();
            let Err(why) = self.run_link().await;
            self.core.close(&why);
            if let Some(first) = self.first.take() {
                let _ = first.send(Err(why));
                return;
            }
            if self.core.counts.links.get() > before {
                pause = PAUSES.0;
            }
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Sets up one stream, and follows it until it breaks.
    async fn run_link(&mut self) -> Result<Infallible, Error> {
        let mut control = Control::connect(&self.config, self.core.settings.dead_after).await?;
        let mut stream = self.stream(&mut control).await?;
        self.core.recent.forget();
        self.core.progress.begin(stream.start());
        let core = Arc::clone(&self.core);
        tokio::select! {
            over = apply(&core, &mut stream) => over,
            over = self.watch_over(&mut control) => over,
        }
    }

    /// Makes a slot, which may take as long as the transactions that are under way. Whether the
    /// server is still there is asked meanwhile.
    async fn stream(&self, control: &mut Control) -> Result<PgStream<K>, Error> {
        let connect = PgStream::connect_shared(&self.config, Arc::clone(&self.keys_of));
        let ask = async {
            loop {
                tokio::time::sleep(self.core.settings.dead_after).await;
                if let Err(error) = control.fence().await {
                    return error;
                }
            }
        };
        tokio::select! {
            stream = connect => stream,
            error = ask => Err(error),
        }
    }

    /// Opens the link, and confirms again and again that the stream is up to date. Returns when it
    /// is not.
    async fn watch_over(&mut self, control: &mut Control) -> Result<Infallible, Error> {
        let core = Arc::clone(&self.core);
        // A transaction may be in the log before the slot's beginning, and still not be visible. So
        // nothing is served before all that were running now have ended.
        let made = control.fence().await?;
        let mut is_open = false;
        loop {
            let sent = core.clock.now();
            let to_see = core.recent.to_see();
            let fence = control.fence().await?;
            core.recent.are_visible(to_see, &fence.snapshot);
            core.counts.server.set(fence.at);
            reach(&core, control, &fence).await?;
            core.progress.confirm(sent);
            if !is_open && fence.snapshot.oldest >= made.snapshot.next {
                is_open = true;
                core.counts.links.add();
                core.progress.open(core.counts.links.get());
                if let Some(first) = self.first.take() {
                    let _ = first.send(Ok(()));
                }
            }
            let heartbeat = core.progress.impatient.notified();
            if timeout(core.settings.heartbeat, heartbeat).await.is_ok() {
                flush(&core, control).await?;
            }
        }
    }
}

impl<K, V> Drop for Supervisor<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// However the task ends, also by a panic or with its runtime: nobody applies anything from now
    /// on, and nobody must wait for it.
    fn drop(&mut self) {
        self.core.close(&Error::Stopped);
    }
}

/// Applies what the stream brings.
async fn apply<K, V>(core: &Core<K, V>, stream: &mut PgStream<K>) -> Result<Infallible, Error>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let mut transaction = Transaction::new();
    loop {
        let event = stream.next().await?;
        core.take(event, &mut transaction)?;
    }
}

/// Waits until the stream has reached what the server had in its log. What is in the log and was
/// not flushed is not sent. The server flushes at each commit, and seldom else: so it is made to.
async fn reach<K, V>(core: &Core<K, V>, control: &mut Control, to: &Fence) -> Result<(), Error>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let settings = &core.settings;
    if timeout(settings.patience, core.progress.wait_for_position(to.at)).await.is_ok() {
        return Ok(());
    }
    flush(core, control).await?;
    let reached = timeout(settings.dead_after, core.progress.wait_for_position(to.at)).await;
    reached.map_err(|_| Error::Silent(settings.dead_after))
}

async fn flush<K, V>(core: &Core<K, V>, control: &mut Control) -> Result<(), Error>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    if core.planted.has(Defect::NoFlush) {
        return Ok(());
    }
    core.counts.flushes.add();
    control.flush().await
}

/// Between half of a pause and all of it, so that processes that lost a server together do not come
/// back together.
fn jittered(pause: Duration) -> Duration {
    let half = pause / 2;
    half + half.mul_f64((chance() >> 11) as f64 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::jittered;
    use std::collections::BTreeSet;
    use std::time::Duration;

    #[test]
    fn pauses_differ_and_stay_in_bounds() {
        let pause = Duration::from_millis(100);
        let all: BTreeSet<_> = (0..100).map(|_| jittered(pause)).collect();
        assert!(all.iter().all(|it| (pause / 2..=pause).contains(it)), "{all:?}");
        assert!(all.len() > 50, "{all:?}");
    }
}
