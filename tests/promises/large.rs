//! Promise: a large value, which travels in other ways than a small one, is dropped exactly once. So
//! it is if a commit or a fill is refused, if a load fails, and if its `Clone` or its loader panics.

use coeval::{Cache, Related};
use std::cell::Cell;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// The values that are alive.
    static LIVE: Cell<i64> = const { Cell::new(0) };
    /// The calls of user code until one panics.
    static FUSE: Cell<u64> = const { Cell::new(u64::MAX) };
}

/// Notes a call of user code, which may panic.
fn reach() {
    let left = FUSE.get();
    FUSE.set(left.wrapping_sub(1));
    assert!(left != 0, "the fuse has burnt");
}

/// A value that is too large to be kept on the stack.
struct Large {
    number: u64,
    padding: [u64; 1024],
}

fn large(number: u64) -> Large {
    reach();
    LIVE.set(LIVE.get() + 1);
    Large { number, padding: [number; 1024] }
}

impl Large {
    fn is(&self, number: u64) -> bool {
        self.number == number && self.padding == [number; 1024]
    }
}

impl Clone for Large {
    fn clone(&self) -> Self {
        large(self.number)
    }
}

impl PartialEq for Large {
    fn eq(&self, other: &Self) -> bool {
        reach();
        self.is(other.number)
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        assert_eq!(self.padding[1023], self.number, "it is whole");
        LIVE.set(LIVE.get() - 1);
    }
}

type Large64 = Cache<u64, Large>;

