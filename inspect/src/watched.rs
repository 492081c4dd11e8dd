//! A cache of any type, as the page sees it.

use coeval::reclaim::Reclaim;
use coeval::{Cache, Event, LoadDurations, LoadInfo, Repair, ViewInfo, WeakCache};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, mpsc};

/// The most findings, and the most steps of a monitor, of one check.
const MOST_FINDINGS: usize = 100;
const CHECKED: usize = 100_000;
/// The most events that are sent at a time.
const MOST_EVENTS: usize = 400;
/// Up to so many entries, the hottest are shown without being asked for: that visits all entries.
const FEW_ENTRIES: u64 = 200_000;

/// The most views, and the most loads, that are listed.
const MOST_LISTED: usize = 50;

/// What the page asks of a cache. `None`: the cache is gone.
pub trait Watched: Send + Sync {
    fn name(&self) -> &str;
    /// The figures of the present moment.
    fn figures(&self) -> Option<Value>;
    /// The open views, the loads under way, and how long loads took.
    fn under_way(&self) -> Option<Value>;
    /// The events after this time and sequence of each thread, and where the last of them stand.
    fn events(&self, since: &mut Since) -> Option<Value>;
    /// The hottest keys.
    fn hottest(&self, most: usize) -> Option<Value>;
    /// Why a key holds what it holds; null if the text is no key.
    fn explain(&self, key: &str) -> Option<Value>;
    /// What a monitor finds.
    fn check(&self) -> Option<Value>;
    /// Switches the flight recorder.
    fn record(&self, on: bool) -> Option<Value>;
    /// Invalidates a key; null if the text is no key.
    fn invalidate(&self, key: &str) -> Option<Value>;
}

/// The number of the next event of each thread.
pub type Since = BTreeMap<usize, u64>;

type Show<K> = dyn Fn(&K) -> String + Send + Sync;
type Read<K> = dyn Fn(&str) -> Option<K> + Send + Sync;

/// How keys are shown and read.
pub struct Keys<K> {
    pub show: Box<Show<K>>,
    pub read: Box<Read<K>>,
}

/// One cache.
pub struct Watching<K, V, S, R: Reclaim> {
    cache: WeakCache<K, V, S, R>,
    name: String,
    keys: Arc<Keys<K>>,
}

impl<K, V, S, R> Watching<K, V, S, R>
where
    K: Clone + Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Reclaim,
{
    pub fn new(cache: &Cache<K, V, S, R>, name: String, keys: Keys<K>) -> Self {
        Self { cache: cache.downgrade(), name, keys: Arc::new(keys) }
    }

    /// Returns the key with this hash as it is shown, or the hash if the cache no longer knows it.
    fn key_of(&self, cache: &Cache<K, V, S, R>, hash: u32) -> String {
        match cache.key_with_hash(hash) {
            Some(key) => (self.keys.show)(&key),
            None => format!("hash {hash:08x}"),
        }
    }
}

