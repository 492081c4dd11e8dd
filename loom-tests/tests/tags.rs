//! Claim: the commit that invalidates a tag ends all that was written before it and nothing else, for all who look at one
//! instant together; what was read from the source before it is given to nobody who comes after it; and a tag's cell that
//! nobody holds goes without anybody's hold being lost.
//!
//! The whole cache, on the asymmetric backend.
#![cfg(coeval_loom)]

use coeval::Tag;
use coeval::internals::hook::with_one_order;
use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use loom::thread;
use loom_tests::{Hash, Small, advance, explore, must_fail};
use std::sync::Arc;

fn tag() -> [Tag; 1] {
    [Tag::from(7)]
}

fn cache() -> Arc<Small> {
    Arc::new(coeval::Cache::builder().hasher(Hash).build())
}

fn spawn<T: 'static>(
    cache: &Arc<Small>,
    run: impl FnOnce(&Small) -> T + 'static,
) -> thread::JoinHandle<T> {
    let cache = Arc::clone(cache);
    thread::spawn(move || run(&cache))
}

fn a_write_and_an_invalidation() {
    explore(2, || {
        let cache = cache();
        let writer = spawn(&cache, |cache| cache.insert_tagged(0, 1, &tag()));
        let other = spawn(&cache, |cache| cache.invalidate_tag(7));
        let (written, ended) = (writer.join().unwrap(), other.join().unwrap());
        assert_eq!(cache.get(&0).is_some(), written > ended, "{written} beside {ended}");
    });
}

#[test]
fn a_write_beside_an_invalidation() {
    a_write_and_an_invalidation();
}

#[test]
fn defect_looking_for_who_has_it_only_before_the_number() {
    must_fail("tag.look_once", "beside", a_write_and_an_invalidation);
}

/// Keys 0 and 1 have the tag.
fn both_or_none(look: fn(&Small) -> [Option<u32>; 2]) {
    explore(2, move || {
        let cache = cache();
        cache.insert_tagged(0, 1, &tag());
        cache.insert_tagged(1, 1, &tag());
        let other = spawn(&cache, |cache| cache.invalidate_tag(7));
        let reader = spawn(&cache, move |cache| {
            let found = look(cache);
            assert_eq!(found[0], found[1], "one of two that go at once");
            let later = look(cache);
            assert!(found[0].is_some() || later[0].is_none(), "back again");
        });
        other.join().unwrap();
        reader.join().unwrap();
        assert_eq!(look(&cache), [None, None]);
    });
}

#[test]
fn several_keys_beside_an_invalidation() {
    both_or_none(|cache| cache.get_many([&0, &1]));
}

#[test]
fn a_view_beside_an_invalidation() {
    both_or_none(|cache| {
        let view = cache.view();
        [view.get(&0).copied(), view.get(&1).copied()]
    });
}

/// Key 0 is set anew, without the tag, and then that is invalidated: it is never absent.
fn a_replacement_before_the_end() {
    explore(2, || {
        let cache = cache();
        cache.invalidate_all(); // From now on look-ups go the long way.
        cache.insert_tagged(0, 1, &tag());
        let writer = spawn(&cache, |cache| {
            cache.insert(0, 2);
            cache.invalidate_tag(7);
        });
        let reader = spawn(&cache, |cache| {
            assert!(cache.get(&0).is_some(), "absent, though it never was");
        });
        writer.join().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn what_is_replaced_before_it_ends_is_never_absent() {
    a_replacement_before_the_end();
}

#[test]
fn defect_taking_what_has_ended_for_absent() {
    must_fail("present.ended_is_absent", "though it never was", a_replacement_before_the_end);
}

/// One loads key 0 while another changes the source, invalidates its tag, and wants it.
fn a_load_beside_an_invalidation() {
    with_one_order(|| {
        explore(2, || {
            let cache = cache();
            let source = Arc::new(AtomicU32::new(1));
            cache.insert_tagged(0, 0, &tag());
            cache.invalidate_tag(7);
            let loader = {
                let source = Arc::clone(&source);
                spawn(&cache, move |cache| cache.get_with(0, || source.load(Relaxed)))
            };
            let changer = {
                let source = Arc::clone(&source);
                spawn(&cache, move |cache| {
                    source.store(2, Relaxed);
                    cache.invalidate_tag(7);
                    let wanted = cache.get_with(0, || source.load(Relaxed));
                    assert_eq!(wanted, 2, "what was loaded before the change is given after it");
                })
            };
            loader.join().unwrap();
            changer.join().unwrap();
            assert_eq!(cache.get(&0), Some(2));
        });
    });
}

#[test]
fn who_comes_after_an_invalidation_gets_what_was_loaded_after_it() {
    a_load_beside_an_invalidation();
}

#[test]
fn defect_sharing_what_has_ended_by_its_commit() {
    must_fail("fill.unchecked", "what was loaded before", a_load_beside_an_invalidation);
}

/// Nobody has the tag any more, and its cell is to go in so many turns; beside those somebody sets another key
/// with it.
fn the_end_of_a_cell(before: usize) {
    explore(2, move || {
        let cache = cache();
        let other = spawn(&cache.clone(), move |_| {
            cache.insert_tagged(0, 1, &tag());
            cache.remove(&0);
            advance(&cache, before);
            let writer = spawn(&cache, |cache| cache.insert_tagged(1, 2, &tag()));
            advance(&cache, 2);
            writer.join().unwrap();
            assert_eq!(cache.get(&1), Some(2));
            cache.invalidate_tag(7);
            assert_eq!(cache.get(&1), None, "the invalidation found another cell");
        });
        other.join().unwrap();
    });
}

/// At each turn until it has gone.
fn the_ends_of_a_cell() {
    with_one_order(|| (2..9).for_each(the_end_of_a_cell));
}

#[test]
fn a_write_beside_the_end_of_the_cell() {
    the_ends_of_a_cell();
}

#[test]
fn defect_finding_a_cell_without_reviving_it() {
    must_fail("tag.no_revive", "another cell", the_ends_of_a_cell);
}

#[test]
fn defect_sealing_whoever_has_come_upon_it() {
    must_fail("tag.seal_blindly", "another cell", the_ends_of_a_cell);
}
