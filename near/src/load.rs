//! Reads that load what the server does not have: once among all processes.

use crate::core::Core;
use crate::error::Error;
use crate::held::Local;
use crate::multi::{OwnWrite, milliseconds};
use redis::Value;
use std::borrow::Cow;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

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

/// How often a process that waits for another one's load looks whether it is over.
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
        &self,
        key: &str,
        load: impl Future<Output = Result<V, E>>,
    ) -> Result<V, LoadError<E>> {
        let given_up = self.clock.now() + u64::try_from(self.settings.load.as_nanos()).unwrap_or(0);
        let right = self.right_of(key);
        loop {
            if let Some(value) = self.get(key).await? {
                return Ok(value);
            }
            let _flight = match self.flights.begin(&right).await {
                Some(flight) => flight,
                // Another task has loaded, or has failed to: look again.
                None => continue,
            };
            if let Some(token) = self.take_right(key).await? {
                return match self.loaded_meanwhile(key).await? {
                    Some(value) => {
                        self.give_back(key, token).await;
                        Ok(value)
                    }
                    None => self.load_and_fill(key, token, load).await,
                };
            }
            // Another process loads. Its write of the key is pushed to us, because we know the key
            // as absent; so the look-ups until then cost no network.
            tokio::time::sleep(GLANCE).await;
            if self.clock.now() > given_up {
                return load.await.map_err(LoadError::Loader);
            }
        }
    }

    /// Takes the right to load a key, for a limited time, unless another process has it.
    async fn take_right(&self, key: &str) -> Result<Option<String>, Error> {
        let token = format!("{:x}", std::hash::RandomState::new().build_hasher().finish());
        let mut command = redis::cmd("SET");
        command.arg(self.right_of(key)).arg(&token).arg("NX");
        command.arg("PX").arg(milliseconds(self.settings.load));
        let taken = self.tell(key, command).await?;
        Ok((taken != Value::Nil).then_some(token))
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
        key: &str,
        token: String,
        load: impl Future<Output = Result<V, E>>,
    ) -> Result<V, LoadError<E>> {
        let value = match load.await {
            Ok(value) => value,
            Err(error) => {
                self.give_back(key, token).await;
                return Err(LoadError::Loader(error));
            }
        };
        let bytes = self.codec.encode(&value).map_err(Error::Codec)?;
        let mut fill = redis::cmd("EVAL");
        fill.arg(FILL).arg(2).arg(self.server_key(key)).arg(self.right_of(key));
        fill.arg(token).arg(bytes).arg(self.settings.keep_loaded.map_or(0, milliseconds));
        let write = OwnWrite::begin(self, vec![key.to_owned()]);
        self.try_to_tell(key, fill).await;
        drop(write);
        Ok(value)
    }

    async fn give_back(&self, key: &str, token: String) {
        let mut give_back = redis::cmd("EVAL");
        give_back.arg(GIVE_BACK).arg(1).arg(self.right_of(key)).arg(token);
        self.try_to_tell(key, give_back).await;
    }

    /// Sends a command, if there is a connection. Its outcome matters to nobody: the value is the
    /// caller's, whether the server took it or not, and a right that is not given back ends.
    async fn try_to_tell(&self, key: &str, command: redis::Cmd) {
        if self.route_now(self.slot(&self.server_key(key))).link.is_up() {
            let _ = self.tell(key, command).await;
        }
    }
}
