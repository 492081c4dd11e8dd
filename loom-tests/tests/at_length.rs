//! Claim: whatever a few threads do at once on one small cache, each commit is seen whole, and what a
//! thread sees only gets newer. Too long for loom: this runs under shuttle.
#![cfg(coeval_shuttle)]

use coeval::{Tag, Version};
use loom_tests::loom::thread;
use loom_tests::{Small, explore, must_fail, small_cache};
use std::sync::Arc;

/// The keys that are written together.
const GROUP: [usize; 3] = [1, 2, 3];
const TAG: &str = "tag";

/// What one thread knows.
struct Worker {
    cache: Arc<Small>,
    newest: Version,
}

impl Worker {
    fn made(&mut self, version: Version) {
        assert!(version > self.newest, "a commit is older than what its thread knew");
        self.newest = version;
    }

    fn write(&mut self, value: u32) {
        let entries = GROUP.map(|key| (key, value));
        let version = self.cache.insert_many(entries);
        self.made(version);
    }

    fn write_with_tag(&mut self, value: u32) {
        let mut batch = self.cache.batch();
        for key in GROUP {
            batch = batch.insert_tagged(key, value, &[Tag::from(TAG)]);
        }
        let version = batch.commit();
        self.made(version);
    }

    /// Adds one to the group, if it is there.
    fn transact(&mut self) {
        let _ = self.cache.transact(|tx| {
            let found = GROUP.map(|key| tx.get(&key));
            assert_whole(found);
            if let [Some(value), ..] = found {
                GROUP.into_iter().for_each(|key| tx.insert(key, value + 1));
            }
            Ok::<_, ()>(())
        });
    }

    fn read(&mut self) {
        assert_whole(self.cache.get_many(GROUP.each_ref()));
        let view = self.cache.view();
        assert_whole(GROUP.map(|key| view.get(&key).copied()));
        assert!(view.version() >= self.newest, "a view is older than what its thread knew");
        self.newest = view.version();
    }

    fn act(&mut self, what: usize) {
        match what % 7 {
            0 => self.write(what as u32),
            1 => self.write_with_tag(what as u32),
            2 => {
                let version = self.cache.invalidate_tag(TAG);
                self.made(version);
            }
            3 => self.transact(),
            4 => _ = self.cache.remove_many(GROUP.iter()),
            5 => {
                let version = self.cache.invalidate_all();
                self.made(version);
            }
            _ => self.read(),
        }
        self.read();
    }
}

fn assert_whole(found: [Option<u32>; 3]) {
    assert!(found.iter().all(|value| *value == found[0]), "half of a commit: {found:?}");
}

/// Threads that each do some of the operations, in an order of their own.
fn all_at_once() {
    explore(0, || {
        let cache = small_cache();
        let threads = [[0, 3, 6], [1, 2, 0], [5, 3, 4], [3, 8, 6]].map(|acts| {
            let mut worker = Worker { cache: cache.clone(), newest: Version::default() };
            thread::spawn(move || acts.into_iter().for_each(|act| worker.act(act)))
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_whole(cache.get_many(GROUP.each_ref()));
    });
}

#[test]
fn four_threads() {
    all_at_once();
}

#[test]
fn defect_ready_before_all_are_installed() {
    must_fail("commit.ready_early", "half of a commit", all_at_once);
}
