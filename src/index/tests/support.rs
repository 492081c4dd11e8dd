//! Entries, a reclamation scheme and a set of keys for the tests.

use super::{Index, Indexed};
use crate::pool::{PoolOf, Pooled, Shape};
use crate::reclaim::{Garbage, Reclaim};
use std::alloc::Layout;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const LIVING: u32 = 0;
const CONDEMNED: u32 = 1;
const SEALED: u32 = 2;

pub struct Item {
    pub key: u64,
    hash: u32,
    state: AtomicU32,
    /// Whether a removal of this entry is under way. A mark that was removed and set again
    /// inspections like the first one, so the first removal could seal the entry before the
    /// second's grace period.
    removing: AtomicBool,
}

impl Item {
    /// Marks the entry. Returns false if a removal of it is under way.
    pub fn condemn(&self) -> bool {
        !self.removing.swap(true, Ordering::SeqCst)
            && self
                .state
                .compare_exchange(LIVING, CONDEMNED, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
    }

    pub fn seal(&self) -> bool {
        self.state.compare_exchange(CONDEMNED, SEALED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

impl Pooled for Item {
    const SHAPE: Shape = Shape::plain(Layout::new::<Self>());
}

impl Indexed for Item {
    type Memory = PoolOf<Self>;

    const READ: usize = size_of::<Self>();

    fn hash(&self) -> u32 {
        INSPECTIONS.set(INSPECTIONS.get() + 1);
        self.hash
    }

    fn revive(&self) -> bool {
        match self.state.compare_exchange(CONDEMNED, LIVING, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => true,
            Err(state) => state == LIVING,
        }
    }

    fn is_sealed(&self) -> bool {
        self.state.load(Ordering::SeqCst) == SEALED
    }
}

thread_local! {
    static INSPECTIONS: Cell<u64> = const { Cell::new(0) };
}

/// Returns how often this thread has inspected an entry's hash.
pub fn inspections() -> u64 {
    INSPECTIONS.get()
}

/// Reclamation as its contract states it, under a mutex: an object is reclaimed when all guards
/// that were live at its retirement are dropped.
pub struct Grace {
    state: Mutex<GraceState>,
}

#[derive(Default)]
struct GraceState {
    pins: u64,
    live: BTreeSet<u64>,
    retired: Vec<(u64, Retired)>,
}

struct Retired(Garbage);

// SAFETY: any thread may reclaim the objects that the tests retire.
unsafe impl Send for Retired {}

pub struct GraceGuard<'a>(&'a Grace, u64);

impl Drop for GraceGuard<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().live.remove(&self.1);
    }
}

impl Grace {
    fn take_due(&self) -> Vec<Retired> {
        let mut state = self.state.lock().unwrap();
        let oldest = state.live.first().copied().unwrap_or(u64::MAX);
        let (due, kept) =
            std::mem::take(&mut state.retired).into_iter().partition(|r| r.0 < oldest);
        state.retired = kept;
        due.into_iter().map(|(_, retired)| retired).collect()
    }
}

// SAFETY: `take_due` returns only objects that were retired before every live guard began.
unsafe impl Reclaim for Grace {
    type Guard<'a> = GraceGuard<'a>;

    fn new() -> Self {
        Self { state: Mutex::default() }
    }

    fn pin(&self) -> GraceGuard<'_> {
        let mut state = self.state.lock().unwrap();
        state.pins += 1;
        let pin = state.pins;
        state.live.insert(pin);
        GraceGuard(self, pin)
    }

    unsafe fn retire(&self, _: &GraceGuard<'_>, garbage: Garbage) {
        let mut state = self.state.lock().unwrap();
        let now = state.pins;
        state.retired.push((now, Retired(garbage)));
    }

    fn collect(&self) {
        for Retired(garbage) in self.take_due() {
            // SAFETY: due, and removed from the list, so this is the only call.
            unsafe { (garbage.reclaim)(garbage.object, garbage.context) };
        }
    }

    unsafe fn drain(&self) {
        while self.retired() > 0 {
            self.collect();
        }
    }

    fn retired(&self) -> usize {
        self.state.lock().unwrap().retired.len()
    }
}

/// A set of keys, with its entries and its scheme.
pub struct TestMap {
    // Boxed, since reclaim functions refer to it.
    inner: Box<TestSet>,
}

pub struct TestSet {
    pub index: Index<Item, Grace>,
    pub scheme: Grace,
    hash: Box<dyn Fn(u64) -> u32 + Send + Sync>,
}

impl std::ops::Deref for TestMap {
    type Target = TestSet;
    fn deref(&self) -> &TestSet {
        &self.inner
    }
}

