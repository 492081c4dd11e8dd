//! Loads by futures that serve an old value if the source fails or is slow, and say so.

use super::give::LoadRefusal;
use super::load_future::{Loading, Refreshing, poll_and_read};
use super::refresh::Task;
use super::served::Served;
use super::serving::{ServedGroup, Serving, Start, give};
use crate::engine::{LoadDecision, Moving, RunningLoad, array, one, single};
use crate::error::LoadError;
use crate::loading::Joined;
use crate::reclaim::Reclaim;
use std::hash::{BuildHasher, Hash};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

/// # For futures
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
impl<'c, K, V, S, R> Serving<'c, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Reclaim,
{
    /// Returns a future that does what [`load`](Self::load) does, with a future as the loader. If
    /// `soft_timeout` is ready before a newer value was loaded, the caller gets the old one, and
    /// the executor goes on with the load. So that is the soft time-out, by the clock of the
    /// caller's runtime; a future that is never ready sets none. The loader is kept on the heap.
    ///
    /// If the returned future is dropped before that, the load ends.
    ///
    /// ```
    /// # fn finish<T>(future: impl Future<Output = T>) -> T {
    /// #     let mut future = std::pin::pin!(future);
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     let poll = future.as_mut().poll(&mut context);
    /// #     let std::task::Poll::Ready(value) = poll else { panic!() };
    /// #     value
    /// # }
    /// use coeval::{Cache, ManualClock, Served};
    /// use std::future::{pending, ready};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let builder = Cache::builder().refresh_after(Duration::from_secs(60));
    /// let cache = builder.manual_clock(&clock).build();
    /// cache.insert("rate", 1);
    /// clock.advance(Duration::from_secs(60));
    /// // With tokio: `tokio::spawn`, and `tokio::time::sleep(time)` for the soft time-out.
    /// let (spawn, time_is_up, slow) = (drop, ready(()), pending::<Result<i32, ()>>());
    /// let served = cache.serving().load_async_on("rate", spawn, time_is_up, slow);
    /// assert!(matches!(finish(served), Ok(Served::Stale { value: 1, .. })));
    /// ```
    ///
    /// # Errors
    /// As [`load`](Self::load).
    ///
    /// # Panics
    /// Panics if the loader does, as long as the caller polls it.
    pub fn load_async_on<E: Send + 'static, X>(
        self,
        key: K,
        execute: impl FnOnce(Task) -> X,
        soft_timeout: impl Future<Output = ()>,
        load: impl Future<Output = Result<V, E>> + Send + 'static,
    ) -> impl Future<Output = Result<Served<V, E>, LoadError<E>>>
    where
        V: 'c,
    {
        let read = |loaded: Moving<'_, Result<V, E>>| loaded.try_into_heap().map(single);
        let served = self.serve_async_on([key], execute, soft_timeout, Box::pin(load), read);
        async move { give(served.await, one) }
    }

    /// Does the same for a group, as [`load_many`](Self::load_many) loads it. The values are
    /// always those of one instant, old or not.
    ///
    /// ```
    /// # fn finish<T>(future: impl Future<Output = T>) -> T {
    /// #     let mut future = std::pin::pin!(future);
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     let poll = future.as_mut().poll(&mut context);
    /// #     let std::task::Poll::Ready(value) = poll else { panic!() };
    /// #     value
    /// # }
    /// use coeval::{Cache, ManualClock, Served};
    /// use std::future::{pending, ready};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let builder = Cache::builder().refresh_after(Duration::from_secs(60));
    /// let cache = builder.manual_clock(&clock).build();
    /// let load = |pair: Result<[i32; 2], &'static str>| {
    ///     let (keys, never) = (["user", "feed"], pending());
    ///     finish(cache.serving().load_many_async_on(keys, drop, never, ready(pair)))
    /// };
    /// assert_eq!(load(Ok([1, 1])), Ok(Served::Loaded([1, 1])));
    /// clock.advance(Duration::from_secs(60));
    /// let served = load(Err("the source is down")).unwrap();
    /// assert!(served.is_stale() && served.into_value() == [1, 1]);
    /// ```
    ///
    /// # Errors
    /// As [`load`](Self::load).
    ///
    /// # Panics
    /// As [`load_async_on`](Self::load_async_on).
    pub fn load_many_async_on<E: Send + 'static, X, const N: usize>(
        self,
        keys: [K; N],
        execute: impl FnOnce(Task) -> X,
        soft_timeout: impl Future<Output = ()>,
        load: impl Future<Output = Result<[V; N], E>> + Send + 'static,
    ) -> impl Future<Output = Result<Served<[V; N], E>, LoadError<E>>>
    where
        V: 'c,
    {
        let read = |loaded: Moving<'_, Result<[V; N], E>>| {
            loaded.try_into_heap().map(|values| values as Box<[V]>)
        };
        let served = self.serve_async_on(keys, execute, soft_timeout, Box::pin(load), read);
        async move { give(served.await, array) }
    }

    /// Does what both do. `read` converts the output of the loader into the values of the group.
    async fn serve_async_on<E, X, F, P, const N: usize>(
        self,
        keys: [K; N],
        execute: impl FnOnce(Task) -> X,
        soft_timeout: impl Future<Output = ()>,
        load: Pin<Box<F>>,
        read: P,
    ) -> ServedGroup<V, E>
    where
        E: Send + 'static,
        F: Future + Send + 'static,
        P: Fn(Moving<'_, F::Output>) -> Result<Box<[V]>, E> + Send + 'static,
    {
        let (refresh, old) = match self.start(keys) {
            Start::Fresh(values) => return Ok(Served::Fresh(values)),
            Start::Waits(old) => return Ok(old.served()),
            Start::Reload(refresh, old) => (refresh, old),
            Start::Absent(keys) => {
                let (begin, hit) = (self.cache.initial_look_up(), |values| Ok(heap(values)));
                let loading = Loading::new(self.cache, keys, load, begin, read, hit, |group| group);
                return loading.await.map(Served::Loaded);
            }
            Start::TooOld(keys) => return self.load_anew_async(keys, load, read).await,
        };
        let Some(refresh) = refresh.detach(self.cache.shared_engine()) else {
            return Ok(old.served());
        };
        let end =
            |reload: RunningLoad<K, V, S, R, N>, loaded| Some(reload.finish_or_present(loaded));
        let mut work = Box::pin(Refreshing::new(load, refresh, read, end));
        let mut soft_timeout = std::pin::pin!(soft_timeout);
        let ended = std::future::poll_fn(|context| {
            if let Poll::Ready(ended) = work.as_mut().poll(context) {
                return Poll::Ready(Some(ended));
            }
            soft_timeout.as_mut().poll(context).map(|()| None)
        });
        match ended.await {
            Some(Some(ended)) => self.end(ended, old.age.failures),
            Some(None) => Ok(old.served()), // another caller has taken it over
            None => {
                execute(Box::pin(async { _ = work.await }));
                Ok(old.served())
            }
        }
    }
}

