//! What a load gives its caller: values, an error or a panic.

use crate::engine::{array, one};
use crate::error::LoadError;
use std::convert::Infallible;
use std::panic::Location;
use std::sync::Arc;

/// Makes a caller's result of an outcome. In contrast to a closure, it may panic on behalf of that
/// caller.
pub(crate) trait Give<O> {
    type Output;

    #[track_caller]
    fn give(self, outcome: O) -> Self::Output;
}

impl<O, T, F: FnOnce(O) -> T> Give<O> for F {
    type Output = T;

    fn give(self, outcome: O) -> T {
        self(outcome)
    }
}

/// Gives the value of a load that does not fail.
pub(crate) struct ValueOrPanic;

/// Gives the values of such a load.
pub(crate) struct ValuesOrPanic<const N: usize>;

/// Gives the value of a load, or its error.
pub(crate) struct ResultOrPanic;

/// Gives the values of a load, or its error.
pub(crate) struct ResultsOrPanic<const N: usize>;

impl<V> Give<Result<Box<[V]>, LoadRefusal<Infallible>>> for ValueOrPanic {
    type Output = V;

    #[track_caller]
    fn give(self, loaded: Result<Box<[V]>, LoadRefusal<Infallible>>) -> V {
        match loaded {
            Ok(values) => one(values),
            Err(LoadRefusal::Cycle(key)) => panic_on_cycle(&key, Some(Location::caller())),
        }
    }
}

impl<V, const N: usize> Give<Result<Box<[V]>, LoadRefusal<Infallible>>> for ValuesOrPanic<N> {
    type Output = [V; N];

    #[track_caller]
    fn give(self, loaded: Result<Box<[V]>, LoadRefusal<Infallible>>) -> [V; N] {
        match loaded {
            Ok(values) => array(values),
            Err(LoadRefusal::Cycle(key)) => panic_on_cycle(&key, Some(Location::caller())),
        }
    }
}

impl<V, E> Give<Result<Box<[V]>, LoadRefusal<E>>> for ResultOrPanic {
    type Output = Result<V, Arc<E>>;

    #[track_caller]
    fn give(self, loaded: Result<Box<[V]>, LoadRefusal<E>>) -> Result<V, Arc<E>> {
        failure(loaded, one, Location::caller())
    }
}

impl<V, E, const N: usize> Give<Result<Box<[V]>, LoadRefusal<E>>> for ResultsOrPanic<N> {
    type Output = Result<[V; N], Arc<E>>;

    #[track_caller]
    fn give(self, loaded: Result<Box<[V]>, LoadRefusal<E>>) -> Result<[V; N], Arc<E>> {
        failure(loaded, array, Location::caller())
    }
}

/// Why a key was not loaded; becomes a `LoadError`.
pub(crate) enum LoadRefusal<E> {
    Failed(E),
    /// A cycle, with the name of its key.
    Cycle(Box<str>),
}

impl<E> From<LoadRefusal<E>> for LoadError<E> {
    fn from(refusal: LoadRefusal<E>) -> Self {
        match refusal {
            LoadRefusal::Failed(error) => Self::Failed(error),
            LoadRefusal::Cycle(_) => Self::Cycle,
        }
    }
}

#[cold]
#[track_caller]
pub(crate) fn panic_on_cycle(key: &str, at: Option<&Location<'_>>) -> ! {
    let at = at.map(|at| format!(" wanted at {at}")).unwrap_or_default();
    panic!("the key {key}{at}: {}", LoadError::<Infallible>::Cycle)
}

/// Returns what `take` makes of loaded values, or the error of the load.
pub(crate) fn outcome<V, T, E>(
    loaded: Result<Box<[V]>, LoadRefusal<E>>,
    take: impl FnOnce(Box<[V]>) -> T,
) -> Result<T, LoadError<E>> {
    match loaded {
        Ok(values) => Ok(take(values)),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Returns what `take` makes of loaded values, or the error of the loader. Panics on a cycle.
#[track_caller]
pub(crate) fn failure<L, T, E>(
    loaded: Result<L, LoadRefusal<E>>,
    take: impl FnOnce(L) -> T,
    at: &Location<'_>,
) -> Result<T, Arc<E>> {
    match loaded {
        Ok(loaded) => Ok(take(loaded)),
        Err(LoadRefusal::Failed(error)) => Err(Arc::new(error)),
        Err(LoadRefusal::Cycle(key)) => panic_on_cycle(&key, Some(at)),
    }
}
