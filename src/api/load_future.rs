//! The futures of loads. A loader may be a large future. It is stored once, in one of these types,
//! and polled in place. An `async` function would store it twice, as an argument and as the future
//! it awaits, and so would each function that awaits another.

use super::cache::Cache;
use super::give::LoadRefusal;
use super::key::ToKey;
use crate::chain::{Visible, clone_to_heap};
use crate::engine::{
    Claims, DetachedLoad, Load, LoadDecision, LoadOutcome, Moving, RunningLoad, is_large, single,
};
use crate::loading::{Joined, Waiter};
use crate::reclaim::Reclaim;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::mem::{ManuallyDrop, forget, replace};
use std::pin::Pin;
use std::task::{Context, Poll};

/// The result of the look-up before a load.
pub(crate) enum InitialLookUp<K, V, const N: usize> {
    Found(Box<[V]>),
    Absent([K; N]),
    /// The group is due for reloading, unless another caller does it.
    Stale([K; N], Box<[V]>),
}

/// The state of the load of a group.
enum Stage<'c, K, V, S, R: Reclaim, B, const N: usize> {
    LookUp([K; N], B),
    Joins(Claims<'c, K, V, S, R, N>),
    // The order matters: the waiter is dropped before the claims. A waiting caller that becomes the
    // leader has its own claims.
    Waits(Waiter<'c, usize, LoadOutcome<V>, R>, Claims<'c, K, V, S, R, N>),
    /// The load, and the old values, whose destructors run after the load.
    Leads(Load<'c, K, V, S, R, N>, Option<Box<[V]>>),
    Over,
}

/// Loads a group by a future, or waits for the caller that does. `B` looks up the group first and
/// may take the future, `P` converts the future's output into values, and `G` converts these into
/// the caller's result. `H` makes the result of small values that are present.
#[must_use = "a future does nothing until it is polled"]
pub(crate) struct Loading<'c, K, V, S, R: Reclaim, F, B, P, H, G, const N: usize> {
    // The order matters: the next caller that loads may need what the future holds.
    load: Option<F>,
    stage: Stage<'c, K, V, S, R, B, N>,
    cache: &'c Cache<K, V, S, R>,
    read: P,
    hit: H,
    give: G,
}

/// Loads one value as [`Loading`] does, by a borrowed key. Makes the key only if the value is
/// absent or due for reloading.
#[must_use = "a future does nothing until it is polled"]
pub(crate) struct LoadingRef<'q, 'c, Q: ?Sized, K, V, S, R: Reclaim, F, B, P, H, G> {
    /// The key, and the look-up with which a load begins. Taken by the first poll.
    first: Option<(&'q Q, B)>,
    loading: Loading<'c, K, V, S, R, F, B, P, H, G, 1>,
}

/// Reloads a group by a future in an executor. Its output is what `G` makes of the end of the load;
/// the default if another caller has taken the load over.
pub(crate) struct Refreshing<
    K: 'static,
    V: 'static,
    S: 'static,
    R: Reclaim,
    F,
    P,
    G,
    const N: usize,
> {
    // The order matters, as above.
    load: Option<F>,
    refresh: Refresh<K, V, S, R, N>,
    read: P,
    end: G,
}

/// The state of a reload.
enum Refresh<K: 'static, V: 'static, S: 'static, R: Reclaim, const N: usize> {
    Later(DetachedLoad<K, V, S, R, N>),
    Leads(RunningLoad<K, V, S, R, N>),
    Over,
}

/// Derives a value by a future.
pub(crate) struct Deriving<'l, 'e, K, V, S, R: Reclaim, F> {
    compute: Option<F>,
    leading: &'l mut Load<'e, K, V, S, R, 1>,
}

/// Drops a future after a poll, unless it is pending. If the poll panics, the future is dropped
/// before the state of its caller.
struct DropUnlessPending<'p, F>(Pin<&'p mut Option<F>>);

impl<F> Drop for DropUnlessPending<'_, F> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

