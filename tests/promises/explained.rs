//! Promise: `explain` says of a key whether it is present, why not, and what it depends on, all as
//! of one instant.

use crate::common::{Store, on_every_reclaimer, stress};
use coeval::reclaim::Reclaim;
use coeval::{ManualClock, RemovalCause, Standing, Tag, Terms, Version};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

type Cache<R> = Store<u64, u64, R>;

const SECOND: Duration = Duration::from_secs(1);

fn cache<R: Reclaim>() -> (ManualClock, Cache<R>) {
    let clock = ManualClock::new();
    let cache = coeval::Cache::builder().manual_clock(&clock).reclaimer::<R>().build();
    (clock, cache)
}

fn why_a_key_is_absent<R: Reclaim>() {
    let (clock, cache) = cache::<R>();
    let standing = |key| cache.explain(&key).standing;
    assert_eq!(standing(1), Standing::Unknown);
    let written = cache.insert(1, 1);
    assert_eq!((standing(1), cache.explain(&1).written), (Standing::Present, Some(written)));
    let view = cache.view();
    cache.remove(&1);
    let by = cache.version();
    assert_eq!(standing(1), Standing::Removed { by, cause: None });
    assert!(view.explain(&1).is_present(), "as of the view");

    cache.insert_with_ttl(2, 2, SECOND * 10);
    clock.advance(SECOND * 4);
    assert_eq!(cache.explain(&2).time_left, Some(SECOND * 6));
    clock.advance(SECOND * 8);
    assert_eq!(standing(2), Standing::Expired { since: SECOND * 2 });

    let (first, second) = (Tag::from("first"), Tag::from(2));
    let written = cache.insert_tagged(3, 3, &[first.clone(), second.clone()]);
    let by = cache.invalidate_tag(second.clone());
    let explained = cache.explain(&3);
    assert_eq!(explained.standing, Standing::EndedByTag { tag: second.clone(), by });
    let ended = explained.tags.iter().map(|tag| (&tag.tag, tag.since, tag.ended_by));
    let mut ended: Vec<_> = ended.collect();
    ended.sort_by_key(|(.., ended)| *ended);
    assert_eq!(ended, [(&first, written, None), (&second, written, Some(by))]);

    cache.insert(4, 4);
    let by = cache.invalidate_all();
    assert_eq!(standing(4), Standing::Cleared { by });
    assert_eq!((cache.stats().hits, cache.stats().misses), (0, 0));
}

fn inputs_through_all_levels<R: Reclaim>() {
    let (_, cache) = cache::<R>();
    let one = cache.insert(1, 10);
    cache.derive(2, |scope| scope.get(&1).unwrap() + scope.get(&9).unwrap_or(0));
    cache.derive(3, |scope| scope.get(&2).unwrap() + 1);
    let explained = cache.explain(&3);
    assert!(explained.is_present() && explained.inputs.iter().all(|input| input.holds()));
    let inputs = || {
        let explained = cache.explain(&3);
        let mut inputs: Vec<_> =
            explained.inputs.iter().map(|input| (input.level, input.key)).collect();
        inputs.sort_unstable();
        let changed = explained.inputs.into_iter().filter(|input| !input.holds());
        (inputs, changed.map(|input| (input.key, input.used, input.now)).collect::<Vec<_>>())
    };
    let all = vec![(1, 2), (2, 1), (2, 9)];
    assert_eq!(inputs(), (all.clone(), vec![]));
    let nine = cache.insert(9, 5);
    assert_eq!(cache.explain(&3).standing, Standing::EndedByInput);
    let (again, mut changed) = inputs();
    changed.sort_unstable();
    assert_eq!((again, changed.len()), (all, 2));
    assert_eq!((changed[0].0, changed[0].2), (2, None), "it has ended itself");
    assert_eq!(changed[1], (9, None, Some(nine)));
    cache.remove(&1);
    let (_, changed) = inputs();
    assert!(changed.contains(&(1, Some(one), None)));
    let text = cache.explain(&3).to_string();
    assert!(text.contains("what it was derived from has changed"), "{text}");
    assert!(text.contains("level 2: 9 used as absent, CHANGED: now v"), "{text}");
}

fn related_entries<R: Reclaim>() {
    let related = |key: &u64, related: &mut coeval::Related<u64, u64>| {
        if *key == 1 {
            related.insert(2, 20);
            related.invalidate(3);
        }
    };
    let cache: Cache<R> = coeval::Cache::builder().related(related).reclaimer().build();
    cache.insert(3, 3);
    let version = cache.insert(1, 1);
    let explained = cache.explain(&1);
    let found: Vec<_> =
        explained.related.iter().map(|found| (found.key, found.version, found.is_older)).collect();
    assert_eq!(found, [(2, Some(version), false), (3, None, false)]);
    assert!(explained.belongs_together());
    // A load follows no relations.
    let filled = cache.remove(&1).map(|_| cache.lease(&1).fill(7).unwrap());
    let explained = cache.explain(&1);
    assert_eq!((explained.written, explained.belongs_together()), (filled, false));
    assert!(explained.to_string().contains("related   2: v2, OLDER than the key"), "{explained}");
    cache.remove(&1);
    assert!(cache.explain(&1).belongs_together(), "an absent key has no age");
}

