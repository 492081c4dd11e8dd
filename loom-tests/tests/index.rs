//! Claims about the index: a key has one living entry, regardless of concurrent insertion and
//! growth; a key that is present is never missed; an entry that was sealed and unlinked does not
//! come back.
//!
//! In the models' build a bucket has two slots and the first table has one bucket, so the third key
//! makes the table grow.
#![cfg(any(coeval_loom, coeval_internals))]

use coeval::internals::hook;
use coeval::internals::index::{Index, Indexed, Memory};
use coeval::internals::reclaim::{Garbage, Reclaim};
use loom_tests::loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};
use loom_tests::loom::thread;
use loom_tests::{explore_steps as explore, must_fail};
use std::num::NonZeroU32;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard};

const LIVING: u32 = 0;
const CONDEMNED: u32 = 1;
const SEALED: u32 = 2;

struct Item {
    key: u32,
    state: AtomicU32,
}

/// The fingerprint in the high byte, the home in the low bits.
fn hash(key: u32) -> u32 {
    (key + 1) << 24 | key
}

/// All items of an index, numbered from 1 on. They are freed at the end.
#[derive(Default)]
struct Items(Mutex<Vec<NonNull<Item>>>);

impl Memory<Item> for Items {
    fn number(&self, item: NonNull<Item>) -> NonZeroU32 {
        let place = self.0.lock().unwrap().iter().position(|other| *other == item).unwrap();
        NonZeroU32::new(place as u32 + 1).unwrap()
    }

    fn entry(&self, number: NonZeroU32) -> *const Item {
        self.0.lock().unwrap()[number.get() as usize - 1].as_ptr()
    }
}

impl Indexed for Item {
    type Memory = Items;

    const READ: usize = size_of::<Self>();

    fn hash(&self) -> u32 {
        hash(self.key)
    }

    fn revive(&self) -> bool {
        match self.state.compare_exchange(CONDEMNED, LIVING, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(state) => state == LIVING,
        }
    }

    fn is_sealed(&self) -> bool {
        self.state.load(Ordering::Acquire) == SEALED
    }
}

/// Counts guards, and reclaims when the model ends. `SEEN` says whether guards are counted at all;
/// a model that does not need the count is smaller without it.
struct Scheme<const SEEN: bool> {
    guards: AtomicUsize,
    retired: Mutex<Vec<Garbage>>,
}

// SAFETY: what the index retires is a table; any thread may free it.
unsafe impl<const SEEN: bool> Send for Scheme<SEEN> {}
// SAFETY: as above.
unsafe impl<const SEEN: bool> Sync for Scheme<SEEN> {}

struct Guard<'a, const SEEN: bool>(&'a Scheme<SEEN>);

impl<const SEEN: bool> Drop for Guard<'_, SEEN> {
    fn drop(&mut self) {
        if SEEN {
            self.0.guards.fetch_sub(1, Ordering::Release); // Pairs with `no_thread_is_pinned`.
        }
    }
}

impl<const SEEN: bool> Scheme<SEEN> {
    /// Whether a grace period that began before this call is over.
    fn no_thread_is_pinned(&self) -> bool {
        fence(Ordering::SeqCst); // Pairs with the fence in `pin`.
        self.guards.load(Ordering::Acquire) == 0
    }
}

// SAFETY: nothing is reclaimed before the model's threads have ended.
unsafe impl<const SEEN: bool> Reclaim for Scheme<SEEN> {
    type Guard<'a> = Guard<'a, SEEN>;

    fn new() -> Self {
        Self { guards: AtomicUsize::new(0), retired: Mutex::default() }
    }

    fn pin(&self) -> Guard<'_, SEEN> {
        if SEEN {
            self.guards.fetch_add(1, Ordering::Relaxed);
            fence(Ordering::SeqCst); // Pairs with the fence in `no_thread_is_pinned`.
        }
        Guard(self)
    }

    unsafe fn retire(&self, _: &Guard<'_, SEEN>, garbage: Garbage) {
        self.retired.lock().unwrap().push(garbage);
    }

    fn collect(&self) {}

    unsafe fn drain(&self) {
        for garbage in self.retired.lock().unwrap().drain(..) {
            // SAFETY: the threads have ended.
            unsafe { (garbage.reclaim)(garbage.object, garbage.context) };
        }
    }

    fn retired(&self) -> usize {
        self.retired.lock().unwrap().len()
    }
}

