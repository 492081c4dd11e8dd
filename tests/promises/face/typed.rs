//! Several kinds of value in one cache.

use coeval::{Cache, Kind, LoadError, Scope};
use std::any::Any;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq)]
struct User(&'static str);

coeval::kinds! {
    /// What the caches of these tests hold.
    #[derive(Clone, Debug, PartialEq)]
    enum Entry {
        User(User),
        /// A number of visits.
        Visits(u64),
        Names(Vec<String>),
    }
}

coeval::kinds! {
    #[derive(Clone, Debug, PartialEq)]
    pub(super) enum Only {
        Number(u64),
    }
}

fn cache() -> Cache<&'static str, Entry> {
    Cache::new()
}

#[test]
fn a_value_of_another_kind_counts_as_absent() {
    let cache = cache();
    cache.insert("user", User("Ada").into());
    let (users, visits) = (cache.typed::<User>(), cache.typed::<u64>());
    assert_eq!((users.get("user"), visits.get("user")), (Some(User("Ada")), None));
    assert!(users.contains_key("user") && !visits.contains_key("user"));
    assert_eq!(visits.remove(&"user"), None);
    assert_eq!((users.remove(&"user"), users.remove(&"user")), (Some(User("Ada")), None));
    let version = visits.insert("user", 7);
    assert_eq!(cache.get_versioned("user"), Some((Entry::Visits(7), version)));
    users.upsert("user", |old| old.map_or(User("new"), Clone::clone));
    assert_eq!(users.get("user"), Some(User("new")));
    visits.upsert("visits", |old| old.map_or(1, |old| old + 1));
    visits.upsert("visits", |old| old.map_or(1, |old| old + 1));
    assert_eq!(visits.get("visits"), Some(2));
    assert_eq!(format!("{visits:?}"), r#"Typed { kind: "u64" }"#);
}

#[test]
fn an_enum_may_have_one_kind() {
    let cache: Cache<u64, Only> = Cache::new();
    cache.typed().insert(1, 7u64);
    assert_eq!(cache.typed::<u64>().get(&1), Some(7));
}

#[test]
fn a_failed_load_over_an_old_value_of_another_kind_is_an_error() {
    let (clock, second) = (coeval::ManualClock::new(), std::time::Duration::from_secs(1));
    let builder = Cache::<&str, Entry>::builder().refresh_after(second).manual_clock(&clock);
    let cache = builder.build();
    let old = || {
        cache.insert("key", User("Ada").into());
        clock.advance(second);
    };
    let visits = cache.typed::<u64>();
    old();
    assert_eq!(visits.load(&"key", || Err("down")), Err(LoadError::Failed("down")));
    old();
    assert_eq!(visits.try_get_with(&"key", || Err("down")), Err(Arc::new("down")));
    old();
    assert_eq!(visits.load(&"key", || Ok::<_, &str>(1)), Ok(1));
    clock.advance(second);
    assert_eq!(visits.load(&"key", || Err("down")), Ok(1), "an old value of the kind is served");
}

#[test]
fn loads_remove_values_of_other_kinds() {
    let cache = cache();
    let (users, visits) = (cache.typed::<User>(), cache.typed::<u64>());
    assert_eq!(users.get_with(&"key", || User("Ada")), User("Ada"));
    assert_eq!(users.get_with(&"key", || unreachable!("it is cached")), User("Ada"));
    assert_eq!(visits.get_with(&"key", || 7), 7);
    assert_eq!(cache.get("key"), Some(Entry::Visits(7)));
    assert_eq!(users.try_get_with(&"key", || Err::<User, _>("no")), Err(Arc::new("no")));
    assert_eq!(users.try_get_with(&"key", || Ok::<_, ()>(User("Bob"))), Ok(User("Bob")));
    assert_eq!(visits.load(&"key", || Err("no")), Err(LoadError::Failed("no")));
    assert_eq!(visits.load(&"key", || Ok::<_, ()>(8)), Ok(8));
    assert_eq!(cache.get("key"), Some(Entry::Visits(8)));
}

/// Loads of two kinds of one key take it from each other, and each comes to an end.
#[test]
fn loads_of_two_kinds_at_once_end() {
    let cache = cache();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                (0..200).for_each(|_| {
                    assert_eq!(cache.typed().get_with(&"key", || User("Ada")), User("Ada"));
                });
            });
            scope.spawn(|| {
                (0..200).for_each(|_| assert_eq!(cache.typed().get_with(&"key", || 7u64), 7));
            });
        }
    });
}