fn terms_and_events<R: Reclaim>() {
    let clock = ManualClock::new();
    let builder = coeval::Cache::builder().weigher(|_, _| 2).manual_clock(&clock);
    let cache: Cache<R> = builder.reclaimer().build();
    cache.timeline().start();
    let terms = Terms::new().refresh_after(SECOND).time_to_live(SECOND * 9).weight(5);
    let version = cache.batch().insert_with(7, 7, terms).commit();
    cache.get(&7);
    let explained = cache.explain(&7);
    assert_eq!((explained.weight, explained.refresh_in), (5, Some(SECOND)));
    assert_eq!((explained.time_left, explained.as_of), (Some(SECOND * 9), version));
    assert!(explained.events.len() >= 2, "{explained}");
    assert!(explained.events.iter().all(|event| event.key == Some(explained.key_hash)));
    clock.advance(SECOND * 9);
    let view = cache.view();
    cache.maintain(100);
    match cache.explain(&7).standing {
        Standing::Removed { cause, .. } => assert_eq!(cause, Some(RemovalCause::Expired)),
        other => assert!(matches!(other, Standing::Expired { .. } | Standing::Unknown)),
    }
    drop(view);
    assert_eq!(cache.explain(&8).to_string().lines().count(), 2);
}

/// Whatever writers do, what is explained belongs to one instant.
fn explanations_among_writers<R: Reclaim>() {
    let (_, cache) = cache::<R>();
    let (stop, rounds) = (AtomicBool::new(false), stress(300, 3_000, 30_000));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                cache.insert(1, round);
                cache.derive(2, |scope| scope.get(&1).unwrap() + 1);
                cache.insert_tagged(3, round, &["tag".into()]);
                if round % 3 == 0 {
                    cache.invalidate_tag("tag");
                }
                if round % 50 == 0 {
                    cache.invalidate_all();
                }
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        for _ in 0..rounds {
            let view = cache.view();
            for key in 1..4 {
                let explained = view.explain(&key);
                assert_eq!(explained.is_present(), view.contains_key(&key), "{explained}");
                assert_eq!(explained.as_of, view.version());
                assert!(explained.written.is_none_or(|written| written <= view.version()));
                let holds = explained.inputs.iter().all(|input| input.holds());
                let tagged = explained.tags.iter().all(|tag| tag.ended_by.is_none());
                assert!(!explained.is_present() || (holds && tagged), "{explained}");
                if explained.standing == Standing::EndedByInput {
                    assert!(!holds, "{explained}");
                }
                assert!(explained.tags.iter().all(|tag| tag.since > Version::default()));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// An explanation is of a bounded length.
fn of_many_inputs<R: Reclaim>() {
    let (_, cache) = cache::<R>();
    cache.derive(5_000, |scope| (0..1_200).filter_map(|key| scope.get(&key)).sum());
    let explained = cache.explain(&5_000);
    assert!(explained.is_present());
    assert_eq!(explained.inputs.len(), 1_000);
}

/// What people read.
fn each_standing_has_its_words<R: Reclaim>() {
    let clock = ManualClock::new();
    let builder = coeval::Cache::builder().max_capacity(1).manual_clock(&clock);
    let cache: Cache<R> = builder.reclaimer().build();
    let line =
        |key: u64, n: usize| cache.explain(&key).to_string().lines().nth(n).map(str::to_owned);
    let value = |key| line(key, 1).unwrap().split_once("value     ").unwrap().1.to_owned();
    assert_eq!(value(1), "absent: the cache knows nothing of it");
    let tag = Tag::from("people");
    let terms = || Terms::new().refresh_after(SECOND).time_to_live(SECOND * 9).tags(["people"]);
    let version = cache.batch().insert_with(1, 1, terms()).commit();
    assert_eq!(value(1), "present");
    assert_eq!(line(1, 3).unwrap(), "kept      for 9.0s if it is not used");
    assert_eq!(line(1, 4).unwrap(), "reload    due in 1.0s");
    assert_eq!(line(1, 5).unwrap(), format!("tag       people since {version}"));
    let view = cache.view();
    let by = cache.invalidate_tag(tag);
    assert_eq!(value(1), format!("absent: {by} invalidated its tag people"));
    assert!(cache.explain(&1).to_string().ends_with(&format!(", invalidated by {by}")));
    cache.batch().insert_with(1, 2, terms()).commit();
    clock.advance(SECOND * 11);
    assert_eq!(value(1), "absent: expired 2.0s ago");
    cache.insert(1, 3);
    cache.remove(&1);
    assert_eq!(value(1), format!("absent: removed by {}", cache.version()));
    cache.insert(1, 4);
    let by = cache.invalidate_all();
    assert_eq!(value(1), format!("absent: {by} cleared everything"));

    // The recorder knows the cause.
    cache.timeline().start();
    let kept = cache.view();
    for key in 10..40 {
        cache.insert(key, key);
    }
    let evicted = (10..40).find(|key| !cache.contains_key(key)).expect("one at most is kept");
    let words = value(evicted);
    assert!(words.ends_with("cause: size"), "{words}");
    drop((view, kept));
    let shown = cache.explain(&evicted).map_keys(|key| format!("user {key}"));
    assert_eq!(shown.key, format!("user {evicted}"));
    assert_eq!(shown.key_hash, cache.explain(&evicted).key_hash);
}

on_every_reclaimer! {
    each_standing_has_its_words,
    of_many_inputs,
    why_a_key_is_absent,
    inputs_through_all_levels,
    related_entries,
    terms_and_events,
    explanations_among_writers,
}