struct Scene<const SEEN: bool> {
    index: Index<Item, Scheme<SEEN>>,
    scheme: Scheme<SEEN>,
}

// SAFETY: items are shared by reference only, until the threads have ended.
unsafe impl<const SEEN: bool> Send for Scene<SEEN> {}
// SAFETY: as above.
unsafe impl<const SEEN: bool> Sync for Scene<SEEN> {}

impl<const SEEN: bool> Scene<SEEN> {
    /// An index of the smallest size with these keys.
    fn with(keys: &[u32]) -> Arc<Self> {
        Self::with_room(0, keys)
    }

    /// An index with room for so many keys, and with these keys.
    fn with_room(entries: usize, keys: &[u32]) -> Arc<Self> {
        let index = Index::with_capacity(entries, Items::default());
        let scene = Arc::new(Self { index, scheme: Scheme::new() });
        for &key in keys {
            assert!(scene.insert(key));
        }
        scene
    }

    fn items(&self) -> MutexGuard<'_, Vec<NonNull<Item>>> {
        self.index.memory().0.lock().unwrap()
    }

    fn item(&self, key: u32) -> NonNull<Item> {
        let item = Box::new(Item { key, state: AtomicU32::new(LIVING) });
        let item = NonNull::from(Box::leak(item));
        self.items().push(item);
        item
    }

    fn insert(&self, key: u32) -> bool {
        hook::step("model.insert");
        let (item, guard) = (self.item(key), self.scheme.pin());
        // SAFETY: freed when the threads have ended.
        let inserted = unsafe {
            self.index.insert(&self.scheme, &guard, hash(key), item, |there| there.key == key)
        };
        inserted.is_ok()
    }

    /// Inserts a key as a write does: looks first, and inserts into the bucket that it has
    /// searched.
    fn look_and_insert(&self, key: u32) -> bool {
        hook::step("model.look");
        let (item, guard) = (self.item(key), self.scheme.pin());
        let same = |there: &Item| there.key == key;
        let Err(vacancy) = self.index.find_or_vacancy(&guard, hash(key), same) else {
            return false;
        };
        // SAFETY: freed when the threads have ended.
        unsafe {
            let at_once = |vacancy| self.index.insert_into(&guard, vacancy, item);
            vacancy.is_some_and(at_once)
                || self.index.insert(&self.scheme, &guard, hash(key), item, same).is_ok()
        }
    }

    /// Inserts the third key, by which the table grows. The tables of other builds are larger, so
    /// there they grow by request.
    fn insert_third(&self, key: u32) -> bool {
        if !cfg!(coeval_loom) {
            self.index.begin_growth(&self.scheme.pin());
        }
        self.insert(key)
    }

    fn assist(&self) {
        hook::step("model.assist");
        self.index.assist(&self.scheme, &self.scheme.pin());
    }

    fn contains(&self, key: u32) -> bool {
        hook::step("model.contains");
        let guard = self.scheme.pin();
        self.index.find(&guard, hash(key), |item| item.key == key).is_some()
    }

    /// The keys of the entries in the index, sorted.
    fn keys(&self) -> Vec<u32> {
        hook::step("model.keys");
        let guard = self.scheme.pin();
        let all = self.index.all_entries(&guard);
        let mut keys: Vec<u32> = all.into_iter().map(|item| item.key).collect();
        keys.sort_unstable();
        keys
    }
}

impl<const SEEN: bool> Drop for Scene<SEEN> {
    fn drop(&mut self) {
        // SAFETY: the threads have ended; each item was made from a box and is here once.
        unsafe {
            self.scheme.drain();
            for item in self.items().drain(..) {
                drop(Box::from_raw(item.as_ptr()));
            }
        }
    }
}

type Unseen = Scene<false>;

/// What loom reports when a reader reaches an entry whose creation does not happen before the read.
const UNSEEN: &str = "Concurrent load and mut accesses";

/// Two threads insert one key. One of them wins, and the other meets the winner's entry.
fn two_insert_one_key() {
    explore(4, || {
        let scene = Unseen::with(&[]);
        let other = {
            let scene = scene.clone();
            thread::spawn(move || scene.insert(4))
        };
        let mine = scene.insert(4);
        assert!(scene.contains(4));
        assert!(mine != other.join().unwrap(), "both inserted the key, or neither");
        assert_eq!(scene.keys(), [4]);
    });
}

