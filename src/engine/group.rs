//! What loads have in common: values of a group, and what is done on behalf of a load.

#[cfg(feature = "async")]
use super::load::Load;
use crate::loading::Leader;
use crate::reclaim::Reclaim;

/// Does something on behalf of a load, if it is one that others may wait for.
pub(super) fn on_behalf_of<T, R: Reclaim, O>(
    leader: &mut Option<Leader<'_, usize, T, R>>,
    act: impl FnOnce() -> O,
) -> O {
    match leader {
        Some(leader) => leader.during(act),
        None => act(),
    }
}

/// What a group's load has brought, or a value alone: of so many keys as there are values.
pub fn array<V, const N: usize>(values: Box<[V]>) -> [V; N] {
    let values: Box<[V; N]> = values.try_into().unwrap_or_else(|_| unreachable!("one for each"));
    *values
}

/// The other way. A large value lies on the heap as soon as it is there.
#[inline(always)]
pub fn boxed<V, const N: usize>(values: [V; N]) -> Box<[V]> {
    Box::new(values)
}

/// All of them, if there is none that is not.
pub fn all<T, const N: usize>(values: [Option<T>; N]) -> Option<[T; N]> {
    values.iter().all(Option::is_some).then(|| values.map(|value| value.expect("as all are")))
}

/// A group that takes more bytes than this is on the heap while somebody is at work on it.
const LARGE: usize = 2048;

/// Whether values of a group are large.
pub const fn is_large<V, const N: usize>() -> bool {
    size_of::<[V; N]>() > LARGE
}

/// All of them, if there is none that is not, each of which was cloned to the heap.
pub fn all_boxed<V, const N: usize>(values: [Option<Box<V>>; N]) -> Option<Box<[V]>> {
    let mut all = Vec::with_capacity(N);
    for value in values {
        all.push(*value?);
    }
    Some(all.into_boxed_slice())
}

#[cfg(feature = "async")]
impl<K, V, S, R: Reclaim, const N: usize> Load<'_, K, V, S, R, N> {
    /// Does something on behalf of the load that is no part of it.
    pub fn on_behalf<O>(&mut self, act: impl FnOnce() -> O) -> O {
        on_behalf_of(&mut self.leader, act)
    }
}
