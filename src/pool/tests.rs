//! The pool from outside. What it hands out bears a mark while it is in use, so that a slot in two
//! hands is noticed. The grace periods of these tests are real ones, by crossbeam-epoch's own pin
//! where threads run side by side.

use super::*;
use std::alloc::Layout;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};

fn pool_of<T>() -> Pool {
    Pool::new(Shape::plain(Layout::new::<T>()))
}

/// How long a stress test runs, by the environment variable `COEVAL_STRESS`: `short` (the default),
/// `normal` or `long`.
fn rounds(short: usize) -> usize {
    match std::env::var("COEVAL_STRESS").as_deref() {
        Ok("long") => short * 1000,
        Ok("normal") => short * 10,
        _ => short,
    }
}

/// A slot's content in these tests: who has it.
struct Marked {
    _link: u64,
    owner: AtomicU64,
    _rest: [u64; 2],
}

const FREE: u64 = 0x0F2E_E0F2_EE00;

/// Takes a slot and marks it; it must not bear another's mark.
fn take(pool: &Pool, me: u64) -> usize {
    // SAFETY: these tests give a slot back only when nobody pops, or put it back.
    mark(unsafe { pool.take() }, me)
}

/// The same at the home of a hash.
fn take_at(pool: &Pool, hash: u32, me: u64) -> usize {
    // SAFETY: as above.
    mark(unsafe { pool.take_at(hash) }, me)
}

fn mark(slot: NonNull<u8>, me: u64) -> usize {
    let slot = slot.cast::<Marked>();
    // SAFETY: the slot is ours; its memory is zeroed or holds what was last stored there.
    let before = unsafe { slot.as_ref() }.owner.swap(me, Ordering::Relaxed);
    assert!(before == 0 || before == FREE, "taken by {me} while {before} has it");
    slot.as_ptr().expose_provenance()
}

/// Takes the mark off; the slot may be given or put back then.
fn unmark(slot: usize, me: u64) -> NonNull<u8> {
    let slot = NonNull::new(std::ptr::with_exposed_provenance_mut::<Marked>(slot)).unwrap();
    // SAFETY: the slot is ours.
    let before = unsafe { slot.as_ref() }.owner.swap(FREE, Ordering::Relaxed);
    assert_eq!(before, me, "another thread took what {me} has");
    slot.cast()
}

#[test]
fn nothing_is_held_before_the_first_slot() {
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
                // SAFETY: the slot is ours and that large.
                unsafe { slot.write_bytes(0xEE, size) }
            })
            .map(|slot| slot.as_ptr().addr())
            .collect();
        slots.sort_unstable();
        assert!(slots.iter().all(|slot| slot % align == 0));
        let steps: Vec<usize> = slots.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps.iter().all(|&step| step >= stride));
        let dense = steps.iter().filter(|&&step| step == stride).count();
        assert!(dense > count - 100, "{dense} of {count} slots follow one upon another");
        assert!(pool.bytes() < 2 * count * stride + (4 << 20));
    }
}

#[test]
fn what_is_put_back_is_taken_next() {
    let pool = pool_of::<Marked>();
    let slots: Vec<usize> = (0..200).map(|_| take(&pool, 1)).collect();
    let bytes = pool.bytes();
    for _ in 0..100 {
        for &slot in slots.iter().rev() {
            // SAFETY: taken by this thread, and nobody saw it.
            unsafe { pool.put_back(unmark(slot, 1)) };
        }
        for &slot in &slots {
            assert_eq!(take(&pool, 1), slot);
        }
    }
    assert_eq!(pool.bytes(), bytes);
}

#[test]
fn one_thread_runs_in_what_it_has() {
    let pool = pool_of::<Marked>();
    let mut slots: Vec<usize> = (0..10_000).map(|_| take(&pool, 1)).collect();
    let bytes = pool.bytes();
    for round in 0..100 {
        for slot in slots.drain(round..) {
            // SAFETY: this thread alone uses the pool.
            unsafe { pool.give(unmark(slot, 1)) };
        }
        slots.extend((round..10_000).map(|_| take(&pool, 1)));
    }
    let distinct: HashSet<usize> = slots.iter().copied().collect();
    assert_eq!(distinct.len(), 10_000);
    assert!(pool.bytes() <= bytes + (16 << 10), "{} after {bytes}", pool.bytes());
}

/// One thread takes, another gives. Of that which is under way there is a bound, so there is one of
/// the pool too.
#[test]
fn slots_do_not_pile_up_with_a_thread_that_only_gives() {
    let pool = pool_of::<Marked>();
    let (send, receive) = mpsc::sync_channel::<Vec<usize>>(4);
    let rounds = rounds(2_000);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for slot in receive.into_iter().flatten() {
                // SAFETY: one thread takes and this one does not, so that no pop can find a top
                // that was popped meanwhile: there is no other popper.
                unsafe { pool.give(unmark(slot, 1)) };
            }
        });
        for _ in 0..rounds {
            send.send((0..100).map(|_| take(&pool, 1)).collect()).unwrap();
        }
        drop(send);
    });
    // Under way: six times 100 slots in the channel and at its ends, and each thread's magazine.
    assert!(pool.bytes() < 256 << 10, "{} bytes", pool.bytes());
}

