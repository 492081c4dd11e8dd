//! The panic about a cycle names the wanted key, and the location of the call.

use crate::common::{on_every_reclaimer, store};
use coeval::reclaim::Reclaim;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

/// The message with which `act` panics, and the file that the panic names as its location.
fn message(act: impl FnOnce() -> u64) -> (String, String) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    static FILE: Mutex<String> = Mutex::new(String::new());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let thread = std::thread::current().id();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() == thread {
            let at = info.location().expect("it has one");
            *FILE.lock().unwrap() = at.file().to_owned();
        }
    }));
    let panic = catch_unwind(AssertUnwindSafe(act)).expect_err("a cycle");
    std::panic::set_hook(before);
    let message = panic.downcast_ref::<String>().expect("a message").clone();
    (message, FILE.lock().unwrap().clone())
}

fn it_names_the_key_and_the_caller<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    let ways: [&dyn Fn() -> u64; 5] = [
        &|| cache.get_with(4_711, || 1),
        &|| cache.try_get_with(4_711, || Ok::<_, ()>(1)).unwrap(),
        &|| cache.get_many_with([4_711, 2], || [1, 2])[0],
        &|| cache.try_get_many_with([4_711], || Ok::<_, ()>([1])).unwrap()[0],
        &|| cache.derive(4_711, |_| 1),
    ];
    for way in ways {
        let (message, file) = message(|| cache.get_with(4_711, way));
        assert!(message.contains("key 4711 "), "{message}");
        assert!(message.contains("tests/promises/loading/cycles.rs:"), "{message}");
        assert!(file.ends_with("cycles.rs"), "{file}");
    }
    // Through another key: the panic names the key that is wanted in the loader of the other.
    let (message, _) =
        message(|| cache.get_with(1, || cache.get_with(2, || cache.get_with(1, || 1))));
    assert!(message.contains("key 1 "), "{message}");
}

fn keys_of_other_types<R: Reclaim>() {
    #[derive(Clone, PartialEq, Eq, Hash)]
    struct Plain(u8);
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct Shown(u8);

    let cache = store::<Plain, u64, R>();
    let act = || cache.get_with(Plain(1), || cache.get_with(Plain(1), || 1));
    let (said, _) = message(act);
    assert!(said.contains("Plain with the hash 0x"), "{said}");
    let cache: coeval::Cache<_, u64, _, R> =
        coeval::Cache::builder().debug_keys().reclaimer().build();
    let act = || cache.get_with(Shown(1), || cache.get_with(Shown(1), || 1));
    let (said, _) = message(act);
    assert!(said.contains("Shown(1)"), "{said}");
    let cache = store::<String, u64, R>();
    let act = || cache.get_with("a".into(), || cache.get_with("a".into(), || 1));
    assert!(message(act).0.contains("\"a\""));
}

#[cfg(feature = "async")]
fn futures_say_where_they_were_made<R: Reclaim>() {
    use super::futures::poll;
    let cache = store::<u64, u64, R>();
    let act = || {
        let outer =
            cache.get_with_async(4_711, async { cache.get_with_async(4_711, async { 1 }).await });
        let _ = poll(Box::pin(outer).as_mut());
        0
    };
    let (said, _) = message(act);
    assert!(said.contains("key 4711 wanted at ") && said.contains("cycles.rs:"), "{said}");
}

#[cfg(not(feature = "async"))]
fn futures_say_where_they_were_made<R: Reclaim>() {}

on_every_reclaimer!(
    it_names_the_key_and_the_caller,
    keys_of_other_types,
    futures_say_where_they_were_made,
);
