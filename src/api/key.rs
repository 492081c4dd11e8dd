//! Borrowed keys from which owned keys can be made.

/// A borrowed key from which an owned `K` can be made. Every type with `ToOwned<Owned = K>`
/// implements it: `K` itself if that is `Clone`, or `str` for `String`.
///
/// [`Cache::invalidate`](crate::Cache::invalidate) requires it. Declared relations take a `&K`, and
/// if the cache does not know the key, one must be made. So does
/// [`Cache::get_with_ref`](crate::Cache::get_with_ref), for a value that is absent.
#[diagnostic::on_unimplemented(
    message = "no owned key `{K}` can be made of a borrowed `{Self}`",
    label = "a cache that does not know the key needs one, to keep it or to follow its relations",
    note = "to load, hand the key over instead: `cache.get_with(key, ..)`",
    note = "to invalidate, too: `cache.batch().invalidate(key).commit()`",
    note = "or, to take out the key alone, call `cache.remove(key)`, which follows no relations"
)]
pub trait ToKey<K> {
    /// Returns the owned key.
    fn to_key(&self) -> K;
}

#[diagnostic::do_not_recommend]
impl<K, Q> ToKey<K> for Q
where
    Q: ToOwned<Owned = K> + ?Sized,
{
    fn to_key(&self) -> K {
        self.to_owned()
    }
}
