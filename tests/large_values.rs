//! Promise: a large value is not copied from call to call. It takes little more of the stack than
//! in a map of the standard library.
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

type Large = [u8; SIZE];

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

/// A large value that repeats one byte.
#[inline(never)]
fn large(byte: u8) -> Large {
    [black_box(byte); SIZE]
}

#[inline(never)]
fn call(act: impl FnOnce()) {
    act();
}

/// A small operation.
type Operation = fn(&Cache<u64, Large>);

/// Small operations on a cache of large values, and the depth to which each may use the stack, in
/// values: without optimizations, and with them. The depth includes the caller's part, such as a
/// value that is passed or returned.
const OPERATIONS: &[(&str, [f64; 2], Operation)] = &[
    ("insert", [7.1, 4.1], |cache| _ = cache.insert(1, large(1))),
    ("insert over another", [7.1, 4.1], |cache| (0..3).for_each(|_| _ = cache.insert(1, large(1)))),
    ("insert_with_ttl", [8.1, 4.1], |cache| {
        _ = cache.insert_with_ttl(1, large(1), Duration::from_secs(60));
    }),
    ("batch", [17.1, 3.1], |cache| {
        _ = cache.batch().insert(1, large(1)).insert(2, large(2)).commit()
    }),
    ("compare_and_set", [9.1, 4.1], |cache| {
        assert!(cache.compare_and_set(1, None, large(1)).is_ok())
    }),
    ("insert_tagged", [9.1, 3.1], |cache| _ = cache.insert_tagged(1, large(1), &["a".into()])),
    ("fill", [10.1, 6.1], |cache| assert!(cache.lease(&1).fill(large(1)).is_ok())),
    ("transact", [15.1, 3.1], |cache| {
        let insert = cache.transact(|tx| {
            tx.insert(1, large(1));
            Ok::<_, ()>(())
        });
        assert!(insert.is_ok());
    }),
    ("prewarm", [12.1, 4.1], |cache| {
        assert_eq!(cache.prewarm((0..3).map(|key| (key, large(1)))), 3);
    }),
    ("get_with", [8.1, 6.1], |cache| assert_eq!(cache.get_with(1, || large(1))[5], 1)),
    ("try_get_with", [12.1, 7.1], |cache| {
        let loaded = cache.try_get_with(1, || Ok::<_, Infallible>(large(1)));
        assert_eq!(loaded.unwrap()[5], 1);
    }),
    ("get_with of a present key", [8.1, 5.1], |cache| {
        cache.insert(1, large(1));
        assert_eq!(cache.get_with(1, || unreachable!())[5], 1);
    }),
    ("a load that fails", [11.1, 7.1], |cache| {
        let loaded = cache.load(1, || Err::<Large, _>(()));
        assert!(matches!(loaded, Err(LoadError::Failed(()))));
    }),
    ("get_many_with", [12.1, 11.1], |cache| {
        assert_eq!(cache.get_many_with([1, 2], || [large(1), large(2)])[1][5], 2);
    }),
    ("derive", [14.1, 5.1], |cache| assert_eq!(cache.derive(1, |_| large(1))[5], 1)),
    ("get", [9.1, 4.1], |cache| {
        cache.insert(1, large(1));
        assert_eq!(cache.get(&1).unwrap()[5], 1);
    }),
];

#[test]
fn a_large_value_is_hardly_ever_on_the_stack() {
    let mut over = Vec::new();
    for (name, most, act) in OPERATIONS {
        let depth = copies(|| act(&Cache::new()));
        println!("{name:28} {depth:.2}");
        if depth > most[usize::from(!cfg!(debug_assertions))] {
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
