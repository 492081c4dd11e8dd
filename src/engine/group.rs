//! Helpers for loads: the values of a group, and code that runs on behalf of a load.

#[cfg(feature = "async")]
use super::load::Load;
use crate::loading::Leader;
use crate::reclaim::Reclaim;

/// Runs `act` on behalf of a load, if other callers may wait for that load.
pub(super) fn on_behalf_of<T, R: Reclaim, O>(
    leader: &mut Option<Leader<'_, usize, T, R>>,
    act: impl FnOnce() -> O,
) -> O {
    match leader {
        Some(leader) => leader.during(act),
        None => act(),
    }
}

/// Converts the values of a group into an array. There is one value for each key.
pub fn array<V, const N: usize>(values: Box<[V]>) -> [V; N] {
    let values: Box<[V; N]> =
        values.try_into().unwrap_or_else(|_| unreachable!("a group has one value for each key"));
    *values
}

/// Does the reverse. Keeps large values on the heap from the start.
#[inline(always)]
pub fn boxed<V, const N: usize>(values: [V; N]) -> Box<[V]> {
    Box::new(values)
}

/// Returns all values, if none is missing.
pub fn all<T, const N: usize>(values: [Option<T>; N]) -> Option<[T; N]> {
    values.iter().all(Option::is_some).then(|| values.map(|value| value.expect("all are present")))
}

/// A group that takes more bytes than this is kept on the heap while it is processed.
const LARGE: usize = 2048;

/// Returns whether the values of a group are large.
pub const fn is_large<V, const N: usize>() -> bool {
    size_of::<[V; N]>() > LARGE
}

/// Returns all values, if none is missing. Each was cloned to the heap.
pub fn all_boxed<V, const N: usize>(values: [Option<Box<V>>; N]) -> Option<Box<[V]>> {
    let mut all = Vec::with_capacity(N);
    for value in values {
        all.push(*value?);
    }
    Some(all.into_boxed_slice())
}

#[cfg(feature = "async")]
impl<K, V, S, R: Reclaim, const N: usize> Load<'_, K, V, S, R, N> {
    /// Runs code on behalf of the load that is not part of its loader.
    pub fn on_behalf<O>(&mut self, act: impl FnOnce() -> O) -> O {
        on_behalf_of(&mut self.leader, act)
    }
}