/// One slot is left for two keys. One of the insertions makes the table grow, and both keys are
/// present afterwards.
fn two_insert_into_one_slot() {
    explore(3, || {
        let scene = Unseen::with(&[0]);
        let other = {
            let scene = scene.clone();
            thread::spawn(move || assert!(scene.insert_third(1)))
        };
        assert!(scene.insert(2));
        assert!(scene.contains(0) && scene.contains(2));
        other.join().unwrap();
        assert_eq!(scene.keys(), [0, 1, 2]);
    });
}

/// The same, if the threads look first.
fn two_look_and_insert_one_key() {
    explore(4, || {
        let scene = Unseen::with(&[]);
        let other = {
            let scene = scene.clone();
            thread::spawn(move || scene.look_and_insert(4))
        };
        let mine = scene.look_and_insert(4);
        assert!(scene.contains(4));
        assert!(mine != other.join().unwrap(), "both inserted the key, or neither");
        assert_eq!(scene.keys(), [4]);
    });
}

/// Two threads look for one key and insert it. Its home bucket has overflowed, so they insert into
/// the next one.
fn two_look_and_insert_behind_a_full_bucket() {
    // So many keys do not fit into a bucket, and the table is not crowded when one has overflowed.
    let (keys, room) = if cfg!(coeval_loom) { (3, 8) } else { (7, 64) };
    explore(4, move || {
        let keys: Vec<u32> = (0..keys).map(|number| 64 * number).collect();
        let scene = Unseen::with_room(room, &keys);
        let other = {
            let scene = scene.clone();
            thread::spawn(move || scene.look_and_insert(640))
        };
        let mine = scene.look_and_insert(640);
        assert!(mine != other.join().unwrap(), "both inserted the key, or neither");
        assert!(scene.contains(640));
    });
}

/// A thread looks and inserts into the last slot, which another thread wants as well, or while the
/// table is moved.
fn one_looks_and_inserts_beside_growth() {
    explore(2, || {
        let scene = Unseen::with(&[0]);
        let other = {
            let scene = scene.clone();
            thread::spawn(move || assert!(scene.insert_third(1)))
        };
        assert!(scene.look_and_insert(2));
        assert!(scene.contains(0) && scene.contains(2));
        other.join().unwrap();
        assert_eq!(scene.keys(), [0, 1, 2]);
    });
}

/// A table grows while another thread inserts a key that is already present, and reads.
fn growth_beside_an_insert_of_a_present_key() {
    explore(2, || {
        let scene = Unseen::with(&[0, 1]);
        let grower = {
            let scene = scene.clone();
            thread::spawn(move || {
                assert!(scene.insert_third(2));
                assert!(scene.contains(2), "missed what this thread inserted");
            })
        };
        assert!(scene.contains(0), "missed a present key");
        assert!(!scene.insert(1), "a second entry of a present key");
        assert!(scene.contains(0), "missed a present key");
        grower.join().unwrap();
        assert_eq!(scene.keys(), [0, 1, 2]);
    });
}

/// Two threads copy the same table, and both may promote its successor.
fn two_move_and_promote() {
    explore(2, || {
        let scene = Unseen::with(&[0, 1]);
        scene.index.begin_growth(&scene.scheme.pin());
        let other = {
            let scene = scene.clone();
            thread::spawn(move || {
                scene.assist();
                assert!(scene.contains(1), "missed a present key");
            })
        };
        scene.assist();
        assert!(scene.contains(0), "missed a present key");
        other.join().unwrap();
        assert_eq!(scene.keys(), [0, 1]);
        assert_eq!(scene.scheme.retired(), 1);
    });
}

