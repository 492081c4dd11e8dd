//! Why a key holds what it holds: what people call, and the text.

use super::cache::Cache;
use super::key::ToKey;
use super::view::View;
use crate::engine::{ExplainedInput, ExplainedRelated, Explanation, Standing};
use crate::reclaim::Reclaim;
use equivalent::Equivalent;
use std::fmt;
use std::hash::{BuildHasher, Hash};

/// # Explanations
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Explains what `key` holds now: whether it is present and why not, the commit that wrote it,
    /// its times, weight and tags, what it was derived from through all levels, and whether the
    /// entries that belong to it are as new as it is. All of it is as of one instant. The result
    /// has all that as data, and prints as text.
    ///
    /// For people who ask why a value is stale or missing, not for programs that read. The call
    /// counts neither as a use nor in the statistics. It runs the
    /// [relations](crate::Builder::related), whose panics reach the caller. O(inputs + related
    /// entries + events of the [flight recorder](Self::timeline)); lock-free, except for the
    /// relations.
    ///
    /// ```
    /// use coeval::{Cache, Standing};
    ///
    /// let cache = Cache::new();
    /// cache.insert("price", 100);
    /// cache.insert("rate", 2);
    /// cache.derive("total", |scope| scope.get(&"price").unwrap() * scope.get(&"rate").unwrap());
    /// assert!(cache.explain(&"total").is_present());
    ///
    /// let version = cache.insert("rate", 3);
    /// let explained = cache.explain(&"total");
    /// assert_eq!(explained.standing, Standing::EndedByInput);
    /// let changed: Vec<_> = explained.inputs.iter().filter(|input| !input.holds()).collect();
    /// assert_eq!((changed.len(), changed[0].key, changed[0].now), (1, "rate", Some(version)));
    /// println!("{explained}");
    /// ```
    #[must_use]
    pub fn explain<Q>(&self, key: &Q) -> Explanation<K>
    where
        Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
    {
        self.view().explain(key)
    }
}

impl<K, V, S, R> View<K, V, S, R>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Explains what `key` holds in this view; see [`Cache::explain`]. Relations are those that are
    /// declared now.
    #[must_use]
    pub fn explain<Q>(&self, key: &Q) -> Explanation<K>
    where
        Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
    {
        let (engine, snapshot) = self.parts();
        engine.explain(snapshot, key, key.to_key())
    }
}

impl<K> Explanation<K> {
    /// Returns the same explanation, in which `show` has replaced each key.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// cache.insert(7, 700);
    /// let explained = cache.explain(&7).map_keys(|key| format!("user {key}"));
    /// assert_eq!(explained.key, "user 7");
    /// ```
    #[must_use]
    pub fn map_keys<T>(self, show: impl Fn(&K) -> T) -> Explanation<T> {
        let input = |ExplainedInput { ref key, level, used, now }| {
            let key = show(key);
            ExplainedInput { key, level, used, now }
        };
        let related = |ExplainedRelated { ref key, version, is_older }| {
            let key = show(key);
            ExplainedRelated { key, version, is_older }
        };
        Explanation {
            key: show(&self.key),
            key_hash: self.key_hash,
            as_of: self.as_of,
            standing: self.standing,
            written: self.written,
            time_left: self.time_left,
            refresh_in: self.refresh_in,
            weight: self.weight,
            tags: self.tags,
            inputs: self.inputs.into_iter().map(input).collect(),
            related: self.related.into_iter().map(related).collect(),
            events: self.events,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => f.write_str("present"),
            Self::Unknown => f.write_str("absent: the cache knows nothing of it"),
            Self::Removed { by, cause: None } => write!(f, "absent: removed by {by}"),
            Self::Removed { by, cause: Some(cause) } => {
                write!(f, "absent: removed by {by}, cause: {cause}")
            }
            Self::Cleared { by } => write!(f, "absent: {by} cleared everything"),
            Self::Expired { since } => write!(f, "absent: expired {since:.1?} ago"),
            Self::EndedByTag { tag, by } => write!(f, "absent: {by} invalidated its tag {tag}"),
            Self::EndedByInput => f.write_str("absent: what it was derived from has changed"),
        }
    }
}

/// Several lines, without a line end after the last one.
impl<K: fmt::Debug> fmt::Display for Explanation<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, hash, as_of) = (&self.key, self.key_hash, self.as_of);
        write!(f, "key       {key:?}, hash {hash:08x}, as of {as_of}")?;
        write!(f, "\nvalue     {}", self.standing)?;
        if let Some(written) = self.written {
            let ago = as_of.get().saturating_sub(written.get());
            write!(f, "\nwritten   by {written}, {ago} versions before; weight {}", self.weight)?;
        }
        if let Some(left) = self.time_left.filter(|_| self.is_present()) {
            write!(f, "\nkept      for {left:.1?} if it is not used")?;
        }
        if let Some(left) = self.refresh_in.filter(|_| self.is_present()) {
            write!(f, "\nreload    due in {left:.1?}")?;
        }
        for tag in &self.tags {
            write!(f, "\ntag       {} since {}", tag.tag, tag.since)?;
            if let Some(by) = tag.ended_by {
                write!(f, ", invalidated by {by}")?;
            }
        }
        let or_absent = |version: Option<_>| {
            version.map_or_else(|| "absent".to_owned(), |version| format!("{version}"))
        };
        for input in &self.inputs {
            let (key, used, now) = (&input.key, or_absent(input.used), or_absent(input.now));
            write!(f, "\ninput     level {}: {key:?} used as {used}", input.level)?;
            if !input.holds() {
                write!(f, ", CHANGED: now {now}")?;
            }
        }
        for related in &self.related {
            let (key, version) = (&related.key, or_absent(related.version));
            let belongs = if related.is_older { ", OLDER than the key" } else { "" };
            write!(f, "\nrelated   {key:?}: {version}{belongs}")?;
        }
        self.events.iter().try_for_each(|event| write!(f, "\nevent     {event}"))
    }
}