/// A grace period, the simplest there is: everybody announces when a guard ends, and waits with
/// giving back until all others have ended the guard that they were in.
struct Grace {
    /// Odd while the thread is in a guard.
    guards: Vec<AtomicU64>,
}

impl Grace {
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
fn no_slot_is_in_two_hands() {
    several_threads(&pool_of::<Marked>(), |pool, _, me| take(pool, me));
}

#[test]
fn no_slot_at_home_is_in_two_hands() {
    let pool = Pool::with_homes(Shape::plain(Layout::new::<Marked>()), 600);
    several_threads(&pool, |pool, turn, me| take_at(pool, (turn as u32).wrapping_mul(HASH), me));
}

fn several_threads(pool: &Pool, take: impl Fn(&Pool, usize, u64) -> usize + Sync) {
    const THREADS: usize = 8;
    let grace = Grace { guards: (0..THREADS).map(|_| AtomicU64::new(0)).collect() };
    // Half of what is retired is given by its thread, half by another.
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
                        // SAFETY: taken above by this thread, and nobody saw it.
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
                            // SAFETY: all guards have ended that were live when it was retired.
                            unsafe { pool.give(unmark(slot, name)) };
                        }
                    }
                    // Nobody in the tests may outrun the grace periods without bound.
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
fn threads_that_come_and_go_leave_their_slots_to_others() {
    let pool = pool_of::<Marked>();
    for name in 1..=rounds(500) as u64 {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let slots: Vec<usize> = (0..300).map(|_| take(&pool, name)).collect();
                for slot in slots {
                    // SAFETY: this thread alone uses the pool.
                    unsafe { pool.give(unmark(slot, name)) };
                }
            });
        });
    }
    assert!(pool.bytes() < 1 << 20, "{} bytes", pool.bytes());
}

/// Multiples of this are spread over all hashes.
const HASH: u32 = 0x9e37_79b1;

/// Pools whose slots share lines, lie in two, and are larger.
fn pools_with_homes(slots: usize) -> impl Iterator<Item = (Shape, Pool)> {
    let rest = Layout::new::<[u64; 2]>();
    [(32, 16), (40, 8), (64, 8), (200, 8), (1056, 8)].into_iter().map(move |(size, align)| {
        let shape = Shape::split(Layout::from_size_align(size, align).unwrap(), rest);
        (shape, Pool::with_homes(shape, slots))
    })
}

#[test]
fn most_slots_are_at_home() {
    const SLOTS: usize = 5_000;
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
                // SAFETY: the slot is ours.
                unsafe { start.write_bytes(0xEE, bytes) };
                assert!((start.addr()..start.addr() + bytes).all(|at| taken.insert(at)));
            }
        }
        assert!(at_home > SLOTS / 2, "{at_home} of {SLOTS}: {shape:?}");
        assert!(pool.bytes() < mapped + SLOTS / 10 * (shape.bytes(16) / 16), "{shape:?}");
    }
}

#[test]
fn homes_are_used_again_and_what_has_no_room_is_elsewhere() {
    for (_, pool) in pools_with_homes(1_000) {
        let mut first = None;
        for _ in 0..20 {
            let hashes = (0..3_000_u32).map(|number| number.wrapping_mul(HASH));
            // SAFETY: this thread alone uses the pool.
            let slots: Vec<_> = hashes.map(|hash| unsafe { pool.take_at(hash) }).collect();
            assert_eq!(slots.iter().collect::<HashSet<_>>().len(), slots.len());
            let bytes = *first.get_or_insert(pool.bytes());
            assert!(pool.bytes() <= bytes + (64 << 10), "{} after {bytes}", pool.bytes());
            for (number, slot) in slots.into_iter().enumerate() {
                // SAFETY: as above; each once.
                unsafe { if number % 2 == 0 { pool.give(slot) } else { pool.put_back(slot) } };
            }
        }
    }
}

/// AddressSanitizer ends the process where an allocator would return nothing.
#[cfg(not(any(coeval_asan, coeval_lsan)))]
#[test]
fn without_memory_for_homes_there_are_none() {
    let pool = Pool::with_homes(Shape::plain(Layout::new::<[u64; 1 << 20]>()), 1 << 36);
    assert_eq!((pool.bytes(), pool.homes.is_none()), (0, true));
}

#[test]
#[should_panic(expected = "a pointer at least")]
fn a_slot_that_holds_no_link_is_refused() {
    pool_of::<u32>();
}
