//! Writes.

use crate::core::Core;
use crate::error::{CodecError, Error};
use crate::planted::Defect;
use crate::send::NoAnswer;
use crate::tags::{INVALIDATE_TAG, TAG};
use redis::{FromRedisValue, RedisError, Value};
use std::time::Duration;
use std::{fmt, mem};

/// The write of some keys by this process, from before it is sent until its outcome is known, or
/// its caller gave up. Entries of the keys are dropped at the beginning, so that a write whose
/// outcome stays unknown leaves none, and once more at the end: meanwhile a read may have installed
/// what the write then replaced, and the push for that comes only after the reply to the write.
pub(crate) struct OwnWrite<'c, V: Clone + Send + Sync + 'static> {
    core: &'c Core<V>,
    keys: Vec<String>,
    /// The server decides which further keys it removes, and has not told yet.
    removes_unknown_keys: bool,
}

impl<'c, V: Clone + Send + Sync + 'static> OwnWrite<'c, V> {
    pub fn begin(core: &'c Core<V>, keys: Vec<String>) -> Self {
        core.drop_keys(&keys);
        Self { core, keys, removes_unknown_keys: false }
    }

    /// Takes what the server has told: the further keys that it removed.
    fn also_removed<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]>) {
        let keys = keys.filter_map(|key| self.core.own_key(key));
        self.keys.extend(keys.map(ToOwned::to_owned));
        self.removes_unknown_keys = false;
    }
}

