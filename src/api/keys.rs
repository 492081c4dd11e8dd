//! What look-ups of several keys take.

use super::key::ToKey;
use equivalent::Equivalent;
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::hash::Hash;

/// Several keys to look up: an array, a slice, a collection or an iterator.
///
/// | keys | what a look-up returns |
/// |---|---|
/// | an array of references, `[&Q; N]`: what [`get`](crate::Cache::get) takes, `N` times | an array |
/// | `&[Q]`, `&[Q; N]`, `&Vec<Q>`, and references to other collections of the standard library | a `Vec` |
/// | an iterator over references to keys, or over owned keys; a `Vec` of these | a `Vec` |
///
/// `Q` is any type that `get` accepts. `M` is inferred; it tells the cases apart. If `K` is itself
/// a reference, as in a `Cache<&str, _>`, and an iterator yields keys of that very type, pass a
/// slice or an array: the compiler cannot tell whether such an item is a key or borrows one.
///
/// ```
/// let cache = coeval::Cache::<String, u32>::new();
/// cache.insert_many([("a".to_string(), 1), ("b".to_string(), 2)]);
///
/// let ids: Vec<String> = vec!["b".to_string(), "c".to_string()];
/// assert_eq!(cache.get_many(&ids), [Some(2), None]);
/// assert_eq!(cache.get_many(&ids[..1]), [Some(2)]);
/// assert_eq!(cache.get_many(["a", "b"]), [Some(1), Some(2)]);
/// assert_eq!(cache.get_many("b a".split(' ')), [Some(2), Some(1)]);
/// assert_eq!(cache.get_many(ids.into_iter().rev()), [None, Some(2)]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not give keys of type `{K}`",
    note = "an array holds references: `cache.get_many([&a, &b])`",
    note = "of other collections, pass a reference or an iterator: `cache.get_many(&ids)`",
    note = "of a collection of references, pass `ids.iter().copied()`"
)]
pub trait KeyList<K, M>: sealed::Sealed<M> {
    /// What a look-up returns that finds values of type `T`.
    type Found<T>;

    /// Looks the keys up.
    #[doc(hidden)]
    fn look_up<L: LookUp<K>>(self, look_up: L) -> Self::Found<L::Value>;
}

/// Marks arrays of references.
pub struct Array;
/// Marks references to collections of keys.
pub struct Collection;
/// Marks vectors whose items are of the kind `M`.
pub struct Listed<M>(M);
/// Marks iterators whose items are of the kind `M`.
pub struct Iterated<M>(M);
/// Marks items that are references.
pub struct ByRef;
/// Marks items that are keys.
pub struct ByValue;

/// What looks the keys up.
pub trait LookUp<K> {
    /// The type of a value that is found.
    type Value;

    fn array<Q, const N: usize>(self, keys: [&Q; N]) -> [Option<Self::Value>; N]
    where
        Q: Hash + Equivalent<K> + ?Sized;

    fn each<Q, I>(self, keys: &[I], key_of: impl Fn(&I) -> &Q) -> Vec<Option<Self::Value>>
    where
        Q: Hash + Equivalent<K> + ?Sized;
}

/// An item of an iterator: a key, or a reference to what borrows one.
pub trait ListedKey<K, M> {
    type Key: Hash + Equivalent<K> + ?Sized;

    fn key(&self) -> &Self::Key;
}

impl<K, Q: Hash + Equivalent<K> + ?Sized> ListedKey<K, ByRef> for &Q {
    type Key = Q;

    fn key(&self) -> &Q {
        self
    }
}

impl<K: Hash + Eq> ListedKey<K, ByValue> for K {
    type Key = K;

    fn key(&self) -> &K {
        self
    }
}

/// An item of a list of keys, of which an owned key can be made: a key, or a reference to what
/// borrows one.
pub trait IntoKey<K, M> {
    fn into_key(self) -> K;
}

impl<K> IntoKey<K, ByValue> for K {
    fn into_key(self) -> K {
        self
    }
}

impl<K, Q: ToKey<K> + ?Sized> IntoKey<K, ByRef> for &Q {
    fn into_key(self) -> K {
        self.to_key()
    }
}

mod sealed {
    pub trait Sealed<M> {}
}

impl<Q: ?Sized, const N: usize> sealed::Sealed<Array> for [&Q; N] {}

impl<K, Q, const N: usize> KeyList<K, Array> for [&Q; N]
where
    Q: Hash + Equivalent<K> + ?Sized,
{
    type Found<T> = [Option<T>; N];

    #[inline(always)]
    fn look_up<L: LookUp<K>>(self, look_up: L) -> [Option<L::Value>; N] {
        look_up.array(self)
    }
}

/// Lists the keys to look up, one after the other.
macro_rules! listed {
    ($($keys:ty, $kind:ty, [$($generics:tt)*], [$($bounds:tt)*], $self:ident => $list:expr;)+) => {$(
        impl<$($generics)*> sealed::Sealed<$kind> for $keys {}

        impl<K, $($generics)*> KeyList<K, $kind> for $keys where $($bounds)* {
            type Found<T> = Vec<Option<T>>;

            #[inline]
            fn look_up<L: LookUp<K>>($self, look_up: L) -> Vec<Option<L::Value>> {
                $list(look_up)
            }
        }
    )+};
}

listed! {
    &[Q], Collection, [Q], [Q: Hash + Equivalent<K>],
        self => |look_up: L| look_up.each(self, |key| key);
    &[Q; N], Collection, [Q, const N: usize], [Q: Hash + Equivalent<K>],
        self => |look_up: L| look_up.each(self, |key| key);
    &Vec<Q>, Collection, [Q], [Q: Hash + Equivalent<K>],
        self => |look_up: L| look_up.each(self, |key| key);
    &VecDeque<Q>, Collection, [Q], [Q: Hash + Equivalent<K>],
        self => |look_up: L| look_up.each(&Vec::from_iter(self), |key| *key);
    &HashSet<Q, H>, Collection, [Q, H], [Q: Hash + Equivalent<K>],
        self => |look_up: L| look_up.each(&Vec::from_iter(self), |key| *key);
    &BTreeSet<Q>, Collection, [Q], [Q: Hash + Equivalent<K>],
        self => |look_up: L| look_up.each(&Vec::from_iter(self), |key| *key);
    Vec<I>, Listed<M>, [I, M], [I: ListedKey<K, M>],
        self => |look_up: L| look_up.each(&self, ListedKey::key);
    I, Iterated<M>, [I, M], [I: Iterator, I::Item: ListedKey<K, M>],
        self => |look_up: L| look_up.each(&Vec::from_iter(self), ListedKey::key);
}
