//! Loading any number of keys, each by itself, by one call of an asynchronous loader.

use super::cache::Cache;
use super::give::{LoadRefusal, panic_on_cycle};
use super::keys::IntoKey;
use super::load_each::{
    Begun, distinct, follow, in_order, keys_at, places_of, value_for_each, within,
};
use crate::error::LoadError;
use crate::reclaim::Reclaim;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// # Loading each of several keys, for futures
/// These methods work as those of the same names that [load each of several
/// keys](#loading-each-of-several-keys). A wait for another caller's load is a pending future. What
/// is said of [futures](#loading-for-futures) that are left alone holds for them, too. If the
/// returned future is dropped, waiting callers load.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Clone + Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns a future for [`get_each_with`](Self::get_each_with), with an asynchronous loader.
    ///
    /// ```
    /// # fn finish<T>(future: impl Future<Output = T>) -> T {
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     let poll = std::pin::pin!(future).poll(&mut context);
    /// #     let std::task::Poll::Ready(value) = poll else { panic!() };
    /// #     value
    /// # }
    /// let cache = coeval::Cache::<u64, String>::new();
    /// cache.insert(2, "two".to_string());
    /// let names = finish(cache.get_each_with_async([1, 2, 3, 1], async |missing: &[u64]| {
    ///     assert_eq!(missing, [1, 3]);
    ///     missing.iter().map(|id| format!("#{id}")).collect::<Vec<_>>()
    /// }));
    /// assert_eq!(names, ["#1", "two", "#3", "#1"]);
    /// ```
    ///
    /// # Panics
    /// Panics as `get_each_with` does.
    #[track_caller]
    pub fn get_each_with_async<I, M, L>(
        &self,
        keys: I,
        mut load: impl AsyncFnMut(&[K]) -> L,
    ) -> impl Future<Output = Vec<V>>
    where
        I: IntoIterator<Item: IntoKey<K, M>>,
        L: IntoIterator<Item = V>,
    {
        let keys = keys.into_iter().map(IntoKey::into_key).collect();
        let at = Location::caller();
        async move {
            let load = async |keys: &[K]| Ok::<_, Infallible>(load(keys).await);
            match self.load_each_key_async(keys, load).await {
                Ok(values) => values,
                Err(LoadRefusal::Cycle(key)) => panic_on_cycle(&key, Some(at)),
            }
        }
    }

    /// Returns a future for [`load_each`](Self::load_each), with an asynchronous loader.
    ///
    /// # Panics
    /// Panics as `load_each` does.
    ///
    /// # Errors
    /// [`LoadError`]: the error of the loader, or a cycle.
    pub fn load_each_async<I, M, L, E>(
        &self,
        keys: I,
        load: impl AsyncFnMut(&[K]) -> Result<L, E>,
    ) -> impl Future<Output = Result<Vec<V>, LoadError<E>>>
    where
        I: IntoIterator<Item: IntoKey<K, M>>,
        L: IntoIterator<Item = V>,
    {
        let keys = keys.into_iter().map(IntoKey::into_key).collect();
        async move { Ok(self.load_each_key_async(keys, load).await?) }
    }

    async fn load_each_key_async<L, E>(
        &self,
        keys: Vec<K>,
        mut load: impl AsyncFnMut(&[K]) -> Result<L, E>,
    ) -> Result<Vec<V>, LoadRefusal<E>>
    where
        L: IntoIterator<Item = V>,
    {
        let mut values = self.get_many(&keys);
        let (first, mut places) = distinct(&keys);
        loop {
            let (mut begun, mut later) = self.begin_loads(&keys, &mut values, places);
            if begun.is_empty() {
                let Some(&place) = later.first() else { break };
                let decision = self.join_or_lead_async([keys[place].clone()]).await;
                begun.extend(follow(decision, place, &mut values)?);
                later.remove(0);
            }
            let mut loaded = Ok(Vec::new());
            if !begun.is_empty() {
                let places = places_of(&begun);
                let run = async {
                    let missing = keys_at(&keys, &places);
                    load(&missing).await.map(|all| value_for_each(all, &missing))
                };
                loaded = pin!(LoadingEach { load: Some(run), begun: &mut begun }).await;
            }
            self.end_loads(begun, loaded, &mut values)?;
            places = later;
        }
        Ok(in_order(&keys, &first, values))
    }
}

/// Polls a loader on behalf of several loads.
struct LoadingEach<'l, 'e, K, V, S, R, F>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    load: Option<F>,
    begun: &'l mut [Begun<'e, K, V, S, R>],
}

/// Runs `act` on behalf of these loads, which a panic does not make fail.
fn on_behalf<K, V, S, R: Reclaim>(loads: &mut [Begun<'_, K, V, S, R>], act: &mut dyn FnMut()) {
    match loads {
        [] => act(),
        [(_, load), rest @ ..] => load.on_behalf(|| on_behalf(rest, act)),
    }
}

impl<K, V, S, R, F> Drop for LoadingEach<'_, '_, K, V, S, R, F>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    fn drop(&mut self) {
        if self.load.is_some() {
            // The caller gave up. The loader's future is dropped on behalf of the loads.
            on_behalf(self.begun, &mut || self.load = None);
        }
    }
}

impl<K, V, S, R, F> Future for LoadingEach<'_, '_, K, V, S, R, F>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
    F: Future,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: only the field `load` is pinned. It is polled and dropped in place.
        let this = unsafe { self.get_unchecked_mut() };
        let mut polled = Poll::Pending;
        let load = &mut this.load;
        within(this.begun, &mut || {
            // SAFETY: as above.
            let mut load = unsafe { Pin::new_unchecked(&mut *load) };
            let future = load.as_mut().as_pin_mut().expect("the future is pending");
            polled = future.poll(context);
            if polled.is_ready() {
                load.set(None);
            }
        });
        polled
    }
}
