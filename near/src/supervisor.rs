//! Keeps a connection: sets it up, finds out when it is dead, and replaces it.

use crate::core::Core;
use crate::link::Link;
use crate::planted::Defect;
use crate::read::late;
use crate::source::{Place, Source, be_primary, begin};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, PushInfo, RedisError};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::time::timeout;

/// The pauses between attempts to connect: the first, and the longest.
pub(crate) const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Sets up a connection that is told of changes, and puts it into use.
pub(crate) async fn connect<V: Clone + Send + Sync + 'static>(
    core: &Arc<Core<V>>,
    source: &mut Source,
) -> Result<Arc<Link>, RedisError> {
    // A part, so that a Sentinel that is silent leaves time for another one.
    let (info, place) = source.primary(core.settings.dead_after / 4).await?;
    let number = core.map().link(0).number + 1;
    let sent = core.clock.now();
    let link = open_link(core, info, number, place).await?;
    core.put_into_use(&link, sent);
    Ok(link)
}

/// Sets up a connection that is told of changes.
pub(crate) async fn open_link<V: Clone + Send + Sync + 'static>(
    core: &Arc<Core<V>>,
    info: ConnectionInfo,
    number: u64,
    place: Option<Place>,
) -> Result<Arc<Link>, RedisError> {
    let client = Client::open(info)?;
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
    begin(&mut connection, core.is_cluster()).await?;
    Ok(Arc::new(Link::new(number, connection, place, gone)))
}

/// Replaces the connection whenever it breaks, until the task is aborted.
pub(crate) async fn supervise<V: Clone + Send + Sync + 'static>(
    core: Arc<Core<V>>,
    mut source: Source,
    mut link: Arc<Link>,
) {
    loop {
        let why = watch_over(&core, &mut source, &link).await;
        if why.is_some() {
            core.last_failure.store(why.map(Arc::new));
        }
        core.note_break(&link);
        drop(link);
        link = reconnect(&core, &mut source).await;
    }
}

/// Returns when the link has broken: with the reason, unless the connection itself has said so.
async fn watch_over<V: Clone + Send + Sync + 'static>(
    core: &Core<V>,
    source: &mut Source,
    link: &Link,
) -> Option<String> {
    let mut connection = link.connection()?;
    while !link.is_gone() {
        // A permit that an earlier link has left wakes it once too often, which does no harm.
        if timeout(core.settings.heartbeat, core.broken.notified()).await.is_ok() {
            continue;
        }
        let sent = core.clock.now();
        if let Err(error) = beat(core, &mut connection).await {
            return Some(error.to_string());
        }
        if has_moved(core, source, link).await {
            return Some("the Sentinels name another primary".to_owned());
        }
        core.confirm(link, sent);
    }
    None
}

/// One heartbeat.
async fn beat<V: Clone + Send + Sync + 'static>(
    core: &Core<V>,
    connection: &mut MultiplexedConnection,
) -> Result<(), RedisError> {
    let ask = async {
        match core.planted.has(Defect::RoleIgnored) {
            true => redis::cmd("PING").exec_async(connection).await,
            false => be_primary(connection).await,
        }
    };
    timeout(core.settings.dead_after, ask).await.unwrap_or_else(|_| Err(late()))
}

/// Whether Sentinels say that the primary is elsewhere. Silent ones hold up a heartbeat no longer
/// than until the next one.
async fn has_moved<V: Clone + Send + Sync + 'static>(
    core: &Core<V>,
    source: &mut Source,
    link: &Link,
) -> bool {
    let Some(place) = &link.place else { return false };
    if core.planted.has(Defect::SentinelsIgnored) {
        return false;
    }
    let heartbeat = core.settings.heartbeat;
    timeout(heartbeat, source.has_moved(place, heartbeat)).await.unwrap_or(false)
}

/// Tries until there is a connection.
async fn reconnect<V: Clone + Send + Sync + 'static>(
    core: &Arc<Core<V>>,
    source: &mut Source,
) -> Arc<Link> {
    let mut pause = PAUSES.0;
    loop {
        match timeout(core.settings.dead_after, connect(core, source)).await {
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
pub(crate) fn jittered(pause: Duration) -> Duration {
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