impl TestMap {
    pub fn with_capacity(entries: usize) -> Self {
        Self::with_hash_bits(entries, 32)
    }

    /// Creates a map whose hashes differ only in `hash_bits` bits.
    pub fn with_hash_bits(entries: usize, hash_bits: u32) -> Self {
        Self::hashing(entries, move |key| {
            let hash = (key.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).rotate_left(29);
            let hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32;
            if hash_bits == 32 { hash as u32 } else { hash as u32 & ((1 << hash_bits) - 1) }
        })
    }

    /// Creates a map with a hash function of the test.
    pub fn hashing(entries: usize, hash: impl Fn(u64) -> u32 + Send + Sync + 'static) -> Self {
        let (index, scheme) = (Index::with_capacity(entries, PoolOf::with_homes(0)), Grace::new());
        Self { inner: Box::new(TestSet { index, scheme, hash: Box::new(hash) }) }
    }
}

impl TestSet {
    pub fn hash(&self, key: u64) -> u32 {
        (self.hash)(key)
    }

    /// Makes an entry. The caller holds a guard.
    pub fn item(&self, key: u64) -> NonNull<Item> {
        let (state, removing) = (AtomicU32::new(LIVING), AtomicBool::new(false));
        let item = Item { key, hash: self.hash(key), state, removing };
        // SAFETY: the caller holds a guard. The slot has this shape, and is exclusively owned.
        unsafe {
            let slot = self.index.memory().take().cast::<Item>();
            slot.write(item);
            slot
        }
    }

    pub fn insert(&self, guard: &GraceGuard<'_>, key: u64) -> bool {
        let item = self.item(key);
        // SAFETY: a fresh entry, removed by `remove_later` or freed with the map.
        let inserted = unsafe {
            self.index.insert(&self.scheme, guard, self.hash(key), item, |there| there.key == key)
        };
        if inserted.is_err() {
            // SAFETY: not published; made by `item`.
            unsafe { self.index.memory().put_back(item.cast()) };
        }
        inserted.is_ok()
    }

    pub fn find<'g>(&self, guard: &'g GraceGuard<'_>, key: u64) -> Option<&'g Item> {
        self.index.find(guard, self.hash(key), |item| item.key == key)
    }

    /// Retires a condemned entry. It is sealed, and then freed, each a grace period after the
    /// other.
    pub fn remove_later(&self, guard: &GraceGuard<'_>, item: &Item) {
        let garbage = Garbage {
            object: std::ptr::from_ref(item).cast_mut().cast(),
            context: std::ptr::from_ref(self).cast(),
            reclaim: seal,
        };
        // SAFETY: the entry lives until the last step, and the map outlives its scheme's garbage.
        unsafe { self.scheme.retire(guard, garbage) };
    }

    /// Removes a key for good, unless a guard of another thread delays that.
    pub fn remove(&self, key: u64) {
        let guard = self.scheme.pin();
        if let Some(item) = self.find(&guard, key)
            && item.condemn()
        {
            self.remove_later(&guard, item);
        }
        drop(guard);
        self.scheme.collect();
    }

    pub fn iterate(&self, guard: &GraceGuard<'_>) -> Vec<u64> {
        self.index.all_entries(guard).iter().map(|item| item.key).collect()
    }
}

/// # Safety
/// `item` was condemned a grace period ago, and is in the map `map`.
unsafe fn seal(item: *mut (), map: *const ()) {
    // SAFETY: the caller's promise; `remove_later` passed these pointers.
    let (entry, inner) = unsafe { (&*item.cast::<Item>(), &*map.cast::<TestSet>()) };
    if entry.seal() {
        let guard = inner.scheme.pin();
        // SAFETY: just sealed, and only by this thread.
        unsafe {
            inner.index.unlink(&guard, entry.into());
            inner.scheme.retire(&guard, Garbage { object: item, context: map, reclaim: free });
        }
    } else {
        entry.removing.store(false, Ordering::SeqCst);
    }
}

/// # Safety
/// `item` was unlinked a grace period ago, and was in the map `map`.
unsafe fn free(item: *mut (), map: *const ()) {
    // SAFETY: the caller's promise.
    let inner = unsafe { &*map.cast::<TestSet>() };
    let item = NonNull::new(item.cast::<Item>()).expect("not null");
    // SAFETY: as above; made by `item`.
    unsafe {
        inner.index.release(&inner.scheme.pin(), item);
        inner.index.memory().give(item.cast());
    }
}

impl Drop for TestSet {
    fn drop(&mut self) {
        // SAFETY: no other thread uses the scheme.
        unsafe { self.scheme.drain() };
    }
}

/// A small pseudo-random number generator.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
