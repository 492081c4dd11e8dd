//! The futures of loads. A load's own future may be large, so it lies in one of these once, and is polled where it lies:
//! an `async` function would keep it as an argument, too, and each that awaits another would do so again.

use super::cache::Cache;
use super::load::LoadRefusal;
use crate::engine::{
    Claims, DetachedLoad, Load, LoadDecision, LoadOutcome, RunningLoad, array, boxed,
};
use crate::loading::{Joined, Waiter};
use crate::reclaim::Reclaim;
use std::hash::{BuildHasher, Hash};
use std::mem::{forget, replace};
use std::pin::Pin;
use std::task::{Context, Poll};

/// What there is before anybody loads.
pub(crate) enum InitialLookUp<K, V, const N: usize> {
    Found([V; N]),
    Absent([K; N]),
    /// It is to be loaded anew, unless somebody else does.
    Stale([K; N], Box<[V]>),
}

/// How far the load of a group is.
enum Stage<'c, K, V, S, R: Reclaim, B, const N: usize> {
    LookUp([K; N], B),
    Joins(Claims<'c, K, V, S, R, N>),
    // In this order: whoever is told to lead has claims of his own.
    Waits(Waiter<'c, usize, LoadOutcome<V>, R>, Claims<'c, K, V, S, R, N>),
    Leads(Load<'c, K, V, S, R, N>, Option<Box<[V]>>),
    Over,
}

/// Loads a group by a future, or waits for who does. `B` looks what there is, and may take the future; `P` makes
/// values of its output, and `G` what the caller gets of them.
#[must_use = "a future does nothing until it is polled"]
pub(crate) struct Loading<'c, K, V, S, R: Reclaim, F, B, P, G, const N: usize> {
    // In this order: what the future holds may be wanted by whoever loads next.
    load: Option<F>,
    stage: Stage<'c, K, V, S, R, B, N>,
    cache: &'c Cache<K, V, S, R>,
    read: P,
    give: G,
}

/// Loads a group anew by a future, on behalf of nobody.
pub(crate) struct Refreshing<K: 'static, V: 'static, S: 'static, R: Reclaim, F, P, const N: usize> {
    // In this order, as above.
    load: Option<F>,
    refresh: Refresh<K, V, S, R, N>,
    read: P,
}

/// How far a load of what is there is.
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

/// Dropped by a panic, it drops a future that is being polled: before what its caller has.
struct DropOnPanic<'p, F>(Pin<&'p mut Option<F>>);

impl<F> Drop for DropOnPanic<'_, F> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

/// Polls a future through `during`, and drops it there when it is done: its destructor is users' code.
fn poll_within<F: Future>(
    mut future: Pin<&mut Option<F>>,
    context: &mut Context<'_>,
    during: impl FnOnce(&mut dyn FnMut() -> Poll<F::Output>) -> Poll<F::Output>,
) -> Poll<F::Output> {
    during(&mut || {
        let mut future_slot = DropOnPanic(future.as_mut());
        let polled = future_slot.0.as_mut().as_pin_mut().expect("not ready yet").poll(context);
        if polled.is_pending() {
            forget(future_slot);
        }
        polled
    })
}

impl<K, V, S, R: Reclaim, F, B, P, G, const N: usize> Drop
    for Loading<'_, K, V, S, R, F, B, P, G, N>
{
    fn drop(&mut self) {
        if let Stage::Leads(leading, _) = &mut self.stage {
            // Given up: the future is dropped on behalf of the load.
            leading.on_behalf(|| self.load = None);
        }
    }
}

impl<K, V, S, R: Reclaim, F, P, const N: usize> Drop for Refreshing<K, V, S, R, F, P, N> {
    fn drop(&mut self) {
        if let Refresh::Leads(refresh) = &mut self.refresh {
            refresh.on_behalf(|| self.load = None); // As above.
        }
    }
}

impl<'c, K, V, S, R: Reclaim, F, B, P, G, const N: usize> Loading<'c, K, V, S, R, F, B, P, G, N> {
    pub fn new(
        cache: &'c Cache<K, V, S, R>,
        keys: [K; N],
        load: F,
        begin: B,
        read: P,
        give: G,
    ) -> Self {
        Self { load: Some(load), stage: Stage::LookUp(keys, begin), cache, read, give }
    }

    /// What came of wanting the group. `None`: the caller leads.
    fn wanted<E>(
        &mut self,
        wanted: LoadDecision<'c, K, V, S, R, N>,
    ) -> Option<Result<Box<[V]>, LoadRefusal<E>>> {
        match wanted {
            LoadDecision::Found(values) => Some(Ok(values)),
            LoadDecision::Cycle(key) => Some(Err(LoadRefusal::Cycle(key))),
            LoadDecision::Load(leading) => {
                self.stage = Stage::Leads(leading, None);
                None
            }
        }
    }
}

