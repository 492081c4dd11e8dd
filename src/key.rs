//! Keys that a borrowed form of them can be made into.

/// A borrowed key, of which an owned `K` can be made: of every type with `ToOwned<Owned = K>`, so `K` itself if that is
/// `Clone`, or `str` for `String`.
///
/// [`Cache::invalidate`](crate::Cache::invalidate) asks for it, since declared relations are told of a `&K`, and that has to
/// come from somewhere if the cache does not know the key.
#[diagnostic::on_unimplemented(
    message = "no owned key `{K}` can be made of a borrowed `{Self}`",
    label = "a cache that does not know the key needs one to follow its relations",
    note = "hand the key over instead: `cache.batch().invalidate(key).commit()`",
    note = "or, to take out the key alone, call `cache.remove(key)`, which follows no relations"
)]
pub trait ToKey<K> {
    /// The owned key.
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