impl<K, V, S, R> Serving<'_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Does what [`load_anew`](Self::load_anew) does, with a future as the loader.
    async fn load_anew_async<E, F: Future, const N: usize>(
        &self,
        keys: [K; N],
        mut load: Pin<Box<F>>,
        read: impl Fn(Moving<'_, F::Output>) -> Result<Box<[V]>, E>,
    ) -> ServedGroup<V, E> {
        let oldest = self.rules.max_age.unwrap_or(Duration::MAX);
        let mut claims = self.cache.engine().claim_all(keys);
        let decision = loop {
            match claims.join() {
                Joined::Leader(leader) => break claims.lead_anew(leader, oldest),
                Joined::Waiter(waiter) => match claims.after_wait_anew(waiter.await, oldest) {
                    Ok(decision) => break decision,
                    Err(again) => claims = again,
                },
            }
        };
        match decision {
            LoadDecision::Found(values) => Ok(Served::Loaded(values)),
            LoadDecision::Cycle(key) => Err(LoadRefusal::Cycle(key)),
            LoadDecision::Load(mut leading) => {
                let loaded = std::future::poll_fn(|context| {
                    leading.during(|| poll_and_read(load.as_mut(), context, &read))
                });
                let loaded = loaded.await;
                drop(load); // the next load may want what it holds
                self.end(leading.finish_or_present(loaded), 0)
            }
        }
    }
}

/// Moves the values of a group to the heap.
fn heap<V, const N: usize>(values: [V; N]) -> Box<[V]> {
    Box::new(values)
}
