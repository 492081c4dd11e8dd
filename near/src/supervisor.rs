//! Keeps a connection: sets it up, finds out when it is dead, and replaces it.

use crate::core::Core;
use crate::link::Link;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, PushInfo, RedisError};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::time::timeout;

/// The pauses between attempts to connect: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Sets up a connection that is told of changes, and puts it into use.
pub(crate) async fn connect<V: Clone + Send + Sync + 'static>(
    core: &Arc<Core<V>>,
    client: &Client,
) -> Result<Arc<Link>, RedisError> {
    let number = core.current().number + 1;
    let gone = Arc::new(AtomicBool::new(false));
    let receiver = {
        // Weak: the connection's own task holds it, and the core holds the connection.
        let (core, gone) = (Arc::downgrade(core), Arc::clone(&gone));
        move |push: PushInfo| -> Result<(), ()> {
            core.upgrade().ok_or(())?.receive(push, number, &gone);
            Ok(())
        }
    };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(core.settings.dead_after))
        .set_response_timeout(None) // every call has its own
        .set_push_sender(receiver);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    let sent = core.clock.now();
    redis::cmd("CLIENT").arg("TRACKING").arg("ON").exec_async(&mut connection).await?;
    let link = Arc::new(Link::new(number, connection, gone));
    core.put_into_use(&link, sent);
    Ok(link)
}

/// Replaces the connection whenever it breaks, until the task is aborted.
pub(crate) async fn supervise<V: Clone + Send + Sync + 'static>(
    core: Arc<Core<V>>,
    client: Client,
    mut link: Arc<Link>,
) {
    loop {
        watch_over(&core, &link).await;
        core.note_break(&link);
        drop(link);
        link = reconnect(&core, &client).await;
    }
}

/// Returns when the link has broken.
async fn watch_over<V: Clone + Send + Sync + 'static>(core: &Core<V>, link: &Link) {
    let Some(connection) = link.connection() else { return };
    while !link.is_gone() {
        // A permit that an earlier link has left wakes it once too often, which does no harm.
        if timeout(core.settings.heartbeat, core.broken.notified()).await.is_ok() {
            continue;
        }
        let sent = core.clock.now();
        let answer = timeout(core.settings.dead_after, ping(connection.clone())).await;
        match answer {
            Ok(Ok(())) => core.confirm(link, sent),
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// The reply comes after the pushes of all that the server did before: that is what it is for.
async fn ping(mut connection: MultiplexedConnection) -> Result<(), RedisError> {
    redis::cmd("PING").exec_async(&mut connection).await
}

/// Tries until there is a connection.
async fn reconnect<V: Clone + Send + Sync + 'static>(
    core: &Arc<Core<V>>,
    client: &Client,
) -> Arc<Link> {
    let mut pause = PAUSES.0;
    loop {
        match timeout(core.settings.dead_after, connect(core, client)).await {
            Ok(Ok(link)) => {
                core.last_failure.store(None);
                return link;
            }
            Ok(Err(error)) => core.last_failure.store(Some(Arc::new(error.to_string()))),
            Err(late) => core.last_failure.store(Some(Arc::new(late.to_string()))),
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Between half of a pause and all of it, so that processes that lost a server together do not come
/// back together.
fn jittered(pause: Duration) -> Duration {
    // A hasher with random keys is the only source of chance in std.
    let random = std::hash::RandomState::new().build_hasher().finish();
    let half = pause / 2;
    half + half.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::jittered;
    use std::time::Duration;

    #[test]
    fn pauses_differ_and_stay_in_bounds() {
        let pause = Duration::from_millis(100);
        let all: std::collections::BTreeSet<_> = (0..100).map(|_| jittered(pause)).collect();
        assert!(all.iter().all(|it| (pause / 2..=pause).contains(it)), "{all:?}");
        assert!(all.len() > 50, "{all:?}");
    }
}