impl<V: Clone + Send + Sync + 'static> Drop for OwnWrite<'_, V> {
    fn drop(&mut self) {
        if self.core.planted.has(Defect::NoSecondDrop) {
            return;
        }
        if self.removes_unknown_keys {
            self.core.l1.invalidate_all();
        } else {
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
    /// The keys of tags, as the server knows them.
    tags: Vec<String>,
    commands: redis::Pipeline,
    /// Where the invalidations of tags stand among the commands.
    invalidations: Vec<usize>,
    failed: Option<CodecError>,
}

impl<'c, V: Clone + Send + Sync + 'static> Multi<'c, V> {
    pub(crate) fn new(core: &'c Core<V>) -> Self {
        Self {
            core,
            keys: Vec::new(),
            tags: Vec::new(),
            commands: redis::pipe().atomic().clone(),
            invalidations: Vec::new(),
            failed: None,
        }
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

    /// Sets `key`, and notes on the server that it has these tags: the
    /// [invalidation](Self::invalidate_tag) of one of them, by any process, removes it.
    ///
    /// A key keeps its tags as long as it lives, also if it is set without them, until one of them
    /// is invalidated. A key that was removed, or whose time is over, may lose them.
    ///
    /// O(log n) on the server for each tag of n keys.
    pub fn set_tagged(self, key: &str, value: &V, tags: &[&str]) -> Self {
        self.add_set(key, value, None).add_tags(key, tags, None)
    }

    /// Sets `key` as [`set_tagged`](Self::set_tagged) and [`set_with_ttl`](Self::set_with_ttl) do.
    /// When its time is over, each of the tags forgets it once it is given to further keys.
    pub fn set_tagged_with_ttl(
        self,
        key: &str,
        value: &V,
        tags: &[&str],
        time_to_live: Duration,
    ) -> Self {
        self.add_set(key, value, Some(time_to_live)).add_tags(key, tags, Some(time_to_live))
    }

    /// Removes all keys that any process has set with this tag, in the order of the calls: what
    /// this transaction has set with the tag before goes, and what it sets afterwards stays. It
    /// also removes the rights of those who are loading such keys.
    ///
    /// O(n) on the server for n keys, during which the server does nothing else. Keys have the
    /// same tag if they were set with the same [`key_prefix`](crate::Builder::key_prefix).
    pub fn invalidate_tag(mut self, tag: &str) -> Self {
        let tag = self.core.tag_key(tag);
        let rights = self.core.rights_in(self.core.slot(&tag));
        self.invalidations.push(self.commands.len());
        self.commands.cmd("EVAL").arg(INVALIDATE_TAG).arg(1).arg(&tag).arg(&*rights);
        self.tags.push(tag);
        self
    }

    fn add_tags(mut self, key: &str, tags: &[&str], time: Option<Duration>) -> Self {
        for tag in tags {
            let tag = self.core.tag_key(tag);
            self.commands.cmd("EVAL").arg(TAG).arg(1).arg(&tag);
            self.commands.arg(self.core.server_key(key)).arg(time.map_or(0, milliseconds));
            self.tags.push(tag);
        }
        self
    }

    /// Removes `key`.
    pub fn del(mut self, key: &str) -> Self {
        self.commands.cmd("DEL").arg(self.core.server_key(key));
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
    /// are gone all the same; if it invalidates tags, all local entries.
    ///
    /// # Errors
    /// [`Error::Codec`] if a value could not be encoded, [`Error::Down`] if there is no connection,
    /// and [`Error::CrossSlot`] if keys or tags lie in different slots of a cluster: then nothing
    /// was sent. [`Error::Unsettled`] if no node answers for the slot, as while it moves: then
    /// nothing was done. [`Error::Server`] if the server refused: then nothing was done, or
    /// the script of a tag has failed, because the server is out of memory or the tag's key has
    /// another type, and all the rest was done: set the keys again, or remove them.
    /// [`Error::Unknown`] if there was no answer.
    pub async fn exec(mut self) -> Result<(), Error> {
        if let Some(error) = self.failed {
            return Err(Error::Codec(error));
        }
        if self.keys.is_empty() && self.invalidations.is_empty() {
            return Ok(());
        }
        let keys = self.keys.iter().map(|key| self.core.server_key(key));
        let slot = self.core.common_slot(keys.chain(self.tags.iter().cloned()))?;
        let route = self.core.route(slot).await?;
        // A write takes away the right of those who are loading its keys.
        let mut rights: Vec<_> = self.keys.iter().map(|key| self.core.right_of(key)).collect();
        if !self.invalidations.is_empty() && self.core.is_cluster() {
            // The script names the tag alone. While the slot moves, it would fail half-way at a
            // node that has the tag and not all of its keys. Because this key never exists, no node
            // takes the transaction then.
            rights.push([&*self.core.rights_in(slot), &self.tags[0]].concat());
        }
        if !rights.is_empty() {
            self.commands.cmd("DEL").arg(rights);
        }
        let mut write = OwnWrite::begin(self.core, self.keys);
        write.removes_unknown_keys = !self.invalidations.is_empty();
        let done = match self.core.send(&route, &self.commands).await {
            Ok(answer) => removed(answer.values, &self.invalidations).map_err(Error::of_write),
            Err(none) => Err(none.of_write()),
        };
        if let Ok(removed) = &done {
            write.also_removed(removed.iter().map(Vec::as_slice));
        }
        drop(write);
        done.map(drop)
    }
}

/// The keys that the invalidations of tags have removed, of the answers to all commands.
fn removed(mut values: Vec<Value>, invalidations: &[usize]) -> Result<Vec<Vec<u8>>, RedisError> {
    let mut keys = Vec::new();
    for at in invalidations {
        let value = values.get_mut(*at).map_or(Value::Nil, |value| mem::replace(value, Value::Nil));
        keys.extend(Vec::<Vec<u8>>::from_redis_value(value)?);
    }
    Ok(keys)
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
/// bytes, if any are, after whether any are; the new bytes; the time to live or 0. Returns whether
/// it was set.
const COMPARE_AND_SET: &str = "
local found = redis.call('GET', KEYS[1])
if ARGV[1] == '1' then
  if found ~= ARGV[2] then return 0 end
elseif found then return 0 end
if ARGV[4] == '0' then redis.call('SET', KEYS[1], ARGV[3])
else redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4]) end
redis.call('DEL', KEYS[2])
return 1";

impl<V: Clone + Send + Sync + 'static> Core<V> {
    /// See `NearCache::compare_and_set`.
    pub async fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&V>,
        value: &V,
        time_to_live: Option<Duration>,
    ) -> Result<bool, Error> {
        let bytes = self.codec.encode(value).map_err(Error::Codec)?;
        let expected =
            expected.map(|it| self.codec.encode(it)).transpose().map_err(Error::Codec)?;
        let mut command = redis::cmd("EVAL");
        command.arg(COMPARE_AND_SET).arg(2).arg(self.server_key(key)).arg(self.right_of(key));
        command.arg(u8::from(expected.is_some())).arg(expected.unwrap_or_default()).arg(bytes);
        command.arg(time_to_live.map_or(0, milliseconds));
        let write = OwnWrite::begin(self, vec![key.to_owned()]);
        let done = self.tell(key, command).await;
        drop(write);
        bool::from_redis_value(done?).map_err(|error| Error::of_write(error.into()))
    }

    /// Sends one command for one key that writes.
    pub async fn tell(&self, key: &str, command: redis::Cmd) -> Result<Value, Error> {
        let route = self.route(self.slot(&self.server_key(key))).await?;
        let mut pipe = redis::pipe();
        pipe.add_command(command);
        let mut answer = self.send(&route, &pipe).await.map_err(NoAnswer::of_write)?;
        Ok(answer.values.pop().unwrap_or(Value::Nil))
    }
}
