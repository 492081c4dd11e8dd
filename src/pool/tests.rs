//! Tests of the pool's interface. A slot bears a mark while it is in use, so that a slot with two
//! owners is detected. Slots are given back only after a grace period, which [`GuardCounts`]
//! implements for concurrent threads.

use super::*;
use std::alloc::Layout;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};

fn pool_of<T>() -> Pool {
    Pool::new(Shape::plain(Layout::new::<T>()))
}

/// The number of rounds of a stress test, from the environment variable `COEVAL_STRESS`: `short`
/// (the default), `normal` or `long`.
fn rounds(short: usize) -> usize {
    match std::env::var("COEVAL_STRESS").as_deref() {
        Ok("long") => short * 1000,
        Ok("normal") => short * 10,
        _ => short,
    }
}

/// The content of a slot in these tests: its owner.
struct MarkedSlot {
    _link: u64,
    owner: AtomicU64,
    _rest: [u64; 2],
}

const FREE: u64 = 0x0F2E_E0F2_EE00;

/// Takes a slot and marks it. Panics if it bears another owner's mark.
fn take(pool: &Pool, me: u64) -> usize {
    // SAFETY: these tests give a slot back only when no thread pops, or put it back.
    mark(unsafe { pool.take() }, me)
}

/// Takes a slot at the home of a hash, and marks it.
fn take_at(pool: &Pool, hash: u32, me: u64) -> usize {
    // SAFETY: as above.
    mark(unsafe { pool.take_at(hash) }, me)
}

fn mark(slot: NonNull<u8>, me: u64) -> usize {
    let slot = slot.cast::<MarkedSlot>();
    // SAFETY: the slot is exclusively owned; its memory is zeroed or holds what was last stored.
    let before = unsafe { slot.as_ref() }.owner.swap(me, Ordering::Relaxed);
    assert!(before == 0 || before == FREE, "taken by {me} while {before} has it");
    slot.as_ptr().expose_provenance()
}

/// Removes the mark. The slot may then be given or put back.
fn unmark(slot: usize, me: u64) -> NonNull<u8> {
    let slot = NonNull::new(std::ptr::with_exposed_provenance_mut::<MarkedSlot>(slot)).unwrap();
    // SAFETY: the slot is exclusively owned.
    let before = unsafe { slot.as_ref() }.owner.swap(FREE, Ordering::Relaxed);
    assert_eq!(before, me, "another thread took what {me} has");
    slot.cast()
}

#[test]
fn no_memory_is_allocated_before_the_first_slot() {
    let pool = pool_of::<[u64; 6]>();
    assert_eq!(pool.bytes(), 0);
    take(&pool, 1);
    assert_eq!(pool.bytes(), 512);
}

#[test]
fn slots_are_distinct_aligned_and_dense() {
    for (size, align) in
        [(8, 1), (24, 8), (32, 16), (40, 8), (48, 16), (64, 64), (100, 4), (5000, 64)]
    {
        let layout = Layout::from_size_align(size, align).unwrap();
        let pool = Pool::new(Shape::plain(layout));
        let stride = size.next_multiple_of(align.max(8));
        let count = 20_000;
        let mut slots: Vec<usize> = (0..count)
            // SAFETY: no slot is ever given back.
            .map(|_| unsafe { pool.take() })
            .inspect(|slot| {
                // SAFETY: the slot is exclusively owned and that large.
                unsafe { slot.write_bytes(0xEE, size) }
            })
            .map(|slot| slot.as_ptr().addr())
            .collect();
        slots.sort_unstable();
        assert!(slots.iter().all(|slot| slot % align == 0));
        let steps: Vec<usize> = slots.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps.iter().all(|&step| step >= stride));
        let dense = steps.iter().filter(|&&step| step == stride).count();
        assert!(dense > count - 100, "{dense} of {count} slots are contiguous");
        assert!(pool.bytes() < 2 * count * stride + (4 << 20));
    }
}

#[test]
fn slots_put_back_are_taken_next() {
    let pool = pool_of::<MarkedSlot>();
    let slots: Vec<usize> = (0..200).map(|_| take(&pool, 1)).collect();
    let bytes = pool.bytes();
    for _ in 0..100 {
        for &slot in slots.iter().rev() {
            // SAFETY: taken by this thread, and no other thread saw it.
            unsafe { pool.put_back(unmark(slot, 1)) };
        }
        for &slot in &slots {
            assert_eq!(take(&pool, 1), slot);
        }
    }
    assert_eq!(pool.bytes(), bytes);
}

#[test]
fn one_thread_reuses_its_slots() {
    let pool = pool_of::<MarkedSlot>();
    let mut slots: Vec<usize> = (0..10_000).map(|_| take(&pool, 1)).collect();
    let bytes = pool.bytes();
    for round in 0..100 {
        for slot in slots.drain(round..) {
            // SAFETY: only this thread uses the pool.
            unsafe { pool.give(unmark(slot, 1)) };
        }
        slots.extend((round..10_000).map(|_| take(&pool, 1)));
    }
    let distinct: HashSet<usize> = slots.iter().copied().collect();
    assert_eq!(distinct.len(), 10_000);
    assert!(pool.bytes() <= bytes + (16 << 10), "{} after {bytes}", pool.bytes());
}

