//! What public types print, which shows no key and no value unless it was asked for; and what errors
//! say, and name as their sources.

use coeval::*;
use std::error::Error;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::Duration;

fn assert_shows(shown: &dyn Debug, text: &str) {
    assert_eq!(format!("{shown:?}"), text);
}

#[test]
fn handles_and_plans_print_how_much_they_hold() {
    let cache: Cache<u64, u64> = Cache::new();
    let mut batch = cache.batch_mut();
    batch.insert(1, 4_711).remove(2);
    assert_shows(&batch, "BatchMut { writes: 2, .. }");
    batch.commit();
    cache.derive(3, |scope| {
        assert_shows(scope, "Scope { .. }");
        4_711
    });
    let done = cache.transact(|tx| {
        assert_eq!(tx.version(), cache.version(), "it reads the newest version");
        tx.insert(4, 4_711);
        assert_shows(tx, "Transaction { writes: 1, .. }");
        Ok::<_, ()>(tx.version())
    });
    let done = done.unwrap();
    assert!(done.value < done.version);
    assert_shows(&cache.entry(7), "KeyEntry { key: 7, .. }");
    assert_shows(&cache.downgrade(), "WeakCache { .. }");
    assert_shows(&cache.timeline(), "Timeline { is_recording: false, .. }");
    cache.timeline().start();
    assert_shows(&cache.timeline(), "Timeline { is_recording: true, .. }");
    let changed = cache.reconfigure(|settings| {
        settings.time_to_live(Duration::from_secs(1));
        assert_shows(settings, "Settings { changes: 1, .. }");
    });
    assert_eq!(changed, Ok(()));
    let related = |_: &u64, related: &mut Related<u64, u64>| {
        related.invalidate(2);
        assert_shows(related, "Related { writes: 1, .. }");
    };
    let linked = Cache::builder().related(related).build();
    linked.insert(1, 4_711);
}

#[test]
fn a_timeline_that_was_stopped_records_no_more() {
    let cache: Cache<u64, u64> = Cache::new();
    let timeline = cache.timeline();
    timeline.start();
    cache.insert(1, 1);
    let recorded = timeline.events().len();
    assert!(recorded > 0 && timeline.is_recording());
    timeline.stop();
    cache.insert(1, 2);
    cache.get(&1);
    assert_eq!((timeline.events().len(), timeline.is_recording()), (recorded, false));
    timeline.start();
    while timeline.overwritten() == 0 {
        cache.insert(1, 3);
    }
    assert!(timeline.to_string().starts_with("1 older event was overwritten\n"));
}

#[test]
fn settings_are_told_as_they_are() {
    let second = Duration::from_secs(1);
    let builder = Cache::<u64, u64>::builder().max_capacity(7).time_to_live(9 * second);
    let cache = builder.time_to_idle(3 * second).refresh_after(second).build();
    let policy = cache.policy();
    assert_eq!(policy.max_capacity(), Some(7));
    assert_eq!(policy.time_to_live(), Some(9 * second));
    assert_eq!(policy.time_to_idle(), Some(3 * second));
    assert_eq!(policy.refresh_after(), Some(second));
}

/// Iterators show the version and not the entries.
#[test]
fn iterators_print_their_view() {
    let cache: Cache<u64, u64> = [(1, 4_711)].into_iter().collect();
    let view = cache.view();
    let shown = format!("view: View {{ version: {:?}, age: ", view.version());
    let check = |iter: &dyn Debug, name: &str| {
        let text = format!("{iter:?}");
        assert!(text.starts_with(&format!("{name}{shown}")) && !text.contains("4711"), "{text}");
    };
    check(&view.iter(), "Iter { ");
    check(&cache.iter(), "OwnedIter { ");
    check(&cache.keys(), "OwnedKeys { ");
    check(&cache.values(), "OwnedValues { ");
    check(&view.keys(), "Keys(Iter { ");
    check(&view.values(), "Values(Iter { ");
    assert_eq!(cache.keys().version(), view.version());
}