/// Polls a future, and returns what `read` makes of its output. Not inlined, so that no other frame
/// has room for the output, which may be large.
#[inline(never)]
pub(crate) fn poll_and_read<F: Future, O>(
    future: Pin<&mut F>,
    context: &mut Context<'_>,
    read: &impl Fn(Moving<'_, F::Output>) -> O,
) -> Poll<O> {
    let mut polled = ManuallyDrop::new(future.poll(context));
    match &mut *polled {
        // SAFETY: the output is not used afterwards.
        Poll::Ready(output) => Poll::Ready(read(unsafe { Moving::new(output) })),
        Poll::Pending => Poll::Pending,
    }
}

/// Returns that a future is ready, with what `give` makes of the outcome. Not inlined, as above.
#[inline(never)]
fn ready<O, T>(outcome: O, give: &impl Fn(O) -> T) -> Poll<T> {
    Poll::Ready(give(outcome))
}

/// Polls a future inside `during`, and drops it there when it completes, because its destructor is
/// user code.
fn poll_within<F: Future, O>(
    mut future: Pin<&mut Option<F>>,
    context: &mut Context<'_>,
    read: &impl Fn(Moving<'_, F::Output>) -> O,
    during: impl FnOnce(&mut dyn FnMut() -> Poll<O>) -> Poll<O>,
) -> Poll<O> {
    during(&mut || {
        let mut future_slot = DropUnlessPending(future.as_mut());
        let future = future_slot.0.as_mut().as_pin_mut().expect("the future is pending");
        let polled = poll_and_read(future, context, read);
        if polled.is_pending() {
            forget(future_slot);
        }
        polled
    })
}

impl<K, V, S, R: Reclaim, F, B, P, H, G, const N: usize> Drop
    for Loading<'_, K, V, S, R, F, B, P, H, G, N>
{
    fn drop(&mut self) {
        if let Stage::Leads(leading, _) = &mut self.stage {
            // The caller gave up. The future is dropped on behalf of the load.
            leading.on_behalf(|| self.load = None);
        }
    }
}

impl<K, V, S, R: Reclaim, F, P, G, const N: usize> Drop for Refreshing<K, V, S, R, F, P, G, N> {
    fn drop(&mut self) {
        if let Refresh::Leads(refresh) = &mut self.refresh {
            refresh.on_behalf(|| self.load = None); // as above
        }
    }
}

impl<'c, K, V, S, R: Reclaim, F, B, P, H, G, const N: usize>
    Loading<'c, K, V, S, R, F, B, P, H, G, N>
{
    pub fn new(
        cache: &'c Cache<K, V, S, R>,
        keys: [K; N],
        load: F,
        begin: B,
        read: P,
        hit: H,
        give: G,
    ) -> Self {
        Self { load: Some(load), stage: Stage::LookUp(keys, begin), cache, read, hit, give }
    }

    /// Follows the decision about the group. Returns `None` if the caller leads.
    fn follow<E>(
        &mut self,
        decision: LoadDecision<'c, K, V, S, R, N>,
    ) -> Option<Result<Box<[V]>, LoadRefusal<E>>> {
        match decision {
            LoadDecision::Found(values) => Some(Ok(values)),
            LoadDecision::Cycle(key) => Some(Err(LoadRefusal::Cycle(key))),
            LoadDecision::Load(leading) => {
                self.stage = Stage::Leads(leading, None);
                None
            }
        }
    }
}

impl<'q, 'c, Q: ?Sized, K, V, S, R: Reclaim, F, B, P, H, G>
    LoadingRef<'q, 'c, Q, K, V, S, R, F, B, P, H, G>
{
    pub fn new(
        cache: &'c Cache<K, V, S, R>,
        key: &'q Q,
        load: F,
        begin: B,
        read: P,
        hit: H,
        give: G,
    ) -> Self {
        let loading = Loading { load: Some(load), stage: Stage::Over, cache, read, hit, give };
        Self { first: Some((key, begin)), loading }
    }
}

impl<K, V, S, R, F, E, T, B, P, H, G, Q> Future for LoadingRef<'_, '_, Q, K, V, S, R, F, B, P, H, G>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
    F: Future,
    B: FnOnce([K; 1], &mut Option<F>) -> InitialLookUp<K, V, 1>,
    P: Fn(Moving<'_, F::Output>) -> Result<Box<[V]>, E>,
    H: Fn([V; 1]) -> T,
    G: Fn(Result<Box<[V]>, LoadRefusal<E>>) -> T,
    Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
{
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // SAFETY: of `loading`, only the field `load` is pinned, from its first poll on.
        let this = unsafe { self.get_unchecked_mut() };
        let loading = &mut this.loading;
        if let Some((key, begin)) = this.first.take() {
            let engine = loading.cache.engine();
            if engine.wants_refresh(key) {
            } else if const { is_large::<V, 1>() } {
                let clone = |found: Visible<'_, V>| clone_to_heap(found.value());
                if let Some(value) = engine.look_up::<Q, _, true>(key, clone) {
                    loading.load = None;
                    return ready(Ok(single(value)), &loading.give);
                }
            } else if let Some(value) = loading.cache.get(key) {
                loading.load = None;
                return Poll::Ready((loading.hit)([value]));
            }
            loading.stage = Stage::LookUp([key.to_key()], begin);
        }
        // SAFETY: it is pinned as far as it needs to be, with this.
        unsafe { Pin::new_unchecked(loading) }.poll(context)
    }
}

impl<'c, K, V, S, R, F, E, T, B, P, H, G, const N: usize> Future
    for Loading<'c, K, V, S, R, F, B, P, H, G, N>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
    F: Future,
    B: FnOnce([K; N], &mut Option<F>) -> InitialLookUp<K, V, N>,
    P: Fn(Moving<'_, F::Output>) -> Result<Box<[V]>, E>,
    H: Fn([V; N]) -> T,
    G: Fn(Result<Box<[V]>, LoadRefusal<E>>) -> T,
{
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        if let Stage::LookUp(keys, _) = &self.stage
            && const { !is_large::<V, N>() }
            && !self.cache.is_refresh_due(keys.each_ref())
        {
            return self.poll_small(context);
        }
        self.poll_load(context)
    }
}

impl<'c, K, V, S, R, F, E, T, B, P, H, G, const N: usize> Loading<'c, K, V, S, R, F, B, P, H, G, N>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
    F: Future,
    B: FnOnce([K; N], &mut Option<F>) -> InitialLookUp<K, V, N>,
    P: Fn(Moving<'_, F::Output>) -> Result<Box<[V]>, E>,
    H: Fn([V; N]) -> T,
    G: Fn(Result<Box<[V]>, LoadRefusal<E>>) -> T,
{
    /// Polls for the first time, for small values that are not due for reloading.
    fn poll_small(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // SAFETY: only the field `load` is pinned, from its first poll on. It is dropped before.
        let this = unsafe { self.as_mut().get_unchecked_mut() };
        let Stage::LookUp(keys, _) = replace(&mut this.stage, Stage::Over) else {
            unreachable!("this is the first poll")
        };
        if let Some(values) = this.cache.look_up_group(keys.each_ref()) {
            drop(keys); // if their destructors panicked later, the result would leak
            this.load = None;
            return Poll::Ready((this.hit)(values));
        }
        this.stage = Stage::Joins(this.cache.engine().claim_all(keys));
        self.poll_load(context)
    }

    fn poll_load(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // SAFETY: only the field `load` is pinned, from its first poll on. It is polled and dropped
        // in place. Only `begin` moves it, before the first poll.
        let this = unsafe { self.get_unchecked_mut() };
        let outcome = loop {
            match replace(&mut this.stage, Stage::Over) {
                Stage::LookUp(keys, begin) => match begin(keys, &mut this.load) {
                    InitialLookUp::Found(values) => break Ok(values),
                    InitialLookUp::Absent(keys) => {
                        this.stage = Stage::Joins(this.cache.engine().claim_all(keys));
                    }
                    InitialLookUp::Stale(keys, old) => {
                        match this.cache.engine().claim_all(keys).refresh(None) {
                            Some(refresh) => this.stage = Stage::Leads(refresh, Some(old)),
                            None => break Ok(old),
                        }
                    }
                },
                Stage::Joins(claims) => match claims.join() {
                    Joined::Waiter(waiter) => this.stage = Stage::Waits(waiter, claims),
                    Joined::Leader(leader) => {
                        if let Some(outcome) = this.follow(claims.lead(leader)) {
                            break outcome;
                        }
                    }
                },
                Stage::Waits(mut waiter, claims) => {
                    let Poll::Ready(waited) = Pin::new(&mut waiter).poll(context) else {
                        this.stage = Stage::Waits(waiter, claims);
                        return Poll::Pending;
                    };
                    match claims.after_wait(waited) {
                        Ok(decision) => {
                            if let Some(outcome) = this.follow(decision) {
                                break outcome;
                            }
                        }
                        Err(again) => this.stage = Stage::Joins(again),
                    }
                }
                Stage::Leads(mut leading, old) => {
                    // SAFETY: `load` is pinned as stated above.
                    let load = unsafe { Pin::new_unchecked(&mut this.load) };
                    let polled =
                        poll_within(load, context, &this.read, |poll| leading.during(poll));
                    let Poll::Ready(loaded) = polled else {
                        this.stage = Stage::Leads(leading, old);
                        return Poll::Pending;
                    };
                    let loaded = match old {
                        Some(_) => leading.finish_or_keep(loaded),
                        None => leading.finish(loaded),
                    };
                    break loaded.map_err(LoadRefusal::Failed);
                }
                Stage::Over => panic!("polled after completion"),
            }
        };
        // SAFETY: `load` is pinned as stated above, and is dropped in place.
        unsafe { Pin::new_unchecked(&mut this.load) }.set(None);
        ready(outcome, &this.give)
    }
}

impl<K, V, S, R: Reclaim, F, P, G, const N: usize> Refreshing<K, V, S, R, F, P, G, N> {
    pub fn new(load: F, refresh: DetachedLoad<K, V, S, R, N>, read: P, end: G) -> Self {
        Self { load: Some(load), refresh: Refresh::Later(refresh), read, end }
    }
}

impl<K, V, S, R, F, E, T, P, G, const N: usize> Future for Refreshing<K, V, S, R, F, P, G, N>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
    F: Future,
    P: Fn(Moving<'_, F::Output>) -> Result<Box<[V]>, E>,
    G: Fn(RunningLoad<K, V, S, R, N>, Result<Box<[V]>, E>) -> T,
    T: Default,
{
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // SAFETY: only the field `load` is pinned. It is polled and dropped in place.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        let mut load = unsafe { Pin::new_unchecked(&mut this.load) };
        let begun = match replace(&mut this.refresh, Refresh::Over) {
            Refresh::Later(refresh) => refresh.begin(),
            Refresh::Leads(refresh) => Some(refresh),
            Refresh::Over => panic!("polled after completion"),
        };
        let Some(mut refresh) = begun else {
            load.set(None); // another caller has taken the load over
            return Poll::Ready(T::default());
        };
        let polled = poll_within(load, context, &this.read, |poll| refresh.during(poll));
        let Poll::Ready(loaded) = polled else {
            this.refresh = Refresh::Leads(refresh);
            return Poll::Pending;
        };
        Poll::Ready((this.end)(refresh, loaded))
    }
}

impl<'l, 'e, K, V, S, R: Reclaim, F> Deriving<'l, 'e, K, V, S, R, F> {
    pub fn new(compute: F, leading: &'l mut Load<'e, K, V, S, R, 1>) -> Self {
        Self { compute: Some(compute), leading }
    }
}

impl<K, V, S, R: Reclaim, F> Drop for Deriving<'_, '_, K, V, S, R, F> {
    fn drop(&mut self) {
        self.leading.on_behalf(|| self.compute = None); // as for `Loading`
    }
}

impl<K, V, S, R, F> Future for Deriving<'_, '_, K, V, S, R, F>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
    F: Future<Output = V>,
{
    type Output = Box<[V]>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Box<[V]>> {
        // SAFETY: only the field `compute` is pinned. It is polled and dropped in place.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        let compute = unsafe { Pin::new_unchecked(&mut this.compute) };
        let read = |value: Moving<'_, V>| single(value.into_heap());
        poll_within(compute, context, &read, |poll| this.leading.during(poll))
    }
}