/// One thread takes, another gives. The number of slots in between is bounded, and so is the pool.
#[test]
fn slots_do_not_pile_up_with_a_thread_that_only_gives() {
    let pool = pool_of::<MarkedSlot>();
    let (send, receive) = mpsc::sync_channel::<Vec<usize>>(4);
    let rounds = rounds(2_000);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for slot in receive.into_iter().flatten() {
                // SAFETY: only the other thread pops. So no pop can find a top that was popped
                // meanwhile.
                unsafe { pool.give(unmark(slot, 1)) };
            }
        });
        for _ in 0..rounds {
            send.send((0..100).map(|_| take(&pool, 1)).collect()).unwrap();
        }
        drop(send);
    });
    // In between: six times 100 slots in the channel and at its ends, and each thread's magazine.
    assert!(pool.bytes() < 256 << 10, "{} bytes", pool.bytes());
}

/// A simple grace period: each thread counts the starts and ends of its guards. A thread gives
/// slots back when all other threads have left the guards in which they were.
struct GuardCounts {
    /// Odd while the thread is in a guard.
    guards: Vec<AtomicU64>,
}

impl GuardCounts {
    fn enter(&self, me: usize) {
        self.guards[me].fetch_add(1, Ordering::SeqCst);
    }

    fn leave(&self, me: usize) {
        self.guards[me].fetch_add(1, Ordering::SeqCst);
    }

    fn now(&self) -> Vec<u64> {
        self.guards.iter().map(|guard| guard.load(Ordering::SeqCst)).collect()
    }

    fn is_over(&self, since: &[u64]) -> bool {
        self.now().iter().zip(since).all(|(now, then)| then % 2 == 0 || now != then)
    }
}

#[test]
fn no_slot_has_two_owners() {
    several_threads(&pool_of::<MarkedSlot>(), |pool, _, me| take(pool, me));
}

#[test]
fn no_slot_at_home_has_two_owners() {
    let pool = Pool::with_homes(Shape::plain(Layout::new::<MarkedSlot>()), 600);
    several_threads(&pool, |pool, turn, me| take_at(pool, (turn as u32).wrapping_mul(HASH), me));
}

fn several_threads(pool: &Pool, take: impl Fn(&Pool, usize, u64) -> usize + Sync) {
    const THREADS: usize = 8;
    let grace = GuardCounts { guards: (0..THREADS).map(|_| AtomicU64::new(0)).collect() };
    // A thread gives half of what it retires back itself. Another thread gives back the other half.
    let handed_on = Mutex::new(Vec::new());
    let rounds = rounds(3_000);
    std::thread::scope(|scope| {
        for me in 0..THREADS {
            let (take, grace, handed_on) = (&take, &grace, &handed_on);
            scope.spawn(move || {
                let name = me as u64 + 1;
                let mut waiting = std::collections::VecDeque::new();
                for round in 0..rounds {
                    grace.enter(me);
                    let slots: Vec<usize> =
                        (0..1 + round % 150).map(|turn| take(pool, turn, name)).collect();
                    grace.leave(me);
                    let (back, retired) = slots.split_at(slots.len() / 8);
                    for &slot in back {
                        // SAFETY: taken above by this thread, and no other thread saw it.
                        unsafe { pool.put_back(unmark(slot, name)) };
                    }
                    let mut package = (grace.now(), name, retired.to_vec());
                    if round % 2 == 0 {
                        let mut handed_on = handed_on.lock().unwrap();
                        handed_on.push(package);
                        let other = round % handed_on.len();
                        package = handed_on.swap_remove(other);
                    }
                    waiting.push_back(package);
                    while waiting.front().is_some_and(|package| grace.is_over(&package.0)) {
                        let (_, name, slots) = waiting.pop_front().unwrap();
                        for slot in slots {
                            // SAFETY: all guards that were live at its retirement have ended.
                            unsafe { pool.give(unmark(slot, name)) };
                        }
                    }
                    // Bounds the number of slots that wait for a grace period.
                    while waiting.len() > 20 {
                        std::thread::yield_now();
                        if waiting.iter().all(|package| grace.is_over(&package.0)) {
                            break;
                        }
                    }
                }
            });
        }
    });
    assert!(pool.bytes() < 64 << 20, "{} bytes", pool.bytes());
}

#[test]
fn slots_of_ended_threads_are_reused() {
    let pool = pool_of::<MarkedSlot>();
    for name in 1..=rounds(500) as u64 {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let slots: Vec<usize> = (0..300).map(|_| take(&pool, name)).collect();
                for slot in slots {
                    // SAFETY: only this thread uses the pool.
                    unsafe { pool.give(unmark(slot, name)) };
                }
            });
        });
    }
    assert!(pool.bytes() < 1 << 20, "{} bytes", pool.bytes());
}

/// Multiples of this number are spread over all hashes.
const HASH: u32 = 0x9e37_79b1;

