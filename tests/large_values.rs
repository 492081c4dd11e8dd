//! Promise: a large value is not copied from call to call. An optimized program has it on the stack
//! at most twice below the frame of the caller, which holds the argument or the result.
// A sanitizer lays out the stack in its own way.
#![cfg(not(any(coeval_asan, coeval_lsan)))]

#[cfg(feature = "async")]
use coeval::Scope;
use coeval::{Cache, LoadError};
use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

/// The size of a value.
const SIZE: usize = 512 << 10;
/// The stack of the thread that is measured.
const STACK: usize = 64 * SIZE;
const FILL: u8 = 0xA5;

/// Fills the free part of the thread's stack, except for a rest.
#[inline(never)]
fn paint(bytes: usize) -> usize {
    let here = 0_u8;
    let top = (&raw const here).addr() - 4096;
    for at in (top - bytes..top).step_by(64) {
        // SAFETY: the byte is below this frame, in the thread's own stack, which is larger; no
        // other code uses it in the meantime.
        unsafe { std::ptr::with_exposed_provenance_mut::<u8>(at).write_volatile(FILL) };
    }
    top
}

/// The depth to which the stack was used below `top`, in values.
#[inline(never)]
fn depth(top: usize, bytes: usize) -> f64 {
    let is_used = |at: &usize| {
        // SAFETY: as in `paint`, which wrote the byte.
        unsafe { std::ptr::with_exposed_provenance::<u8>(*at).read_volatile() != FILL }
    };
    let lowest = (top - bytes..top).step_by(64).find(is_used).unwrap_or(top);
    (top - lowest) as f64 / SIZE as f64
}

/// The depth to which `act` uses the stack, in values.
fn copies(act: impl FnOnce() + Send + 'static) -> f64 {
    let run = move || {
        let bytes = STACK - 4 * SIZE;
        let here = 0_u8;
        std::ptr::from_ref(&here).expose_provenance();
        let top = paint(bytes);
        call(act);
        depth(top, bytes)
    };
    std::thread::Builder::new().stack_size(STACK).spawn(run).unwrap().join().unwrap()
}

/// A large value, which is moved and cloned like a structure that a caller defines.
#[derive(Clone, PartialEq)]
struct Large([u8; SIZE]);

impl From<u8> for Large {
    /// A value that repeats one byte.
    #[inline(never)]
    fn from(byte: u8) -> Self {
        Self([black_box(byte); SIZE])
    }
}

fn large(byte: u8) -> Large {
    Large::from(byte)
}

#[inline(never)]
fn call(act: impl FnOnce()) {
    act();
}

/// A small operation.
type Operation = fn(&Cache<u64, Large>);

type Prepare = fn() -> Cache<u64, Large>;

fn empty() -> Cache<u64, Large> {
    Cache::new()
}

fn filled() -> Cache<u64, Large> {
    let cache = Cache::new();
    cache.insert(1, large(1));
    cache
}

fn related() -> Cache<u64, Large> {
    Cache::builder()
        .related(|key: &u64, related| {
            if *key == 1 {
                related.invalidate(2);
            }
        })
        .build()
}

fn listened() -> Cache<u64, Large> {
    let cache =
        Cache::builder().eviction_listener(|_, value: Large, _, _| _ = black_box(&value)).build();
    cache.insert(1, large(1));
    cache
}

#[cfg(feature = "async")]
fn finish<T>(future: impl Future<Output = T>) -> std::task::Poll<T> {
    let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
    std::pin::pin!(future).poll(context)
}

