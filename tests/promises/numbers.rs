//! Promise: a version's number is never given twice. The commit for which there is no number ends
//! the process; until then, nobody sees half of a commit, and numbers only grow.

use crate::common::random::Random;
use crate::common::{Store, disturb, on_every_reclaimer, store, together, within};
use coeval::Version;
use coeval::reclaim::Reclaim;
use std::any::type_name;
use std::process::{Command, exit};
use std::time::Duration;

/// The last number.
const LAST: u64 = (1 << 58) - 1;
/// With how many numbers left a process begins.
const LEFT: u64 = 4_000;
const KEYS: [u64; 4] = [0, 1, 2, 3];

type Cache<R> = Store<u64, u64, R>;

/// One thread of a process that comes to the end of the numbers.
struct Worker<'a, R: Reclaim> {
    cache: &'a Cache<R>,
    random: Random,
    /// The newest commit that it knows of.
    newest: u64,
}

impl<R: Reclaim> Worker<'_, R> {
    fn made(&mut self, version: Version) {
        let number = version.get();
        assert!(self.newest < number && number <= LAST, "{number} after {}", self.newest);
        self.newest = number;
    }

    /// Writes all keys to one value, in any of the ways.
    fn write(&mut self) {
        let (cache, value) = (self.cache, self.random.below(1 << 40));
        let version = match self.random.below(4) {
            0 => cache.insert_many(KEYS.map(|key| (key, value))),
            1 => {
                let done = cache.transact(|tx| {
                    let found = KEYS.map(|key| tx.get(&key));
                    assert_whole(&found);
                    KEYS.iter().for_each(|&key| tx.insert_tagged(key, value, &["tag".into()]));
                    Ok::<_, ()>(())
                });
                let Ok(done) = done else { return };
                done.version
            }
            2 => cache.invalidate_tag("tag"),
            _ => cache.invalidate_all(),
        };
        self.made(version);
    }

    fn read(&mut self) {
        assert_whole(&self.cache.get_many(KEYS.each_ref()));
        let view = self.cache.view();
        let found = KEYS.map(|key| view.get_versioned(&key).map(|(&value, at)| (value, at)));
        assert_whole(&found.map(|found| found.map(|(value, _)| value)));
        let version = view.version().get();
        assert!(found.iter().flatten().all(|(_, at)| at.get() <= version), "{found:?}");
        assert!(version >= self.newest, "a view as of {version} after {}", self.newest);
        self.cache.derive(9, |scope| KEYS.map(|key| scope.get(&key)).into_iter().flatten().sum());
    }
}

fn assert_whole(found: &[Option<u64>; 4]) {
    assert!(found.iter().all(|value| *value == found[0]), "half of a commit: {found:?}");
}

/// The child's part: goes on for as long as there are numbers, and for some time without.
fn use_up<R: Reclaim>() {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        exit(3);
    }));
    disturb();
    let cache = store::<u64, u64, R>();
    let work = |thread| {
        let mut worker = Worker { cache: &cache, random: Random::new(thread as u64), newest: 0 };
        for _ in 0..LEFT {
            worker.write();
            worker.read();
        }
    };
    // With numbers that begin again, a commit may try again for ever.
    let limit = if std::env::var("COEVAL_DEFECT").is_ok() { 10 } else { 120 };
    within(Duration::from_secs(limit), "using up the numbers", || together(4, work));
}

fn they_end_and_do_not_begin_again<R: Reclaim>() {
    if std::env::var("COEVAL_CLOCK").is_ok() {
        return use_up::<R>();
    }
    let module = match type_name::<R>() {
        name if name.ends_with("CrossbeamEpoch") => "crossbeam_epoch",
        name if name.ends_with("Seize") => "seize",
        _ => "asymmetric",
    };
    let name = format!("numbers::{module}::they_end_and_do_not_begin_again");
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([&name, "--exact", "--nocapture", "--test-threads=1"]);
    child.env("COEVAL_CLOCK", (LAST - LEFT).to_string()).env("ASAN_OPTIONS", "detect_leaks=0");
    let output = child.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    let ended_so = words.contains("as many commits as there are version numbers");
    assert!(ended_so && output.status.code().is_none(), "{}\n{words}", output.status);
}

/// Numbers that no commit can have are those of no commit.
fn larger_ones_are_of_no_commit<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    let version = cache.insert(1, 1);
    for beyond in [version.get() + LAST + 1, u64::MAX, LAST] {
        let version = Version::from_u64(beyond);
        assert!(cache.compare_and_set(1, Some(version), 2).is_err(), "{beyond}");
        assert!(cache.view_at(version).is_none(), "{beyond}");
    }
    assert_eq!(cache.get_versioned(&1), Some((1, version)));
}

on_every_reclaimer!(they_end_and_do_not_begin_again, larger_ones_are_of_no_commit);