/// Operations on a cache in which key 1 has the value 1, and key 2 has none.
const OPERATIONS: &[fn(&Large64)] = &[
    |cache| _ = cache.insert(2, large(2)),
    |cache| _ = cache.insert(1, large(2)),
    |cache| _ = cache.insert(7, large(2)), // writes 8, too
    |cache| _ = cache.insert_with_ttl(2, large(2), std::time::Duration::from_secs(9)),
    |cache| _ = cache.insert_tagged(2, large(2), &["a".into()]),
    |cache| _ = cache.tag(1, &["a".into()]),
    |cache| assert!(cache.remove(&1).is_some_and(|value| value.is(1))),
    |cache| {
        let batch = cache.batch().insert(1, large(2)).insert(2, large(2)).remove(3);
        batch.insert(1, large(3)).insert(7, large(4)).commit();
        assert!(cache.get(&1).is_some_and(|value| value.is(3)));
    },
    |cache| drop(cache.batch().insert(1, large(2)).remove(2)),
    |cache| assert!(cache.compare_and_set(2, None, large(2)).is_ok()),
    |cache| {
        let conflict = cache.compare_and_set(1, None, large(2)).unwrap_err();
        assert!(conflict.into_value::<Large>().is_some_and(|value| value.is(2)));
    },
    |cache| drop(cache.compare_and_set(7, Some(cache.version()), large(2))),
    |cache| assert!(cache.lease(&2).fill(large(2)).is_ok()),
    |cache| {
        let lease = cache.lease(&2);
        cache.invalidate(&2);
        assert!(lease.fill(large(2)).unwrap_err().into_value().is(2));
    },
    |cache| assert_eq!(cache.prewarm((1..4).map(|key| (key, large(key)))), 2),
    |cache| {
        let set = cache.transact(|tx| {
            tx.insert(2, large(2));
            assert!(tx.get(&2).is_some_and(|value| value.is(2)));
            assert!(tx.get(&1).is_some_and(|value| value.is(1)));
            Ok::<_, ()>(())
        });
        assert!(set.is_ok());
    },
    |cache| {
        let mut tries = 0;
        let set = cache.transact(|tx| {
            tries += 1;
            let read = tx.get(&1).is_some();
            if tries == 1 {
                cache.insert(1, large(9)); // so that the first commit is refused
            }
            tx.insert(2, large(2));
            Ok::<_, ()>(read)
        });
        assert!(set.is_ok() && tries == 2);
    },
    |cache| assert!(cache.get_many([&1, &2, &1])[2].as_ref().is_some_and(|value| value.is(1))),
    |cache| assert!(cache.get_with(1, || unreachable!()).is(1)),
    |cache| assert!(cache.get_with(2, || large(2)).is(2)),
    |cache| {
        let value = large(2);
        assert!(cache.get_with(2, move || value).is(2));
    },
    |cache| {
        let value = large(2);
        assert!(cache.get_with(1, move || value).is(1));
    },
    |cache| assert!(cache.try_get_with(2, || Ok::<_, Infallible>(large(2))).is_ok()),
    |cache| assert!(cache.load(2, || Err::<Large, _>(Box::new(1))).is_err()),
    |cache| assert!(cache.load_shared(2, || Ok::<_, u64>(large(2))).is_ok()),
    |cache| assert!(cache.load_shared(2, || Err::<Large, _>(Box::new(1))).is_err()),
    |cache| assert!(cache.load_on(2, |_| (), || Ok::<_, u64>(large(2))).is_ok()),
    |cache| {
        let refused = cache.get_with(2, || {
            cache.insert(2, large(3));
            large(2)
        });
        assert!(refused.is(2));
        assert!(cache.get(&2).is_some_and(|value| value.is(3)));
    },
    |cache| {
        let [one, two] = cache.get_many_with([1, 2], || [large(1), large(2)]);
        assert!(one.is(1) && two.is(2));
        let [one, two] = cache.get_many_with([1, 2], || unreachable!());
        assert!(one.is(1) && two.is(2));
    },
    |cache| assert!(cache.load_many([2, 2], || Ok::<_, u64>([large(1), large(2)])).is_ok()),
    |cache| {
        let derive = || {
            cache.derive(2, |scope| {
                let inner = scope.derive(3, |scope| scope.get(&1).unwrap());
                assert!(scope.derive(3, |_| unreachable!()).is(1) && inner.is(1));
                large(2)
            })
        };
        assert!(derive().is(2));
        cache.insert(1, large(1));
        assert!(derive().is(2));
    },
    #[cfg(feature = "async")]
    |cache| {
        let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
        let load = std::pin::pin!(cache.get_with_async(2, async { large(2) }));
        assert!(load.poll(context).is_ready());
        let load = std::pin::pin!(cache.load_async(1, async { Err::<Large, _>(1) }));
        assert!(load.poll(context).is_ready());
        let load = std::pin::pin!(cache.load_shared_async(3, async { Err::<Large, _>(1) }));
        assert!(load.poll(context).is_ready());
        let load = cache.get_many_with_async([2, 4], async { [large(2), large(4)] });
        assert!(std::pin::pin!(load).poll(context).is_ready());
        let derive = cache.derive_async(5, async |_: &mut coeval::Scope<u64, Large>| large(5));
        assert!(std::pin::pin!(derive).poll(context).is_ready());
    },
];

fn filled() -> Large64 {
    let relation = |key: &u64, related: &mut Related<u64, Large>| {
        if *key == 7 {
            related.insert(8, large(8)).invalidate(1);
        }
    };
    let cache = Cache::builder().related(relation).build();
    cache.insert(1, large(1));
    cache
}

#[test]
fn each_large_value_is_dropped_once() {
    for (at, operation) in OPERATIONS.iter().enumerate() {
        for calls in 0.. {
            let cache = filled();
            FUSE.set(calls);
            let ended = catch_unwind(AssertUnwindSafe(|| operation(&cache)));
            let is_whole = FUSE.replace(u64::MAX) <= calls;
            assert!(is_whole || ended.is_err());
            cache.insert(1, large(5));
            assert!(cache.get(&1).is_some_and(|value| value.is(5)), "it can be used, {at}");
            drop(cache);
            assert_eq!(LIVE.get(), 0, "operation {at}, with a panic in call {calls}");
            if is_whole {
                ended.unwrap_or_else(|_| panic!("operation {at} fails"));
                break;
            }
            assert!(calls < 50, "operation {at} calls the user's code for ever");
        }
    }
}