impl<K, V, S, R> Watched for Watching<K, V, S, R>
where
    K: Clone + Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Reclaim,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn figures(&self) -> Option<Value> {
        let cache = self.cache.upgrade()?;
        let (stats, policy) = (cache.stats(), cache.policy());
        let seconds = |time: Option<std::time::Duration>| time.map(|time| time.as_secs_f64());
        Some(json!({
            "hits": stats.hits,
            "misses": stats.misses,
            "loads": stats.loads,
            "loads_failed": stats.loads_failed,
            "loads_refused": stats.loads_refused,
            "commits": stats.commits,
            "conflicts": stats.conflicts,
            "recomputed": stats.recomputed,
            "repaired": stats.repaired,
            "listener_panics": stats.listener_panics,
            "removals": {
                "size": stats.removals.size,
                "expired": stats.removals.expired,
                "explicit": stats.removals.explicit,
                "replaced": stats.removals.replaced,
                "related": stats.removals.related,
            },
            "entries": stats.entries,
            "weight": stats.weight,
            "max_weight": policy.max_capacity(),
            "memory": stats.memory,
            "index_memory": stats.index_memory,
            "versions": stats.versions,
            "retired": stats.retired,
            "views": stats.views,
            "oldest_view": stats.oldest_view.map(|version| version.get()),
            "oldest_view_lag": stats.oldest_view_lag,
            "oldest_view_age": stats.oldest_view_age.as_secs_f64(),
            "version": cache.version().get(),
            "time_to_live": seconds(policy.time_to_live()),
            "time_to_idle": seconds(policy.time_to_idle()),
            "refresh_after": seconds(policy.refresh_after()),
            "is_recording": cache.timeline().is_recording(),
            "few_entries": stats.entries <= FEW_ENTRIES,
        }))
    }

    fn under_way(&self) -> Option<Value> {
        let cache = self.cache.upgrade()?;
        let (views, mut loads) = (cache.open_views(), cache.loads_under_way());
        loads.sort_by_key(|load| std::cmp::Reverse(load.age));
        let view = |view: &ViewInfo| {
            json!({
                "version": view.version.get(),
                "age": view.age.as_secs_f64(),
                "opened_at": view.opened_at.map(|at| format!("{}:{}", at.file(), at.line())),
            })
        };
        let load = |load: &LoadInfo| {
            json!({
                "key": self.key_of(&cache, load.key_hash),
                "age": load.age.map(|age| age.as_secs_f64()),
                "waiters": load.waiters,
            })
        };
        let buckets = |loads: &LoadDurations| -> Value {
            loads.buckets().map(|(end, count)| json!([end.as_secs_f64(), count])).collect()
        };
        let [succeeded, failed] = cache.load_durations();
        Some(json!({
            "views": views.iter().take(MOST_LISTED).map(view).collect::<Value>(),
            "loads": loads.iter().take(MOST_LISTED).map(load).collect::<Value>(),
            "loads_left_out": loads.len().saturating_sub(MOST_LISTED),
            "load_times": { "success": buckets(&succeeded), "failure": buckets(&failed) },
        }))
    }

    fn events(&self, since: &mut Since) -> Option<Value> {
        let cache = self.cache.upgrade()?;
        let (timeline, mut new) = (cache.timeline(), Vec::new());
        if timeline.is_recording() {
            new = timeline.events();
            new.retain(|event| event.sequence >= since.get(&event.thread).copied().unwrap_or(0));
        }
        for event in &new {
            since.insert(event.thread, event.sequence + 1);
        }
        let left_out = new.len().saturating_sub(MOST_EVENTS);
        let shown = |event| shown_event(event, |hash| self.key_of(&cache, hash));
        let shown: Vec<Value> = new[left_out..].iter().map(shown).collect();
        Some(json!({ "events": shown, "left_out": left_out }))
    }

    fn hottest(&self, most: usize) -> Option<Value> {
        let keys = self.cache.upgrade()?.hottest(most);
        Some(keys.iter().map(|key| (self.keys.show)(key)).collect())
    }

    fn explain(&self, key: &str) -> Option<Value> {
        let cache = self.cache.upgrade()?;
        let Some(key) = (self.keys.read)(key) else { return Some(Value::Null) };
        let explained = cache.explain(&key).map_keys(&*self.keys.show);
        Some(json!({
            "key": explained.key,
            "is_present": explained.is_present(),
            "version": explained.written.map(|version| version.get()),
            "text": explained.to_string(),
        }))
    }

    fn check(&self) -> Option<Value> {
        let cache = self.cache.upgrade()?;
        let (found, findings) = mpsc::sync_channel(MOST_FINDINGS);
        let keys = Arc::clone(&self.keys);
        let mut monitor = cache.monitor().on_mismatch(move |finding| {
            // Findings above the limit are counted, not shown.
            let _ = found.try_send(json!({
                "key": (keys.show)(finding.key()),
                "version": finding.version().get(),
                "related": (keys.show)(finding.related()),
                "related_version": finding.related_version().get(),
            }));
            Repair::Leave
        });
        let report = monitor.step(CHECKED);
        let findings: Vec<Value> = findings.try_iter().collect();
        Some(json!({
            "keys": report.keys,
            "related": report.related,
            "mismatches": report.mismatches,
            "is_whole": report.rounds > 0,
            "findings": findings,
        }))
    }

    fn record(&self, on: bool) -> Option<Value> {
        let timeline = self.cache.upgrade()?.timeline();
        if on {
            timeline.start()
        } else {
            timeline.stop()
        }
        Some(json!({ "is_recording": timeline.is_recording() }))
    }

    fn invalidate(&self, key: &str) -> Option<Value> {
        let cache = self.cache.upgrade()?;
        let Some(key) = (self.keys.read)(key) else { return Some(Value::Null) };
        Some(json!({ "version": cache.batch().invalidate(key).commit().get() }))
    }
}

fn shown_event(event: &Event, key_of: impl FnOnce(u32) -> String) -> Value {
    json!({
        "time": event.time.as_secs_f64(),
        "thread": event.thread,
        "kind": event.kind.to_string(),
        "key": event.key.map(key_of),
        "version": event.version.map(|version| version.get()),
    })
}