impl<'c, K, V, S, R, F, E, T, B, P, G, const N: usize> Future
    for Loading<'c, K, V, S, R, F, B, P, G, N>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
    F: Future,
    B: FnOnce([K; N], &mut Option<F>) -> InitialLookUp<K, V, N>,
    P: Fn(F::Output) -> Result<Box<[V]>, E>,
    G: Fn(Result<[V; N], LoadRefusal<E>>) -> T,
{
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // SAFETY: of its fields only `load` is pinned, and from its first poll on: it is polled, and dropped, where it lies,
        // and moved by `begin` only, before that.
        let this = unsafe { self.get_unchecked_mut() };
        let outcome = loop {
            match replace(&mut this.stage, Stage::Over) {
                Stage::LookUp(keys, begin) => match begin(keys, &mut this.load) {
                    InitialLookUp::Found(values) => {
                        this.load = None; // Not pinned yet.
                        return Poll::Ready((this.give)(Ok(values)));
                    }
                    InitialLookUp::Absent(keys) => {
                        this.stage = Stage::Joins(this.cache.engine().claim_all(keys));
                    }
                    InitialLookUp::Stale(keys, old) => {
                        match this.cache.engine().claim_all(keys).refresh() {
                            Some(refresh) => this.stage = Stage::Leads(refresh, Some(old)),
                            None => break Ok(old),
                        }
                    }
                },
                Stage::Joins(claims) => match claims.join() {
                    Joined::Waiter(waiter) => this.stage = Stage::Waits(waiter, claims),
                    Joined::Leader(leader) => {
                        if let Some(outcome) = this.wanted(claims.lead(leader)) {
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
                        Ok(wanted) => {
                            if let Some(outcome) = this.wanted(wanted) {
                                break outcome;
                            }
                        }
                        Err(again) => this.stage = Stage::Joins(again),
                    }
                }
                Stage::Leads(mut leading, old) => {
                    // SAFETY: see above.
                    let load = unsafe { Pin::new_unchecked(&mut this.load) };
                    let polled = poll_within(load, context, |poll| leading.during(poll));
                    let Poll::Ready(output) = polled else {
                        this.stage = Stage::Leads(leading, old);
                        return Poll::Pending;
                    };
                    let loaded = leading.finish((this.read)(output));
                    break match old {
                        Some(old) => Ok(loaded.unwrap_or(old)),
                        None => loaded.map_err(LoadRefusal::Failed),
                    };
                }
                Stage::Over => panic!("polled after it was ready"),
            }
        };
        // SAFETY: as above.
        unsafe { Pin::new_unchecked(&mut this.load) }.set(None);
        Poll::Ready((this.give)(outcome.map(array)))
    }
}

impl<K, V, S, R: Reclaim, F, P, const N: usize> Refreshing<K, V, S, R, F, P, N> {
    pub fn new(load: F, refresh: DetachedLoad<K, V, S, R, N>, read: P) -> Self {
        Self { load: Some(load), refresh: Refresh::Later(refresh), read }
    }
}

impl<K, V, S, R, F, E, P, const N: usize> Future for Refreshing<K, V, S, R, F, P, N>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
    F: Future,
    P: Fn(F::Output) -> Result<Box<[V]>, E>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // SAFETY: of its fields only `load` is pinned: it is polled, and dropped, where it lies.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        let mut load = unsafe { Pin::new_unchecked(&mut this.load) };
        let begun = match replace(&mut this.refresh, Refresh::Over) {
            Refresh::Later(refresh) => refresh.begin(),
            Refresh::Leads(refresh) => Some(refresh),
            Refresh::Over => panic!("polled after it was ready"),
        };
        let Some(mut refresh) = begun else {
            load.set(None); // Somebody else has taken it over.
            return Poll::Ready(());
        };
        let Poll::Ready(output) = poll_within(load, context, |poll| refresh.during(poll)) else {
            this.refresh = Refresh::Leads(refresh);
            return Poll::Pending;
        };
        refresh.finish((this.read)(output));
        Poll::Ready(())
    }
}

impl<'l, 'e, K, V, S, R: Reclaim, F> Deriving<'l, 'e, K, V, S, R, F> {
    pub fn new(compute: F, leading: &'l mut Load<'e, K, V, S, R, 1>) -> Self {
        Self { compute: Some(compute), leading }
    }
}

impl<K, V, S, R: Reclaim, F> Drop for Deriving<'_, '_, K, V, S, R, F> {
    fn drop(&mut self) {
        self.leading.on_behalf(|| self.compute = None); // As for `Loading`.
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
        // SAFETY: of its fields only `compute` is pinned: it is polled, and dropped, where it lies.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        let compute = unsafe { Pin::new_unchecked(&mut this.compute) };
        let polled = poll_within(compute, context, |poll| this.leading.during(poll));
        polled.map(|value| boxed([value]))
    }
}
