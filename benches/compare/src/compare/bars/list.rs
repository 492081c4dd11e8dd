//! The list of bars.

use super::{
    super::results::BASELINE,
    Against,
    Against::{BestOf, Nothing, Other, Store},
    At, Bar, Must,
    Must::{AtLeast, AtMost},
};

const fn bar(claim: &'static str, ours: At, against: Against, must: Must) -> Bar {
    Bar { claim, who: BASELINE, ours, against, must }
}

/// Peers that keep all keys in one table without a policy, and peers that are caches.
pub const PEERS: &[&str] = &[
    "papaya",
    "flurry",
    "scc",
    "dashmap",
    "sharded",
    "rwlock",
    "arcswap-imbl",
    "evmap",
    "concread",
    "concread-arc",
    "moka",
    "mini-moka",
    "quick_cache",
    "foyer",
    "stretto",
    "scc-cache",
];
/// Peers whose readers take no lock, and whose writers take one only while a table grows.
pub const LOCK_FREE: &[&str] = &["papaya", "arcswap-imbl"];
/// Peers that can be bounded.
pub const BOUNDED: &[&str] =
    &["concread-arc", "moka", "mini-moka", "quick_cache", "foyer", "stretto", "scc-cache"];
/// Peers whose group reads show one moment, for any keys.
pub const CONSISTENT: &[&str] = &["rwlock", "arcswap-imbl", "evmap", "concread", "concread-arc"];

/// Two threads, uniform and Zipf.
const U1: At = At("get-uniform", "operations", "uniform, 1 thr");
const U2: At = At("get-uniform", "operations", "uniform, 2 thr");
const Z1: At = At("get-zipf", "operations", "zipf, 1 thr");
const Z2: At = At("get-zipf", "operations", "zipf, 2 thr");
const HELD_U2: At = At("get-held", "operations", "uniform, 2 thr");
const HELD_Z2: At = At("get-held", "operations", "zipf, 2 thr");

/// With a full store, and with one without a bound.
const ZIPF_1: [At; 2] = [
    At("get-bounded", "gets", "bounded, zipf, 1 thr"),
    At("get-bounded", "gets", "unbounded, zipf, 1 thr"),
];
const ZIPF_2: [At; 2] = [
    At("get-bounded", "gets", "bounded, zipf, 2 thr"),
    At("get-bounded", "gets", "unbounded, zipf, 2 thr"),
];
const UNIFORM_1: [At; 2] = [
    At("get-bounded", "gets", "bounded, uniform, 1 thr"),
    At("get-bounded", "gets", "unbounded, uniform, 1 thr"),
];
const UNIFORM_2: [At; 2] = [
    At("get-bounded", "gets", "bounded, uniform, 2 thr"),
    At("get-bounded", "gets", "unbounded, uniform, 2 thr"),
];

const fn of_bounded(claim: &'static str, [bounded, unbounded]: [At; 2]) -> Bar {
    bar(claim, bounded, Other(BASELINE, unbounded), AtLeast(0.9))
}

/// Inserts into full stores, and their latency.
const E100K: At = At("evict", "inserts", "100000 entries, 2 thr");
const E1M: At = At("evict", "inserts", "1048576 entries, 2 thr");
const E99: At = At("evict-latency", "insert p99.99", "on schedule");
/// At most a third, of a figure that is better when it is smaller.
const THIRD: Must = AtMost(0.333);