/// Operations on a cache of large values: how to make the cache, how many values the operation has as
/// arguments or results, and the depth to which an unoptimized program may use the stack, in values.
/// An optimized one may use twice the number of values.
///
/// Each depth is that below the caller's frame, which has room for each argument or result once. A
/// loader's frame counts, and so does its result.
const OPERATIONS: &[(&str, Prepare, f64, f64, Operation)] = &[
    ("insert", empty, 1.0, 4.1, |cache| _ = cache.insert(1, large(1))),
    ("insert over another", filled, 1.0, 4.1, |cache| _ = cache.insert(1, large(1))),
    ("insert with relations", related, 1.0, 4.1, |cache| _ = cache.insert(1, large(1))),
    ("insert_with_ttl", empty, 1.0, 5.1, |cache| {
        _ = cache.insert_with_ttl(1, large(1), Duration::from_secs(60));
    }),
    ("insert_tagged", empty, 1.0, 4.1, |cache| _ = cache.insert_tagged(1, large(1), &["a".into()])),
    ("tag", filled, 1.0, 2.1, |cache| _ = cache.tag(1, &["a".into()])),
    ("remove", filled, 1.0, 4.1, |cache| assert!(cache.remove(&1).is_some())),
    ("batch", empty, 2.0, 3.1, |cache| {
        let batch = cache.batch().insert(1, large(1)).insert(2, large(2));
        _ = batch.commit();
    }),
    ("compare_and_set", empty, 1.0, 3.1, |cache| {
        assert!(cache.compare_and_set(1, None, large(1)).is_ok())
    }),
    ("compare_and_set refused", filled, 1.0, 3.1, |cache| {
        assert!(cache.compare_and_set(1, None, large(1)).is_err())
    }),
    ("fill", empty, 1.0, 4.1, |cache| assert!(cache.lease(&1).fill(large(1)).is_ok())),
    ("fill refused", empty, 1.0, 6.1, |cache| {
        let lease = cache.lease(&1);
        cache.invalidate(&1);
        assert!(lease.fill(large(1)).is_err());
    }),
    ("transact insert", empty, 1.0, 4.1, |cache| {
        let insert = cache.transact(|tx| {
            tx.insert(1, large(1));
            Ok::<_, ()>(())
        });
        assert!(insert.is_ok());
    }),
    ("transact get", filled, 1.0, 2.1, |cache| {
        let get = cache.transact(|tx| Ok::<_, ()>(tx.get(&1).is_some()));
        assert!(get.is_ok());
    }),
    ("prewarm", empty, 1.0, 6.1, |cache| {
        assert_eq!(cache.prewarm((0..3).map(|key| (key, large(1)))), 3);
    }),
    ("get", filled, 1.0, 3.1, |cache| assert!(cache.get(&1).is_some())),
    ("get_versioned", filled, 1.0, 4.1, |cache| assert!(cache.get_versioned(&1).is_some())),
    ("get_many", filled, 2.0, 5.1, |cache| assert!(cache.get_many([&1, &2])[0].is_some())),
    ("get_with", empty, 1.0, 3.1, |cache| assert_eq!(cache.get_with(1, || large(1)).0[5], 1)),
    ("get_with hit", filled, 1.0, 1.1, |cache| {
        assert_eq!(cache.get_with(1, || unreachable!()).0[5], 1)
    }),
    ("try_get_with", empty, 1.0, 5.1, |cache| {
        let loaded = cache.try_get_with(1, || Ok::<_, Infallible>(large(1)));
        assert!(loaded.is_ok());
    }),
    ("try_get_with hit", filled, 1.0, 2.1, |cache| {
        let loaded = cache.try_get_with(1, || Err(1));
        assert!(loaded.is_ok());
    }),
    ("load", empty, 1.0, 5.1, |cache| assert!(cache.load(1, || Ok::<_, ()>(large(1))).is_ok())),
    ("load failing", empty, 1.0, 3.1, |cache| {
        let loaded = cache.load(1, || Err::<Large, _>(()));
        assert!(matches!(loaded, Err(LoadError::Failed(()))));
    }),
    ("load_shared", empty, 1.0, 5.1, |cache| {
        assert!(cache.load_shared(1, || Ok::<_, ()>(large(1))).is_ok())
    }),
    ("load_shared hit", filled, 1.0, 2.1, |cache| {
        assert!(cache.load_shared(1, || Err(())).is_ok())
    }),
    ("load_on", empty, 1.0, 5.1, |cache| {
        assert!(cache.load_on(1, |_| (), || Ok::<_, ()>(large(1))).is_ok())
    }),
    ("load_on hit", filled, 1.0, 2.1, |cache| {
        assert!(cache.load_on(1, |_| (), || Err(())).is_ok())
    }),
    ("a loader that has the value", empty, 1.0, 8.1, |cache| {
        let value = large(1);
        assert_eq!(cache.get_with(1, move || value).0[5], 1);
    }),
    ("get_many_with", empty, 2.0, 5.1, |cache| {
        assert_eq!(cache.get_many_with([1, 2], || [large(1), large(2)])[1].0[5], 2);
    }),
    ("get_many_with hit", filled, 1.0, 2.1, |cache| {
        assert_eq!(cache.get_many_with([1], || unreachable!())[0].0[5], 1);
    }),
    ("load_many", empty, 2.0, 11.1, |cache| {
        assert!(cache.load_many([1, 2], || Ok::<_, ()>([large(1), large(2)])).is_ok());
    }),
    ("derive", empty, 1.0, 3.1, |cache| assert_eq!(cache.derive(1, |_| large(1)).0[5], 1)),
    ("derive hit", filled, 1.0, 1.1, |cache| {
        assert_eq!(cache.derive(1, |_| unreachable!()).0[5], 1)
    }),
    ("derive from another", filled, 1.0, 4.1, |cache| {
        assert_eq!(cache.derive(2, |scope| scope.get(&1).unwrap()).0[5], 1);
    }),
    ("derive nested", empty, 1.0, 3.1, |cache| {
        assert_eq!(cache.derive(2, |scope| scope.derive(1, |_| large(1))).0[5], 1);
    }),
    #[cfg(feature = "async")]
    ("get_with_async", empty, 1.0, 5.1, |cache| {
        assert!(finish(cache.get_with_async(1, async { large(1) })).is_ready());
    }),
    #[cfg(feature = "async")]
    ("get_with_async hit", filled, 1.0, 2.1, |cache| {
        assert!(finish(cache.get_with_async(1, async { unreachable!() })).is_ready());
    }),
    #[cfg(feature = "async")]
    ("try_get_with_async", empty, 1.0, 6.1, |cache| {
        assert!(finish(cache.try_get_with_async(1, async { Ok::<_, ()>(large(1)) })).is_ready());
    }),
    #[cfg(feature = "async")]
    ("load_async", empty, 1.0, 6.1, |cache| {
        assert!(finish(cache.load_async(1, async { Ok::<_, ()>(large(1)) })).is_ready());
    }),
    #[cfg(feature = "async")]
    ("load_async_on", empty, 1.0, 6.1, |cache| {
        assert!(finish(cache.load_async_on(1, |_| (), async { Ok::<_, ()>(large(1)) })).is_ready());
    }),
    #[cfg(feature = "async")]
    ("load_shared_async", empty, 1.0, 7.1, |cache| {
        assert!(finish(cache.load_shared_async(1, async { Ok::<_, ()>(large(1)) })).is_ready());
    }),
    #[cfg(feature = "async")]
    ("get_many_with_async", empty, 2.0, 11.1, |cache| {
        assert!(
            finish(cache.get_many_with_async([1, 2], async { [large(1), large(2)] })).is_ready()
        );
    }),
    #[cfg(feature = "async")]
    ("derive_async", empty, 1.0, 6.1, |cache| {
        assert!(
            finish(cache.derive_async(1, async |_: &mut Scope<u64, Large>| large(1))).is_ready()
        );
    }),
    ("insert with a listener", listened, 1.0, 8.1, |cache| _ = cache.insert(1, large(2))),
    ("extend", empty, 1.0, 7.1, |cache| cache.clone().extend((0..3).map(|key| (key, large(1))))),
];

