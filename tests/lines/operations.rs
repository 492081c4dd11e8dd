//! The operations whose moves of lines are counted.

use coeval::Cache;

type Store = Cache<u64, u64, foldhash::fast::FixedState>;
/// One operation of a thread in a round.
type Run = Box<dyn Fn(usize, usize) + Sync>;

pub struct Operation {
    pub name: &'static str,
    /// The most lines that move per operation, with any number of threads.
    pub at_most: f64,
    /// Fills a cache for so many threads, and returns the operation.
    pub prepare: fn(usize) -> Run,
}

const KEYS: u64 = 4_096;
/// The capacity of a full cache.
const FULL: u64 = 32 * KEYS;

/// A key of those in the cache, which is random but the same in each run.
fn key(thread: usize, round: usize) -> u64 {
    let mixed = (thread as u64) << 32 | round as u64;
    mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29).wrapping_mul(0xD6E8_FEB8_6659_FD93)
        >> 40
        & (KEYS - 1)
}

/// A key that no other call returns and that is not in the cache.
fn fresh(thread: usize, round: usize) -> u64 {
    KEYS + (round << 8 | thread) as u64
}

fn filled() -> Store {
    let cache = Cache::builder().hasher(Default::default()).initial_capacity(1 << 17).build();
    (0..KEYS).for_each(|key| _ = cache.insert(key, key));
    cache
}

/// A cache that is full, and large enough for the queues of its policy to be used in lots by all
/// threads.
fn full() -> Store {
    let cache = Cache::builder().hasher(Default::default()).max_capacity(FULL).build();
    (0..2 * FULL).for_each(|key| _ = cache.insert(key, key));
    cache
}

/// An operation on a cache that holds [`KEYS`] keys.
fn on_filled(run: impl Fn(&Store, usize, usize) + Sync + 'static) -> Run {
    let cache = filled();
    Box::new(move |thread, round| run(&cache, thread, round))
}

/// Eight keys that follow each other.
fn eight(thread: usize, round: usize) -> [u64; 8] {
    let first = key(thread, round);
    std::array::from_fn(|at| (first + at as u64) & (KEYS - 1))
}

pub const OPERATIONS: &[Operation] = &[
    Operation {
        name: "`get`",
        at_most: 0.0,
        prepare: |_| {
            on_filled(|cache, thread, round| {
                assert!(cache.get(&key(thread, round)).is_some());
            })
        },
    },
    Operation {
        name: "`get` of an absent key",
        at_most: 0.0,
        prepare: |_| {
            on_filled(|cache, thread, round| {
                assert!(cache.get(&fresh(thread, round)).is_none());
            })
        },
    },
    Operation {
        name: "`get_many` of 8",
        at_most: 0.0,
        prepare: |_| {
            on_filled(|cache, thread, round| {
                assert!(
                    cache.get_many(eight(thread, round).each_ref()).iter().all(Option::is_some)
                );
            })
        },
    },
    Operation {
        name: "`get_with`, a hit",
        at_most: 0.0,
        prepare: |_| {
            on_filled(|cache, thread, round| {
                cache.get_with(key(thread, round), || unreachable!("it is cached"));
            })
        },
    },
    Operation {
        name: "a brief view, and 8 reads in it",
        at_most: 0.0,
        prepare: |_| {
            on_filled(|cache, thread, round| {
                let keys = eight(thread, round);
                cache.view_briefly(|view| {
                    keys.iter().try_for_each(|key| {
                        assert!(view.contains_key(key)?);
                        Ok(())
                    })
                });
            })
        },
    },
    Operation {
        name: "a view, and 8 reads in it",
        at_most: 3.2,
        prepare: |_| {
            on_filled(|cache, thread, round| {
                let view = cache.view();
                assert!(eight(thread, round).iter().all(|key| view.get(key).is_some()));
            })
        },
    },
    Operation {
        name: "`insert`, an overwrite",
        at_most: 3.7,
        prepare: |_| {
            on_filled(|cache, thread, round| {
                cache.insert(key(thread, round), 1);
            })
        },
    },
    Operation {
        name: "`insert`, an overwrite of the thread's own key",
        at_most: 1.4,
        prepare: |_| {
            on_filled(|cache, thread, round| {
                cache.insert((thread * 32 + round % 32) as u64, 1);
            })
        },
    },
    Operation {
        name: "`insert` of a new key",
        at_most: 6.7,
        prepare: |_| {
            on_filled(|cache, thread, round| {
                cache.insert(fresh(thread, round), 1);
            })
        },
    },
    Operation {
        name: "`insert` of a new key into a full cache",
        at_most: 8.5,
        prepare: |_| {
            let cache = full();
            Box::new(move |thread, round| {
                cache.insert(2 * FULL + fresh(thread, round), 1);
            })
        },
    },
    Operation {
        name: "`remove`",
        at_most: 4.2,
        prepare: |threads| {
            let cache = filled();
            let keys = move |thread, round| KEYS + (round * threads + thread) as u64;
            (0..threads * 1_024).for_each(|at| _ = cache.insert(KEYS + at as u64, 1));
            Box::new(move |thread, round| {
                assert!(cache.remove(&keys(thread, round)).is_some());
            })
        },
    },
    Operation {
        name: "a batch of 8 overwrites",
        at_most: 23.5,
        prepare: |_| {
            on_filled(|cache, thread, round| {
                cache.insert_many(eight(thread, round).map(|key| (key, 1)));
            })
        },
    },
    Operation {
        name: "`transact`: 2 reads, 1 write",
        at_most: 15.0,
        prepare: |_| {
            on_filled(|cache, thread, round| {
                let [first, second, ..] = eight(thread, round);
                cache
                    .atomically(|tx| {
                        let sum = tx.get(&first).unwrap() + tx.get(&second).unwrap();
                        tx.insert(first, sum);
                    })
                    .unwrap();
            })
        },
    },
    Operation {
        name: "98 `get`, 1 `insert`, 1 `remove`",
        at_most: 4.2,
        prepare: |_| {
            on_filled(|cache, thread, round| {
                let key = key(thread, round);
                match key % 100 {
                    0 => _ = cache.insert(key, 1),
                    1 => _ = cache.remove(&key),
                    _ => _ = cache.get(&key),
                }
            })
        },
    },
];