/// All bars.
pub const BARS: &[Bar] = &[
    bar("get, Zipf, 2 threads, papaya", Z2, Store("papaya"), AtLeast(1.5)),
    bar("get, uniform, 2 threads, papaya", U2, Store("papaya"), AtLeast(1.5)),
    bar("get, Zipf, 2 threads, dashmap", Z2, Store("dashmap"), AtLeast(1.2)),
    bar("get, uniform, 2 threads, dashmap", U2, Store("dashmap"), AtLeast(1.2)),
    bar("get, Zipf, 2 threads, moka", Z2, Store("moka"), AtLeast(5.0)),
    bar("get, uniform, 2 threads, moka", U2, Store("moka"), AtLeast(5.0)),
    bar("get, Zipf, 2 threads, quick_cache", Z2, Store("quick_cache"), AtLeast(2.0)),
    bar("get, uniform, 2 threads, quick_cache", U2, Store("quick_cache"), AtLeast(2.0)),
    bar("get, Zipf, 1 thread, papaya", Z1, Store("papaya"), AtLeast(1.5)),
    bar("get, uniform, 1 thread, papaya", U1, Store("papaya"), AtLeast(1.5)),
    bar("get, Zipf, 1 thread, dashmap", Z1, Store("dashmap"), AtLeast(1.0)),
    bar("get, uniform, 1 thread, dashmap", U1, Store("dashmap"), AtLeast(1.0)),
    bar("held pin, Zipf, 2 threads, papaya held", HELD_Z2, Store("papaya"), AtLeast(1.0)),
    bar("held pin, uniform, 2 threads, papaya held", HELD_U2, Store("papaya"), AtLeast(1.0)),
    bar("held pin, Zipf, 2 threads, a plain HashMap", HELD_Z2, Store("std"), AtLeast(0.6)),
    bar("held pin, uniform, 2 threads, a plain HashMap", HELD_U2, Store("std"), AtLeast(0.6)),
    bar(
        "get among 1,000 keys, 1 thread, papaya",
        At("sizes", "gets", "1000 keys, 1 thr"),
        Store("papaya"),
        AtLeast(1.0),
    ),
    bar(
        "get among 10,000 keys, 1 thread, papaya",
        At("sizes", "gets", "10000 keys, 1 thr"),
        Store("papaya"),
        AtLeast(1.0),
    ),
    bar(
        "get among 100,000 keys, 1 thread, papaya",
        At("sizes", "gets", "100000 keys, 1 thr"),
        Store("papaya"),
        AtLeast(1.0),
    ),
    bar(
        "get among 10,000,000 keys, 1 thread, papaya",
        At("large", "gets", "10000000 keys, 1 thr"),
        Store("papaya"),
        AtLeast(1.0),
    ),
    bar(
        "get, keys written once: the same keys overwritten twice, 1 thread",
        At("overwritten", "gets", "written once, 1 thr"),
        Other("coeval", At("overwritten", "gets", "overwritten twice, 1 thr")),
        AtMost(1.2),
    ),
    bar(
        "get, keys written once: the same keys overwritten twice, 2 threads",
        At("overwritten", "gets", "written once, 2 thr"),
        Other("coeval", At("overwritten", "gets", "overwritten twice, 2 thr")),
        AtMost(1.2),
    ),
    bar(
        "read-heavy, 2 threads, the best peer",
        At("read-heavy", "operations", "2 thr"),
        BestOf(PEERS),
        AtLeast(1.2),
    ),
    bar(
        "exchange, 2 threads, the best lock-free peer",
        At("exchange", "operations", "2 thr"),
        BestOf(LOCK_FREE),
        AtLeast(1.0),
    ),
    bar(
        "rapid grow, 2 threads, the best lock-free peer",
        At("rapid-grow", "operations", "2 thr"),
        BestOf(LOCK_FREE),
        AtLeast(1.0),
    ),
    bar(
        "rapid grow from empty, 2 threads, the best lock-free peer",
        At("rapid-grow, grown", "operations", "2 thr"),
        BestOf(LOCK_FREE),
        AtLeast(1.0),
    ),
    Bar {
        claim: "YCSB B, 1 KiB, 2 threads, bounded: the best bounded peer",
        who: "coeval-bounded",
        ours: At("ycsb", "operations", "B, 2 thr"),
        against: BestOf(BOUNDED),
        must: AtLeast(1.2),
    },
    of_bounded("get, Zipf, 1 thread, bounded: unbounded", ZIPF_1),
    of_bounded("get, Zipf, 2 threads, bounded: unbounded", ZIPF_2),
    of_bounded("get, uniform, 1 thread, bounded: unbounded", UNIFORM_1),
    of_bounded("get, uniform, 2 threads, bounded: unbounded", UNIFORM_2),
    bar("insert into a full cache of 100,000, 2 threads, moka", E100K, Store("moka"), AtLeast(2.0)),
    bar(
        "insert into a full cache of 100,000, 2 threads, quick_cache",
        E100K,
        Store("quick_cache"),
        AtLeast(1.0),
    ),
    bar("insert into a full cache of 2^20, 2 threads, moka", E1M, Store("moka"), AtLeast(2.0)),
    bar(
        "insert into a full cache of 2^20, 2 threads, quick_cache",
        E1M,
        Store("quick_cache"),
        AtLeast(1.0),
    ),
    bar("p99.99 of such an insert on schedule, 8 threads, moka", E99, Store("moka"), THIRD),
    bar(
        "p99.99 of such an insert on schedule, 8 threads, quick_cache",
        E99,
        Store("quick_cache"),
        THIRD,
    ),
    bar(
        "batch of 8, 1 thread, concread",
        At("batch8", "batches", "1 thr"),
        Store("concread"),
        AtLeast(20.0),
    ),
    bar(
        "batch of 8, 1 thread, evmap publishing each",
        At("batch8", "batches", "1 thr"),
        Store("evmap"),
        AtLeast(3.0),
    ),
    bar(
        "batch of 8, 1 thread, papaya's eight unrelated inserts",
        At("batch8", "batches", "1 thr"),
        Store("papaya"),
        AtLeast(1.0),
    ),
    bar(
        "batch of 8, 2 threads, papaya's eight unrelated inserts",
        At("batch8", "batches", "2 thr"),
        Store("papaya"),
        AtLeast(1.0),
    ),
    bar(
        "consistent read of 8 beside a writer, the best consistent peer",
        At("group-read8", "reads", "1 reader + 1 writer"),
        BestOf(CONSISTENT),
        AtLeast(3.0),
    ),
    bar(
        "p99.99 of a read, 32 threads, one after the other, the best peer",
        At("crowd", "read p99.99", "one after the other"),
        BestOf(PEERS),
        AtMost(1.0),
    ),
    bar(
        "p99.99 of a read, 32 threads, on schedule, the best peer",
        At("crowd", "read p99.99", "on schedule"),
        BestOf(PEERS),
        AtMost(1.0),
    ),
    bar(
        "p99.9 of a read while a writer is frozen: while none is",
        At("frozen", "read p99.9", "frozen"),
        Other("coeval", At("frozen", "read p99.9", "running")),
        AtMost(1.2),
    ),
    bar(
        "p99.9 of a write while a writer is frozen: while none is",
        At("frozen", "write p99.9", "frozen"),
        Other("coeval", At("frozen", "write p99.9", "running")),
        AtMost(1.2),
    ),
    bar(
        "torn reads of 8, percent",
        At("group-read8", "torn", "1 reader + 1 writer"),
        Nothing,
        AtMost(0.0),
    ),
    bar("torn reads of 64, percent", At("groups", "torn", "64 keys"), Nothing, AtMost(0.0)),
    bar("stale after an invalidation, percent", At("stale", "stale", ""), Nothing, AtMost(0.0)),
    bar(
        "bytes an entry, grown from empty, quick_cache",
        At("memory", "memory an entry", "from empty"),
        Store("quick_cache"),
        AtMost(1.3),
    ),
];
