//! Claim: the commit that invalidates a tag ends all tagged values that were written before it and
//! nothing else, for all readers of one instant together. A value that was read from the source
//! before the commit is not given to a caller that comes after it. A cell of a tag that nothing
//! holds is freed, and no hold is lost by that.
//!
//! The models run the whole cache, on the asymmetric backend.
#![cfg(any(coeval_loom, coeval_internals))]

use coeval::{Loaded, Tag};
use loom_tests::loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use loom_tests::loom::thread;
use loom_tests::with_one_order;
use loom_tests::{Hash, Scheme, Small, advance, explore, must_fail};
use std::sync::Arc;

fn tag() -> [Tag; 1] {
    [Tag::from(7)]
}

fn cache() -> Arc<Small> {
    Arc::new(coeval::Cache::builder().hasher(Hash).reclaimer::<Scheme>().build())
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
fn defect_looking_for_tagged_entries_only_before_the_number() {
    must_fail("tag.look_once", "beside", a_write_and_an_invalidation);
}

/// Keys 0 and 1 have the tag. A look-up finds both or neither.
fn both_or_none(look: fn(&Small) -> [Option<u32>; 2]) {
    explore(2, move || {
        let cache = cache();
        cache.insert_tagged(0, 1, &tag());
        cache.insert_tagged(1, 1, &tag());
        let other = spawn(&cache, |cache| cache.invalidate_tag(7));
        let reader = spawn(&cache, move |cache| {
            let found = look(cache);
            assert_eq!(found[0], found[1], "one of two values that end together");
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

/// Key 0 is set anew, without the tag, and then the tag is invalidated. The key is never absent.
fn a_replacement_before_the_end() {
    explore(2, || {
        let cache = cache();
        cache.invalidate_all(); // From now on, look-ups take the long path.
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
fn a_key_replaced_before_its_value_ends_is_never_absent() {
    a_replacement_before_the_end();
}

#[test]
fn defect_treating_an_ended_value_as_absent() {
    must_fail("present.ended_is_absent", "though it never was", a_replacement_before_the_end);
}

/// One thread loads key 0. Another changes the source, invalidates the tag, and wants the key.
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
                    assert_eq!(wanted, 2, "a value loaded before the change is returned after it");
                })
            };
            loader.join().unwrap();
            changer.join().unwrap();
            assert_eq!(cache.get(&0), Some(2));
        });
    });
}

#[test]
fn a_caller_after_an_invalidation_gets_a_value_loaded_after_it() {
    a_load_beside_an_invalidation();
}

#[test]
fn defect_sharing_a_value_that_has_ended() {
    must_fail("fill.unchecked", "a value loaded before", a_load_beside_an_invalidation);
}

/// No entry has the tag any more, and its cell ends within so many turns. At the same time, another
/// thread sets a key with the tag.
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

/// The same at each turn until the cell has gone. On real threads, it goes at once.
fn the_ends_of_a_cell() {
    let turns = if cfg!(coeval_loom) { 2..9 } else { 0..2 };
    with_one_order(|| turns.clone().for_each(the_end_of_a_cell));
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
fn defect_sealing_a_cell_that_was_found() {
    must_fail("tag.seal_blindly", "another cell", the_ends_of_a_cell);
}

/// No entry has the tag when a load of its first one begins. Whoever changes the source invalidates
/// the tag afterwards. Then no value that was read before is in the cache.
fn a_first_load_and_an_invalidation() {
    explore(2, || {
        let (cache, source) = (cache(), Arc::new(AtomicU32::new(1)));
        let read = Arc::clone(&source);
        let loader = spawn(&cache, move |cache| {
            cache.get_with_terms(0, || Loaded::new(read.load(Relaxed)).tags(tag()))
        });
        source.store(2, Relaxed);
        cache.invalidate_tag(7);
        loader.join().unwrap();
        assert_ne!(cache.get(&0), Some(1), "an old value with a new tag");
    });
}

#[test]
fn a_first_load_beside_an_invalidation() {
    a_first_load_and_an_invalidation();
}

#[test]
fn defect_an_invalidation_leaves_no_mark() {
    must_fail("tag.unmarked", "an old value with a new tag", a_first_load_and_an_invalidation);
}
