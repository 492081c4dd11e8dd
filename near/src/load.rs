//! Reads that load what the server does not have: once among all processes.

use crate::core::Core;
use crate::error::Error;
use crate::held::Local;
use crate::multi::{OwnWrite, milliseconds};
use redis::Value;
use std::borrow::Cow;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::mem;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Sets a key to what was loaded, if it is still absent and the right to load it still ours; then
/// gives the right back. ARGV: the token, the bytes, the time to live or 0. Returns whether the key
/// was set.
const FILL: &str = "
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
if ARGV[3] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1";

/// Gives the right to load back. ARGV: the token.
const GIVE_BACK: &str = "
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0";

/// What the names of rights to load begin with.
const RIGHTS: &str = "coeval:load:";

/// How often a process that waits for another one's load looks whether it is over; and how much
/// later a right may end than the wait of a caller who came after it was taken.
const GLANCE: Duration = Duration::from_millis(5);

/// Why a read that loads has failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError<E> {
    /// The loader failed.
    Loader(E),
    /// The cache, the connection or the server failed.
    Cache(Error),
}

impl<E> From<Error> for LoadError<E> {
    fn from(error: Error) -> Self {
        Self::Cache(error)
    }
}

impl<E: std::fmt::Display> std::fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Loader(error) => write!(f, "the loader failed: {error}"),
            Self::Cache(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for LoadError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Loader(error) => Some(error),
            Self::Cache(error) => Some(error),
        }
    }
}

impl<V: Clone + Send + Sync + 'static> Core<V> {
    /// The key on the server that says who has the right to load `key`.
    pub fn right_of(&self, key: &str) -> String {
        let key = self.server_key(key);
        [&*self.rights_in(self.slot(&key)), &key].concat()
    }

    /// What stands before a key of this slot, as the server knows it, in the name of the right to
    /// load it. In a cluster it puts the right into the slot of the key.
    pub fn rights_in(&self, slot: usize) -> Cow<'static, str> {
        match &self.numbers {
            Some(numbers) => Cow::Owned(format!("{RIGHTS}{{{}}}", numbers[slot])),
            None => Cow::Borrowed(RIGHTS),
        }
    }

    /// See `NearCache::get_with`.
    pub async fn get_with<E>(
        self: &Arc<Self>,
        key: &str,
        load: impl Future<Output = Result<V, E>>,
    ) -> Result<V, LoadError<E>> {
        let given_up = Instant::now() + self.settings.load;
        let name = self.right_of(key);
        loop {
            if let Some(value) = self.get(key).await? {
                return Ok(value);
            }
            let flight = match timeout_at(given_up, self.flights.begin(&name)).await {
                Ok(Some(flight)) => Some(flight),
                // Another task has loaded, or has failed to: look again.
                Ok(None) => continue,
                // It has the right a little longer than a caller waits who came after it.
                Err(_) => {
                    sleep(GLANCE).await;
                    None
                }
            };
            if let Some(right) = Right::take(self, key).await? {
                // A flight that this caller has given up has lost the right.
                let _flight = flight.unwrap_or_else(|| self.flights.replace(&name));
                return match self.loaded_meanwhile(key).await? {
                    Some(value) => {
                        right.give_back().await;
                        Ok(value)
                    }
                    None => self.load_and_fill(right, load).await,
                };
            }
            // Another process loads. Its write of the key is pushed to us, because we know the key
            // as absent; so the look-ups until then cost no network.
            sleep(GLANCE).await;
            if Instant::now() > given_up {
                drop(flight); // Nobody waits for a value that is not written.
                return load.await.map_err(LoadError::Loader);
            }
        }
    }

    /// Returns the value that another process has loaded between our look-up and our getting the
    /// right. If so, its push came before the reply that gave us the right: the L1 knows it.
    async fn loaded_meanwhile(&self, key: &str) -> Result<Option<V>, Error> {
        match self.local(key) {
            Local::Absent => Ok(None),
            Local::Present(_) | Local::Unknown => self.get(key).await,
        }
    }

    async fn load_and_fill<E>(
        &self,
        right: Right<V>,
        load: impl Future<Output = Result<V, E>>,
    ) -> Result<V, LoadError<E>> {
        let loaded = load.await.map_err(LoadError::Loader).and_then(|value| {
            let bytes = self.codec.encode(&value).map_err(Error::Codec)?;
            Ok((value, bytes))
        });
        match loaded {
            Ok((value, bytes)) => {
                right.fill(bytes).await;
                Ok(value)
            }
            Err(error) => {
                right.give_back().await;
                Err(error)
            }
        }
    }

    /// Sends a command, if there is a connection. Returns whether it was done. No caller need know:
    /// the value is the caller's, whether the server took it or not, and a right that is not given
    /// back ends.
    async fn try_to_tell(&self, key: &str, command: redis::Cmd) -> bool {
        let is_up = self.route_now(self.slot(&self.server_key(key))).link.is_up();
        is_up && self.tell(key, command).await.is_ok()
    }
}

/// The right to load a key, from before it is asked for until it is given back, which is done
/// whatever becomes of the caller.
struct Right<V: Clone + Send + Sync + 'static> {
    core: Arc<Core<V>>,
    key: String,
    token: String,
    /// The server may have this token.
    may_be_held: bool,
}

impl<V: Clone + Send + Sync + 'static> Right<V> {
    /// Takes the right, for a limited time, unless somebody else has it.
    async fn take(core: &Arc<Core<V>>, key: &str) -> Result<Option<Self>, Error> {
        let token = format!("{:x}", std::hash::RandomState::new().build_hasher().finish());
        let core = Arc::clone(core);
        let mut right = Self { core, key: key.to_owned(), token, may_be_held: true };
        let mut command = redis::cmd("SET");
        command.arg(right.name()).arg(&right.token).arg("NX");
        command.arg("PX").arg(milliseconds(right.core.settings.load));
        right.may_be_held = right.core.tell(key, command).await? != Value::Nil;
        Ok(right.may_be_held.then_some(right))
    }

    fn name(&self) -> String {
        self.core.right_of(&self.key)
    }

    /// Writes what was loaded, if the right is still held, and gives it back.
    async fn fill(mut self, bytes: Vec<u8>) {
        let core = &*self.core;
        let mut fill = redis::cmd("EVAL");
        fill.arg(FILL).arg(2).arg(core.server_key(&self.key)).arg(self.name());
        fill.arg(&self.token).arg(bytes).arg(core.settings.keep_loaded.map_or(0, milliseconds));
        let write = OwnWrite::begin(core, vec![self.key.clone()]);
        let is_done = core.try_to_tell(&self.key, fill).await;
        drop(write);
        self.may_be_held = !is_done;
    }

    async fn give_back(mut self) {
        self.send_back().await;
        self.may_be_held = false;
    }

    async fn send_back(&self) {
        let mut give_back = redis::cmd("EVAL");
        give_back.arg(GIVE_BACK).arg(1).arg(self.name()).arg(&self.token);
        self.core.try_to_tell(&self.key, give_back).await;
    }
}

impl<V: Clone + Send + Sync + 'static> Drop for Right<V> {
    /// The caller has given up, or its loader has panicked, or it got no answer. If the runtime in
    /// which the cache connected is gone, the right stays until its time is over.
    fn drop(&mut self) {
        if !mem::take(&mut self.may_be_held) {
            return;
        }
        let (core, runtime) = (Arc::clone(&self.core), self.core.runtime.clone());
        let (key, token) = (mem::take(&mut self.key), mem::take(&mut self.token));
        let right = Self { core, key, token, may_be_held: false };
        runtime.spawn(async move { right.send_back().await });
    }
}