/// Returns pools whose slots share cache lines, cross lines, and are larger than a line.
fn pools_with_homes(slots: usize) -> impl Iterator<Item = (Shape, Pool)> {
    let rest = Layout::new::<[u64; 2]>();
    [(32, 16), (40, 8), (64, 8), (200, 8), (1056, 8)].into_iter().map(move |(size, align)| {
        let shape = Shape::split(Layout::from_size_align(size, align).unwrap(), rest);
        (shape, Pool::with_homes(shape, slots))
    })
}

#[test]
fn most_slots_are_at_home() {
    const SLOTS: usize = 2_000;
    for (shape, pool) in pools_with_homes(SLOTS) {
        let mapped = pool.bytes();
        let mut taken = HashSet::new();
        let mut at_home = 0;
        for number in 0..SLOTS as u32 {
            let hash = number.wrapping_mul(HASH);
            // SAFETY: no slot is ever given back.
            let slot = unsafe { pool.take_at(hash) };
            let home = pool.home(&shape, hash).unwrap().addr();
            let distance = slot.as_ptr().addr().wrapping_sub(home);
            at_home += usize::from(distance == 0 || shape.fits_lines() && distance < 64);
            for (start, bytes) in shape.parts(slot) {
                // SAFETY: the slot is exclusively owned.
                unsafe { start.write_bytes(0xEE, bytes) };
                assert!((start.addr()..start.addr() + bytes).all(|at| taken.insert(at)));
            }
        }
        assert!(at_home > SLOTS / 2, "{at_home} of {SLOTS}: {shape:?}");
        assert!(pool.bytes() < mapped + SLOTS / 10 * (shape.bytes(16) / 16), "{shape:?}");
    }
}

#[test]
fn homes_are_reused_and_other_slots_are_placed_elsewhere() {
    for (_, pool) in pools_with_homes(1_000) {
        let mut first = None;
        for _ in 0..20 {
            let hashes = (0..3_000_u32).map(|number| number.wrapping_mul(HASH));
            // SAFETY: only this thread uses the pool.
            let slots: Vec<_> = hashes.map(|hash| unsafe { pool.take_at(hash) }).collect();
            assert_eq!(slots.iter().collect::<HashSet<_>>().len(), slots.len());
            let bytes = *first.get_or_insert(pool.bytes());
            assert!(pool.bytes() <= bytes + (64 << 10), "{} after {bytes}", pool.bytes());
            for (number, slot) in slots.into_iter().enumerate() {
                // SAFETY: as above; each slot once.
                unsafe { if number % 2 == 0 { pool.give(slot) } else { pool.put_back(slot) } };
            }
        }
    }
}

/// AddressSanitizer ends the process when an allocation fails.
#[cfg(not(any(coeval_asan, coeval_lsan)))]
#[test]
fn without_memory_for_homes_there_are_none() {
    let pool = Pool::with_homes(Shape::plain(Layout::new::<[u64; 1 << 20]>()), 1 << 36);
    assert_eq!((pool.bytes(), pool.homes.is_none()), (0, true));
}

#[test]
#[should_panic(expected = "at least as large as a pointer")]
fn a_slot_too_small_for_a_link_is_refused() {
    pool_of::<u32>();
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

#[test]
fn no_two_parts_overlap() {
    let rests = [layout(16, 8), layout(24, 8), layout(64, 64), layout(128, 128), layout(0, 1)];
    let small = [(8, 8), (24, 8), (32, 8), (32, 16), (40, 8), (63, 1), (64, 64), (200, 8)];
    let wide = [(128, 128), (384, 128), (256, 256), (1024, 1024), (4096, 4096), (12_288, 4096)];
    for (size, align) in small.into_iter().chain(wide) {
        for rest in rests {
            let shape = Shape::split(layout(size, align), rest);
            let pool = Pool::new(shape);
            let mut taken = HashSet::new();
            for _ in 0..if size > 200 { 30 } else { 250 } {
                // SAFETY: no slot is ever given back.
                let slot = unsafe { pool.take() };
                let [(first, bytes), (second, rest_bytes)] = shape.parts(slot);
                assert!(bytes >= size && rest_bytes >= rest.size());
                assert_eq!(first.addr() % align, 0);
                assert!(rest.size() == 0 || second.addr() % rest.align() == 0);
                for at in (first.addr()..first.addr() + bytes)
                    .chain(second.addr()..second.addr() + rest_bytes)
                {
                    assert!(taken.insert(at), "{shape:?}");
                }
                // SAFETY: the slot owns both ranges.
                unsafe {
                    first.write_bytes(1, bytes);
                    second.write_bytes(2, rest_bytes);
                }
            }
        }
    }
}

#[test]
fn small_slots_share_a_line_and_waste_little() {
    let shape = Shape::split(layout(32, 8), layout(16, 8));
    assert_eq!((shape.stride, shape.group, shape.slots), (32, 1024, 21));
    assert!((0..21).all(|slot| shape.rest_of(4096 + slot * 32) == 4096 + 21 * 32 + slot * 16));
    assert_eq!(shape.bytes(22), 2048);
    assert_eq!((shape.offset(20), shape.offset(21)), (640, 1024));
}
