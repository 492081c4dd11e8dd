//! A load that is under way while its key is invalidated: what `docs/migrating.md` says of it.

use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

type Load = Box<dyn FnOnce() -> &'static str + Send>;
type Moka = moka::sync::Cache<u32, &'static str>;
type Quick = quick_cache::sync::Cache<u32, &'static str>;
type Ours = coeval::Cache<u32, &'static str>;

/// A load reads the source; the source changes; the key is invalidated; somebody else wants the
/// key; and the load ends. Returns what the other caller is given, and what the cache has then if
/// there is no other caller.
fn outcome<C: Sync>(
    make: impl Fn() -> C,
    get_or_load: impl Fn(&C, Load) -> &'static str + Sync,
    invalidate: impl Fn(&C),
    get: impl Fn(&C) -> Option<&'static str>,
) -> (&'static str, Option<&'static str>) {
    let get_or_load = &get_or_load;
    let run = |cache: &C, other_caller: bool| {
        let source = Mutex::new("old");
        let (say_read, read) = channel();
        let (say_go_on, go_on) = channel::<()>();
        thread::scope(|scope| {
            let value = *source.lock().unwrap();
            let load = move || {
                say_read.send(()).unwrap();
                go_on.recv().unwrap();
                value
            };
            let first = scope.spawn(|| get_or_load(cache, Box::new(load)));
            read.recv().unwrap();
            *source.lock().unwrap() = "new";
            invalidate(cache);
            let other = other_caller.then(|| {
                let value = *source.lock().unwrap();
                let other = scope.spawn(move || get_or_load(cache, Box::new(move || value)));
                thread::sleep(Duration::from_millis(200)); // until it waits, almost surely
                other
            });
            say_go_on.send(()).unwrap();
            assert_eq!(first.join().unwrap(), "old");
            other.map(|other| other.join().unwrap())
        })
    };
    let later = run(&make(), true).unwrap();
    let cache = make();
    run(&cache, false);
    (later, get(&cache))
}

#[test]
fn a_load_that_an_invalidation_has_overtaken() {
    let moka = outcome(
        || Moka::new(100),
        |cache, load| cache.get_with(7, load),
        |cache| cache.invalidate(&7),
        |cache| cache.get(&7),
    );
    assert_eq!(moka, ("old", Some("old")));
    let quick = outcome(
        || Quick::new(100),
        |cache, load| cache.get_or_insert_with(&7, || Ok::<_, Infallible>(load())).unwrap(),
        |cache| {
            cache.remove(&7);
        },
        |cache| cache.get(&7),
    );
    assert_eq!(quick, ("new", None));
    let ours = outcome(
        || Ours::builder().max_capacity(100).build(),
        |cache, load| cache.get_with(7, load),
        |cache| {
            cache.invalidate(&7);
        },
        |cache| cache.get(&7),
    );
    assert_eq!(ours, ("new", None));
}