#[test]
fn one_transaction_crosses_the_kinds() {
    let cache = cache();
    cache.typed().insert("user", User("Ada"));
    let moved = cache.atomically(|tx| {
        let user = tx.typed::<User>().remove("user")?;
        assert_eq!(tx.typed::<u64>().remove("user"), None);
        assert_eq!(tx.typed::<u64>().update("user", |visits| visits + 1), None);
        tx.typed().insert("visits", 1u64);
        assert_eq!(tx.typed::<u64>().update("visits", |visits| visits + 1), Some(1));
        assert_eq!(
            (tx.typed::<u64>().get("visits"), tx.typed::<User>().get("visits")),
            (Some(2), None)
        );
        tx.typed().insert("names", vec![user.0.to_string()]);
        Some(())
    });
    let moved = moved.unwrap();
    assert_eq!(moved.value, Some(()));
    let names = Entry::Names(vec!["Ada".to_string()]);
    assert_eq!(cache.get_versioned("names"), Some((names, moved.version)));
    assert_eq!(cache.get_versioned("visits"), Some((Entry::Visits(2), moved.version)));
    assert_eq!(cache.get("user"), None);
}

#[test]
fn a_view_shows_each_kind() {
    let cache = cache();
    cache.insert_many([("a", Entry::Visits(1)), ("b", User("Bob").into()), ("c", 3.into())]);
    let view = cache.view();
    cache.invalidate_all();
    assert_eq!(view.typed::<User>().get("b"), Some(&User("Bob")));
    assert_eq!(view.typed::<User>().get("a"), None);
    let mut visits: Vec<_> = view.typed::<u64>().iter().collect();
    visits.sort();
    assert_eq!(visits, [(&"a", &1), (&"c", &3)]);
}

#[test]
fn derived_values_read_and_make_other_kinds() {
    let cache = cache();
    cache.typed().insert("user", User("Ada"));
    fn visits(scope: &mut Scope<&'static str, Entry>) -> u64 {
        scope.typed::<User>().get(&"user").map_or(0, |user| user.0.len() as u64)
    }
    let names = || {
        cache.typed::<Vec<String>>().derive(&"names", |scope| {
            let visits = scope.typed::<u64>().derive("visits", visits);
            vec![visits.to_string()]
        })
    };
    assert_eq!(names(), ["3"]);
    assert_eq!(cache.typed().get("visits"), Some(3u64));
    cache.typed().insert("user", User("Grace"));
    assert_eq!((cache.get("names"), cache.get("visits")), (None, None));
    assert_eq!(names(), ["5"]);

    // Another kind stays where it is in the midst of a derivation, and goes at its beginning.
    cache.typed().insert("visits", User("Eve"));
    assert_eq!((names(), cache.get("visits")), (vec!["5".into()], Some(User("Eve").into())));
    cache.typed().insert("names", User("Eve"));
    assert_eq!(
        (names(), cache.typed().get("names")),
        (vec!["5".into()], Some(vec!["5".to_string()]))
    );
}

#[cfg(feature = "async")]
#[test]
fn futures_load_each_kind() {
    let cache = cache();
    cache.typed().insert("key", User("Ada"));
    let visits = cache.typed::<u64>();
    let mut load = std::pin::pin!(visits.load_async(&"key", async { Ok::<_, ()>(7) }));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let loaded = loop {
        if let std::task::Poll::Ready(loaded) = load.as_mut().poll(&mut context) {
            break loaded;
        }
    };
    assert_eq!((loaded, cache.get("key")), (Ok(7), Some(Entry::Visits(7))));
}

/// `Kind` can be implemented by hand, here for values that keep their type to themselves.
#[test]
fn kinds_need_no_enum() {
    #[derive(Clone)]
    struct Anything(Arc<dyn Any + Send + Sync>);
    macro_rules! anything {
        ($($kind:ty),*) => {$(
            impl Kind<Anything> for $kind {
                fn into_value(self) -> Anything {
                    Anything(Arc::new(self))
                }

                fn of(value: &Anything) -> Option<&Self> {
                    value.0.downcast_ref()
                }
            }
        )*};
    }
    anything!(u8, User);
    let cache: Cache<&str, Anything> = Cache::new();
    cache.typed().insert("a", 1u8);
    cache.typed().insert("b", User("Bob"));
    assert_eq!((cache.typed().get("a"), cache.typed::<User>().get("a")), (Some(1u8), None));
    assert_eq!(cache.typed().get_with(&"a", || User("Ada")), User("Ada"));
}