/// An entry is condemned, sealed a grace period later and unlinked, while another thread grows the
/// table and may have seen the entry. Guards that begin after the unlinking do not meet it. When it
/// is released, it alone gives up its slots.
fn a_late_copier_beside_seal_and_unlink() {
    explore(5, || {
        let scene = Scene::<true>::with(&[0, 1]);
        let copier = {
            let scene = scene.clone();
            thread::spawn(move || assert!(scene.insert_third(16)))
        };
        let item = scene.items()[0];
        // SAFETY: freed when the threads have ended.
        let entry = unsafe { item.as_ref() };
        let mut place = None;
        assert_eq!(entry.state.swap(CONDEMNED, Ordering::AcqRel), LIVING);
        hook::step("model.condemned");
        if scene.scheme.no_thread_is_pinned() {
            hook::step("model.grace");
            let (order, otherwise) = (Ordering::AcqRel, Ordering::Acquire);
            if entry.state.compare_exchange(CONDEMNED, SEALED, order, otherwise).is_ok() {
                hook::step("model.sealed");
                // SAFETY: sealed just now.
                place = Some(unsafe { scene.index.unlink(&scene.scheme.pin(), item) });
            }
        }
        copier.join().unwrap();
        (0..2).for_each(|_| scene.assist()); // so that there may be another table
        let guard = scene.scheme.pin();
        let sealed = place.is_some();
        if let Some(place) = place {
            // SAFETY: the other thread has ended since the entry was unlinked.
            unsafe { scene.index.release_at(&guard, item, place) };
        }
        let found = scene.index.find(&guard, hash(0), |met| {
            assert!(!met.is_sealed(), "an unlinked entry came back");
            met.key == 0
        });
        assert_eq!(found.is_some(), !sealed, "a living entry is gone");
        let items: Vec<_> = scene.items().clone();
        for other in items {
            let is_in = scene.index.slots_of(&guard, other) > 0;
            assert_eq!(is_in, !sealed || other != item, "a slot was not released, or a wrong one");
        }
        drop(guard);
        assert_eq!(scene.keys(), if sealed { vec![1, 16] } else { vec![0, 1, 16] });
    });
}

/// Iteration beside growth yields each entry that was present exactly once.
fn iteration_beside_growth() {
    explore(4, || {
        let scene = Unseen::with(&[0, 1]);
        let grower = {
            let scene = scene.clone();
            thread::spawn(move || assert!(scene.insert_third(2)))
        };
        let mut keys = scene.keys();
        keys.retain(|&key| key != 2);
        assert_eq!(keys, [0, 1]);
        grower.join().unwrap();
    });
}

#[test]
fn one_entry_a_key() {
    two_insert_one_key();
    two_insert_into_one_slot();
}

#[test]
fn one_entry_a_key_after_a_look() {
    two_look_and_insert_one_key();
    two_look_and_insert_behind_a_full_bucket();
    one_looks_and_inserts_beside_growth();
}

#[test]
fn one_entry_a_key_after_a_look_needs_a_comparing_publication() {
    must_fail("index.publish_blindly", "both inserted the key", two_look_and_insert_one_key);
}

#[test]
fn so_does_one_behind_a_full_bucket() {
    let model = two_look_and_insert_behind_a_full_bucket;
    must_fail("index.publish_blindly", "both inserted the key", model);
}

#[test]
fn one_entry_a_key_needs_a_comparing_publication() {
    must_fail("index.publish_blindly", "both inserted the key", two_insert_one_key);
}

#[test]
fn the_pointer_comes_with_its_tag_only_by_a_release() {
    must_fail("index.publish_relaxed", UNSEEN, two_insert_one_key);
}

#[test]
fn growth_loses_and_doubles_nothing() {
    growth_beside_an_insert_of_a_present_key();
}

#[test]
fn movers_and_promoters_may_be_many() {
    two_move_and_promote();
}

#[test]
fn readers_must_go_on_to_the_next_table() {
    must_fail(
        "index.reader_stays",
        "missed what this thread inserted",
        growth_beside_an_insert_of_a_present_key,
    );
}

#[test]
fn inserters_must_copy_the_sequence_first() {
    must_fail(
        "index.insert_without_copying",
        "a second entry",
        growth_beside_an_insert_of_a_present_key,
    );
}

#[test]
fn an_unlinked_entry_does_not_come_back() {
    a_late_copier_beside_seal_and_unlink();
}

#[test]
fn a_slot_is_released_only_if_it_is_the_entrys() {
    must_fail("index.release_unseen", "or a wrong one", a_late_copier_beside_seal_and_unlink);
}

#[test]
fn copiers_must_revive() {
    must_fail(
        "index.copy_without_reviving",
        "an unlinked entry came back",
        a_late_copier_beside_seal_and_unlink,
    );
}

#[test]
fn iteration_yields_each_once() {
    iteration_beside_growth();
}
