//! Helpers for loads: the values of a group, and code that runs on behalf of a load.

#[cfg(feature = "async")]
use super::load::Load;
use crate::chain::{Parcel, write_on_heap};
use crate::loading::Leader;
use crate::memory::{Moving, is_large};
use crate::reclaim::Reclaim;
use std::mem::ManuallyDrop;

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

/// Runs a loader and puts its result on the heap. Not inlined, so that no other frame has room for
/// the loader and for the result, which may be large.
#[inline(never)]
pub fn on_heap<T>(loader: &mut Parcel<impl FnOnce() -> T>) -> Box<T> {
    write_on_heap(|| loader.take()())
}

/// Does the same with a loader that may fail.
#[inline(never)]
pub fn try_on_heap<T, E>(loader: &mut Parcel<impl FnOnce() -> Result<T, E>>) -> Result<Box<T>, E> {
    let mut loaded = ManuallyDrop::new(loader.take()());
    // SAFETY: the result is not used afterwards.
    unsafe { Moving::new(&mut *loaded) }.try_into_heap()
}

/// Passes the values that were found to `clone`. Large results are made one at a time.
#[inline(always)]
pub(super) fn each_cloned<V, T, const N: usize>(
    found: [Option<&V>; N],
    clone: &impl Fn(&V) -> T,
) -> [Option<T>; N] {
    if const { is_large::<T, N>() } {
        return each_cloned_in_place(found, clone);
    }
    each_small_cloned(found, clone)
}

#[inline]
fn each_small_cloned<V, T, const N: usize>(
    found: [Option<&V>; N],
    clone: &impl Fn(&V) -> T,
) -> [Option<T>; N] {
    found.map(|value| value.map(clone))
}

#[inline(never)]
fn each_cloned_in_place<V, T, const N: usize>(
    found: [Option<&V>; N],
    clone: &impl Fn(&V) -> T,
) -> [Option<T>; N] {
    let mut cloned = [const { None }; N];
    for (place, value) in cloned.iter_mut().zip(found) {
        clone_into(place, value, clone);
    }
    cloned
}

#[inline(never)]
fn clone_into<V, T>(place: &mut Option<T>, value: Option<&V>, clone: &impl Fn(&V) -> T) {
    *place = value.map(clone);
}

#[cfg(feature = "async")]
impl<K, V, S, R: Reclaim, const N: usize> Load<'_, K, V, S, R, N> {
    /// Runs code on behalf of the load that is not part of its loader.
    pub fn on_behalf<O>(&mut self, act: impl FnOnce() -> O) -> O {
        on_behalf_of(&mut self.leader, act)
    }
}