#[test]
fn a_large_value_is_hardly_ever_on_the_stack() {
    let mut over = Vec::new();
    for (name, prepare, values, unoptimized, act) in OPERATIONS {
        let prepared = std::thread::Builder::new().stack_size(STACK).spawn(prepare);
        let cache = prepared.unwrap().join().unwrap();
        let depth = copies(move || act(&cache)) - values;
        println!("{name:28} {depth:.2}");
        let most = if cfg!(debug_assertions) { *unoptimized } else { 2.1 * values };
        if depth > most {
            over.push((name, depth));
        }
    }
    assert!(over.is_empty(), "deeper than they may be: {over:?}");
}

/// The future of a load is little larger than the future of its loader.
#[cfg(feature = "async")]
#[test]
fn a_loads_future_has_its_loaders_once() {
    async fn loader<T>(output: T) -> T {
        let buffer = [1_u8; 16_384];
        std::future::ready(()).await;
        std::hint::black_box(&buffer);
        output
    }
    let ok = Ok::<u64, ()>(1);
    let cache: Cache<u64, u64> = Cache::builder().refresh_after(Duration::from_nanos(1)).build();
    let own = size_of_val(&loader(ok));
    let derive = async |_: &mut Scope<u64, u64>| loader(1).await;
    let sizes = [
        ("get_with_async", size_of_val(&cache.get_with_async(1, loader(1)))),
        ("try_get_with_async", size_of_val(&cache.try_get_with_async(1, loader(ok)))),
        ("load_async", size_of_val(&cache.load_async(1, loader(ok)))),
        ("get_many_with_async", size_of_val(&cache.get_many_with_async([1, 2], loader([1, 2])))),
        ("load_many_async", size_of_val(&cache.load_many_async([1], loader(ok.map(|one| [one]))))),
        ("load_async_on", size_of_val(&cache.load_async_on(1, |_| (), loader(ok)))),
        ("derive_async", size_of_val(&cache.derive_async(1, derive))),
    ];
    println!("{own}, {sizes:?}");
    for (name, size) in sizes {
        assert!(2 * size <= 3 * own, "{name}: {size} for {own}");
    }
    cache.insert(1, 1);
    std::thread::sleep(Duration::from_millis(1));
    let mut size = 0;
    let load = cache.load_async_on(1, |task| size = size_of_val(&*task), loader(ok));
    let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
    assert_eq!(std::pin::pin!(load).poll(context), std::task::Poll::Ready(Ok(1)));
    assert!(size >= own && 2 * size <= 3 * own, "a refresh's: {size} for {own}");
}
