//! Iteration over keys whose hashes collide: each entry comes once, beside other iterations and
//! growth. (`src/index/tests/collide.rs` counts the cost, and `tests/slopes/reads.rs` the
//! instructions.)

use coeval::{Cache, View};
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A hasher with a function that the test supplies.
#[derive(Clone, Copy)]
struct Colliding(fn(u64) -> u64);

struct Key(fn(u64) -> u64, u64);

impl BuildHasher for Colliding {
    type Hasher = Key;

    fn build_hasher(&self) -> Key {
        Key(self.0, 0)
    }
}

impl Hasher for Key {
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers");
    }

    fn write_u64(&mut self, key: u64) {
        self.1 = (self.0)(key);
    }

    fn finish(&self) -> u64 {
        self.1
    }
}

fn spread(key: u64) -> u64 {
    (key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

const MIXES: [Colliding; 6] = [
    Colliding(|_| 7),
    Colliding(|_| u64::MAX),
    Colliding(|key| key / 70),
    Colliding(|key| spread(key % 9)),
    Colliding(|key| if key.is_multiple_of(2) { 5 } else { spread(key) }),
    Colliding(spread),
];

type Colliders = Cache<u64, u64, Colliding>;

fn filled(mix: Colliding, keys: u64) -> Colliders {
    let cache = Cache::builder().hasher(mix).build();
    (0..keys).for_each(|key| _ = cache.insert(key, key));
    cache
}

fn shown(view: &View<u64, u64, Colliding>, below: u64) -> Vec<u64> {
    let mut shown: Vec<u64> = view.iter().map(|(key, _)| *key).filter(|k| *k < below).collect();
    shown.sort_unstable();
    shown
}

/// Of 5,000 keys, some are removed in the middle and others inserted. The iteration shows each
/// present entry once.
#[test]
fn each_entry_is_shown_once() {
    const KEYS: u64 = 5_000;
    for mix in MIXES {
        let cache = filled(mix, KEYS);
        let full = cache.view();
        (1_000..3_000).for_each(|key| _ = cache.remove(&key));
        let hollow = cache.view();
        cache.collect();
        (2_000..2_500).for_each(|key| _ = cache.insert(key, 0));
        let mended = cache.view();
        assert!(shown(&full, KEYS).into_iter().eq(0..KEYS));
        assert!(shown(&hollow, KEYS).into_iter().eq((0..1_000).chain(3_000..KEYS)));
        let present = || (0..1_000).chain(2_000..2_500).chain(3_000..KEYS);
        assert!(shown(&mended, KEYS).into_iter().eq(present()));
        let lens = [&full, &hollow, &mended].map(|view| view.len() as u64);
        assert_eq!(lens, [KEYS, KEYS - 2_000, KEYS - 1_500]);
        #[cfg(feature = "rayon")]
        {
            use rayon::iter::ParallelIterator;
            let mut all: Vec<u64> = mended.par_iter().map(|(key, _)| *key).collect();
            all.sort_unstable();
            assert!(all.into_iter().eq(present()));
            assert_eq!(full.par_iter().count() as u64, KEYS);
        }
    }
}

#[test]
fn a_view_shows_the_same_while_colliding_keys_come_and_go() {
    const STABLE: u64 = 600;
    for mix in MIXES {
        let cache = filled(mix, STABLE);
        let finished = AtomicBool::new(false);
        thread::scope(|scope| {
            let (cache, finished) = (&cache, &finished);
            scope.spawn(move || {
                while !finished.load(Ordering::Relaxed) {
                    (STABLE..3 * STABLE).for_each(|key| _ = cache.insert(key, key));
                    (STABLE..3 * STABLE).for_each(|key| _ = cache.remove(&key));
                }
            });
            let reader = scope.spawn(move || {
                for round in 0..30 {
                    let view = cache.view();
                    assert!(shown(&view, STABLE).into_iter().eq(0..STABLE), "round {round}");
                    let len = view.len();
                    assert_eq!(shown(&view, u64::MAX).len(), len, "round {round}");
                    #[cfg(feature = "rayon")]
                    {
                        use rayon::iter::ParallelIterator;
                        assert_eq!(view.par_iter().count(), len, "round {round}");
                    }
                }
            });
            let read = reader.join();
            finished.store(true, Ordering::Relaxed);
            read.unwrap();
        });
    }
}

/// A round of a monitor looks at each key once, in steps of any size.
#[test]
fn a_monitor_looks_at_each_key_once() {
    for mix in MIXES {
        let cache = filled(mix, 700);
        let mut monitor = cache.monitor();
        for keys in [1, 7, 100, 10_000] {
            let before = monitor.report().keys;
            while monitor.step(keys).rounds == 0 {}
            assert_eq!(monitor.report().keys - before, 700, "steps of {keys}");
        }
    }
}

/// A round sees each key that is present throughout exactly once, whatever other keys come and go
/// between its steps.
#[test]
fn a_monitor_misses_nothing_while_others_come_and_go() {
    const STABLE: u64 = 200;
    for mix in MIXES {
        let is_looking = Arc::new(AtomicBool::new(false));
        let seen: Arc<Mutex<Vec<u64>>> = Arc::default();
        let (looking, saw) = (Arc::clone(&is_looking), Arc::clone(&seen));
        let cache = Cache::builder().hasher(mix).related(move |key: &u64, _| {
            if looking.load(Ordering::Relaxed) && key.is_multiple_of(2) {
                saw.lock().unwrap().push(*key);
            }
        });
        let cache: Colliders = cache.build();
        (0..2 * STABLE).for_each(|key| _ = cache.insert(key, key));
        let mut monitor = cache.monitor();
        for step in 1.. {
            is_looking.store(true, Ordering::Relaxed);
            let is_over = monitor.step(3).rounds > 0;
            is_looking.store(false, Ordering::Relaxed);
            if is_over {
                break;
            }
            // The odd keys come and go.
            (0..STABLE).for_each(|key| {
                if spread(key + step).is_multiple_of(5) {
                    cache.remove(&(2 * key + 1));
                } else if spread(key + step) % 5 == 1 {
                    cache.insert(2 * key + 1, step);
                }
            });
            cache.collect();
        }
        let mut seen = seen.lock().unwrap();
        seen.sort_unstable();
        assert!(seen.iter().copied().eq((0..STABLE).map(|key| 2 * key)), "{seen:?}");
    }
}

/// Later writes sweep cleared entries wherever they are, and each one is reported once.
#[test]
fn cleared_entries_are_swept() {
    const WRITES: u64 = 5_000;
    for mix in MIXES {
        let told = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&told);
        let listen = move |_: Arc<u64>, _: u64, _, _| _ = counted.fetch_add(1, Ordering::Relaxed);
        let cache = Cache::builder().hasher(mix).eviction_listener(listen).build();
        for round in 1..=3 {
            (0..1_000).for_each(|key| _ = cache.insert(key, key));
            cache.invalidate_all();
            for write in 0..WRITES {
                cache.insert(1 << 40, write);
            }
            cache.invalidate(&(1 << 40));
            cache.collect();
            let of_others = told.load(Ordering::Relaxed) - round * WRITES;
            assert_eq!(of_others, round * 1_000);
        }
    }
}