#[test]
fn domains_print_how_many_caches_they_join() {
    let domain = Domain::default();
    let builder = Cache::<u64, u64>::builder().domain(&domain);
    assert!(format!("{builder:?}").starts_with("DomainBuilder { builder: Builder"));
    let cache = builder.build();
    let version = cache.insert(1, 4_711);
    assert_shows(&domain, &format!("Domain {{ version: {version:?}, .. }}"));
    let mut batch = domain.batch();
    let mut part = batch.of(&cache).unwrap();
    assert_shows(part.insert(2, 4_711).remove(3), "BatchPart { writes: 2, .. }");
    assert_shows(&batch, "DomainBatch { caches: 1, .. }");
    let shown = format!("{:?}", domain.view());
    assert_eq!(shown, format!("DomainView {{ version: {version:?}, caches: 1 }}"));
    let done = domain.transact(|tx| {
        let mut part = tx.of(&cache)?;
        part.remove(1);
        assert_shows(&part, "TransactionPart { writes: 1, .. }");
        let shown = format!("DomainTransaction {{ version: {version:?}, caches: 1, .. }}");
        assert_shows(tx, &shown);
        Ok::<_, ForeignCache>(())
    });
    assert!(done.is_ok());
}

#[test]
fn tags_are_shown_as_they_are_named() {
    let (number, text) = (Tag::from(7), Tag::from("a \"b\""));
    assert_eq!((number.to_string(), text.to_string()), ("7".to_owned(), "a \"b\"".to_owned()));
    assert_eq!(format!("{number:?} {text:?}"), r#"Tag(7) Tag("a \"b\"")"#);
}

#[test]
fn refused_values_are_not_printed() {
    let cache: Cache<u64, u64> = Cache::new();
    let absent = cache.compare_and_set(1, Some(cache.version()), 4_711).unwrap_err();
    assert_shows(&absent, "Absent { .. }");
    assert!(absent.to_string().contains("absent now"), "{absent}");
    cache.insert(1, 1);
    let changed = cache.compare_and_set(1, None, 4_711).unwrap_err();
    assert!(format!("{changed:?}").starts_with("Changed { found: "), "{changed:?}");
    let Conflict::Changed { value, .. } = changed else { panic!("{changed:?}") };
    assert_shows(&value, "Returned(..)");

    let lease = cache.lease(&1);
    cache.insert(1, 2);
    let outdated = lease.fill(4_711).unwrap_err();
    assert_shows(&outdated, "Outdated(..)");
    assert!(outdated.to_string().contains("take another lease"), "{outdated}");

    let foreign = Domain::new().batch().remove(&cache, 4_711).map(drop).unwrap_err();
    assert_shows(&foreign, "ForeignCache(..)");
    assert!(foreign.to_string().contains("not of this domain"), "{foreign}");
    assert_eq!(foreign.into_inner(), 4_711);
}

#[test]
fn refused_settings_are_named() {
    let never = Duration::ZERO;
    let refused = |builder: Builder<u64, u64>| builder.try_build().map(drop).unwrap_err();
    let new = Cache::builder;
    let all = [
        (refused(new().refresh_after(never)), "refresh_after(0)"),
        (refused(new().load_timeout(never)), "load_timeout(0)"),
        (refused(new().time_to_live(never)), "time_to_live(0)"),
        (refused(new().time_to_idle(never)), "time_to_idle(0)"),
        (refused(new().initial_capacity(usize::MAX)), "initial_capacity(18446744073709551615)"),
    ];
    for (error, name) in all {
        assert!(error.to_string().starts_with(name), "{error}");
    }
}

/// The source of an error that a boxed error wraps. An error that is not boxed is not its own source.
#[test]
fn a_boxed_error_passes_on_its_source() {
    type Boxed = Box<dyn Error + Send + Sync>;
    fn io() -> io::Error {
        io::Error::other(Inner)
    }
    #[derive(Debug)]
    struct Inner;
    impl std::fmt::Display for Inner {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("inner")
        }
    }
    impl Error for Inner {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&Root)
        }
    }
    #[derive(Debug)]
    struct Root;
    impl std::fmt::Display for Root {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("root")
        }
    }
    impl Error for Root {}
    fn root(error: &dyn Error) -> Option<String> {
        error.source().map(ToString::to_string)
    }

    let root_name = Some("root".to_owned());
    assert_eq!(root(&LoadError::Failed(Boxed::from(io()))), root_name);
    assert_eq!(
        root(&LoadError::Failed(Arc::<dyn Error + Send + Sync>::from(Boxed::from(io())))),
        root_name
    );
    assert_eq!(root(&LoadError::Failed(Box::<dyn Error>::from(io()))), root_name);
    assert_eq!(root(&LoadError::Failed(io())), None);
    assert_eq!(root(&LoadError::<Boxed>::Cycle), None);
    let aborted = TransactError::Aborted(Boxed::from(io()));
    assert_eq!(root(&aborted), root_name);
    assert_eq!(format!("{aborted:#}"), "the transaction was aborted: inner");
    assert_eq!(root(&TransactError::<Boxed>::Conflict), None);
}
