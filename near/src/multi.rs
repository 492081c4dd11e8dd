//! Writes.

use crate::core::Core;
use crate::error::{CodecError, Error};
use crate::planted::Defect;
use std::fmt;
use std::time::Duration;

/// The write of some keys by this process, from before it is sent until its outcome is known, or
/// its caller gave up. Entries of the keys are dropped at the beginning, so that a write whose
/// outcome stays unknown leaves none, and once more at the end: meanwhile a read may have installed
/// what the write then replaced, and the push for that comes only after the reply to the write.
pub(crate) struct OwnWrite<'c, V: Clone + Send + Sync + 'static> {
    core: &'c Core<V>,
    keys: Vec<String>,
}

impl<'c, V: Clone + Send + Sync + 'static> OwnWrite<'c, V> {
    pub fn begin(core: &'c Core<V>, keys: Vec<String>) -> Self {
        core.drop_keys(&keys);
        Self { core, keys }
    }
}

impl<V: Clone + Send + Sync + 'static> Drop for OwnWrite<'_, V> {
    fn drop(&mut self) {
        if !self.core.planted.has(Defect::NoSecondDrop) {
            self.core.drop_keys(&self.keys);
        }
    }
}

/// Several writes that the server does as one transaction; made by
/// [`NearCache::multi`](crate::NearCache::multi). Without [`exec`](Self::exec) it does nothing.
#[must_use = "a transaction does nothing until `exec` is called and awaited"]
pub struct Multi<'c, V: Clone + Send + Sync + 'static> {
    core: &'c Core<V>,
    keys: Vec<String>,
    commands: redis::Pipeline,
    failed: Option<CodecError>,
}

impl<'c, V: Clone + Send + Sync + 'static> Multi<'c, V> {
    pub(crate) fn new(core: &'c Core<V>) -> Self {
        let mut commands = redis::pipe();
        commands.atomic();
        Self { core, keys: Vec::new(), commands, failed: None }
    }

    /// Sets `key`.
    pub fn set(self, key: &str, value: &V) -> Self {
        self.add_set(key, value, None)
    }

    /// Sets `key`, which the server removes after this time: a whole number of milliseconds, at
    /// least one.
    pub fn set_with_ttl(self, key: &str, value: &V, time_to_live: Duration) -> Self {
        self.add_set(key, value, Some(time_to_live))
    }

    /// Removes `key`.
    pub fn del(mut self, key: &str) -> Self {
        self.commands.cmd("DEL").arg(self.core.server_key(key)).ignore();
        self.keys.push(key.to_owned());
        self
    }

    fn add_set(mut self, key: &str, value: &V, time: Option<Duration>) -> Self {
        match self.core.codec.encode(value) {
            Ok(bytes) => {
                self.commands.cmd("SET").arg(self.core.server_key(key)).arg(bytes);
                if let Some(time) = time {
                    self.commands.arg("PX").arg(milliseconds(time));
                }
                self.commands.ignore();
                self.keys.push(key.to_owned());
            }
            Err(error) => {
                self.failed.get_or_insert(error);
            }
        }
        self
    }

    /// Sends the transaction, and waits for its outcome. All of it is done, or nothing. When this
    /// returns, no read of this cache, by any of its handles, shows what it replaced. No reader of
    /// this cache or of another one ever sees half of it.
    ///
    /// If the future is dropped, the transaction may still be done. The local entries of its keys
    /// are gone all the same.
    ///
    /// # Errors
    /// [`Error::Codec`] if a value could not be encoded, [`Error::Down`] if there is no connection:
    /// then nothing was sent. [`Error::Server`] if the server refused: then nothing was done.
    /// [`Error::Unknown`] if there was no answer.
    pub async fn exec(mut self) -> Result<(), Error> {
        if let Some(error) = self.failed {
            return Err(Error::Codec(error));
        }
        if self.keys.is_empty() {
            return Ok(());
        }
        let link = self.core.link().await?;
        let Some(mut connection) = link.connection() else { unreachable!("the link was up") };
        // A write takes away the right of those who are loading its keys.
        let rights: Vec<_> = self.keys.iter().map(|key| self.core.right_of(key)).collect();
        self.commands.cmd("DEL").arg(rights).ignore();
        let write = OwnWrite::begin(self.core, self.keys);
        let done = self.core.in_time(self.commands.exec_async(&mut connection)).await;
        drop(write);
        done.map_err(Error::of_write)
    }
}

/// For PX: at least one, because the server refuses zero.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX as u64 / 2)
}

impl<V: Clone + Send + Sync + 'static> fmt::Debug for Multi<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multi").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// Sets a key if it has the bytes that are expected, or is absent as expected. ARGV: the expected
/// bytes, if any are, after whether any are; the new bytes. Returns whether it was set.
const COMPARE_AND_SET: &str = "
local found = redis.call('GET', KEYS[1])
if ARGV[1] == '1' then
  if found ~= ARGV[2] then return 0 end
elseif found then return 0 end
redis.call('SET', KEYS[1], ARGV[3])
redis.call('DEL', KEYS[2])
return 1";

impl<V: Clone + Send + Sync + 'static> Core<V> {
    /// See `NearCache::compare_and_set`.
    pub async fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&V>,
        value: &V,
    ) -> Result<bool, Error> {
        let bytes = self.codec.encode(value).map_err(Error::Codec)?;
        let expected =
            expected.map(|it| self.codec.encode(it)).transpose().map_err(Error::Codec)?;
        let link = self.link().await?;
        let Some(mut connection) = link.connection() else { unreachable!("the link was up") };
        let mut command = redis::cmd("EVAL");
        command.arg(COMPARE_AND_SET).arg(2).arg(self.server_key(key)).arg(self.right_of(key));
        command.arg(u8::from(expected.is_some())).arg(expected.unwrap_or_default()).arg(bytes);
        let write = OwnWrite::begin(self, vec![key.to_owned()]);
        let done = self.in_time(command.query_async::<bool>(&mut connection)).await;
        drop(write);
        done.map_err(Error::of_write)
    }
}
