//! Claim: a joint commit of two caches is decided once, and installed once in each of them,
//! whichever threads help. A reader finds it in both caches or in none. A joint commit is made only
//! if what it requires is met in each of the caches. Its memory is used again only when all caches
//! have done with it. What a joint view needs is not retired, in any of the caches.
//!
//! The caches share a clock alone. A helper has one of them, and reaches the other one as the
//! library does: by the trait of partners.
#![cfg(any(coeval_loom, coeval_internals))]
#![allow(clippy::undocumented_unsafe_blocks)]

use coeval::internals::chain::{Live, Node};
use coeval::internals::commit::{
    AnnouncedPlace, Descriptor, Expected, Joint, JointInstant, JointPart, Limit, Partner,
    Precondition, ViewPlace, Views, take_suffix,
};
use coeval::internals::version::{Clock, State};
use loom_tests::loom::cell::UnsafeCell;
use loom_tests::loom::thread;
use loom_tests::{Keys, Shared, explore, leak, must_fail};
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;

/// A cache of one key.
type OneKey = Keys<u32, 1>;

#[derive(Clone, Copy)]
struct Cache(&'static OneKey);

impl Partner for Cache {
    unsafe fn install_part(&self, part: *const (), joint: &Joint) {
        if !joint.is_installing() {
            return;
        }
        let order = &self.0.order;
        unsafe {
            let part = &*part.cast::<Descriptor<usize, u32>>();
            while let Err(blocking) = part.install_all(joint.word(), order, &|_, _| ()) {
                order.help(blocking, &|_, _| ());
            }
        }
    }

    unsafe fn is_part_met(&self, part: *const (), joint: &Joint, version: u64) -> Option<bool> {
        if !joint.is_ready() {
            return Some(false);
        }
        let part = unsafe { &*part.cast::<Descriptor<usize, u32>>() };
        part.are_met(&self.0.order, version, &Cell::new(None), unsafe { Live::assumed() })
    }
}

/// Two caches of a domain.
#[derive(Clone)]
struct Domain {
    clock: Clock,
    caches: [Cache; 2],
    partners: [Arc<dyn Partner>; 2],
}

/// What a joint commit does in one cache: the write, or the version since which the key is
/// unchanged.
#[derive(Clone, Copy)]
enum Part {
    Write(u32),
    Unchanged(u64),
}

/// A joint commit, and the descriptors of its parts.
#[derive(Clone, Copy)]
struct Commit {
    joint: Shared<Joint>,
    parts: [Shared<Descriptor<usize, u32>>; 2],
}

impl Domain {
    fn new() -> Self {
        let clock = Clock::new();
        let caches = [0, 1].map(|_| Cache(OneKey::in_domain(&clock)));
        let partners = caches.map(|cache| Arc::new(cache) as Arc<dyn Partner>);
        Self { clock, caches, partners }
    }

    fn describe(&self, parts: [Part; 2]) -> Commit {
        let joint = Box::into_raw(Joint::new());
        let described = [0, 1].map(|at| {
            let (write, expected) = match parts[at] {
                Part::Write(value) => (Some(Some(value)), vec![]),
                Part::Unchanged(since) => {
                    let precondition = Precondition::UnchangedSince(since);
                    (None, vec![Expected { entry: 0, precondition }])
                }
            };
            let is_conditional = !expected.is_empty();
            // SAFETY: the joint commit ends with its last part.
            let part = unsafe { self.caches[at].0.describe_part(joint, [(0, write)], expected) };
            let partner = Arc::downgrade(&self.partners[at]);
            let descriptor = part.get().cast_const().cast();
            unsafe { (*joint).add(JointPart { partner, descriptor, is_conditional }) };
            part
        });
        Commit { joint: Shared(joint), parts: described }
    }

    /// Completes a commit and copies its outcome, as its owner does.
    fn run(&self, commit: Commit) -> State {
        let outcome = unsafe { &*commit.joint.get() }.complete(&self.clock);
        for part in commit.parts {
            for entry in unsafe { &*part.get() }.entries() {
                unsafe { &*entry.node }.set_outcome(outcome);
            }
        }
        outcome
    }

    fn newest(&self, at: usize) -> Option<u32> {
        self.caches[at].0.newest(0).map(|(value, _)| *value)
    }

    /// Frees what the model's own code has made.
    fn end(self, commits: impl IntoIterator<Item = Commit>) {
        for commit in commits {
            (0..2).for_each(|_| drop(unsafe { Joint::release(commit.joint.get()) }));
        }
    }
}

/// A reader beside a commit: what it sees in one cache, it sees in the other one afterwards.
fn beside_a_reader(preemptions: usize, first: usize) {
    explore(preemptions, move || {
        let domain = Domain::new();
        let commit = domain.describe([Part::Write(1), Part::Write(1)]);
        let owner = thread::spawn({
            let domain = domain.clone();
            move || domain.run(commit)
        });
        let reader = thread::spawn({
            let domain = domain.clone();
            move || (domain.newest(first), domain.newest(1 - first))
        });
        let (one, other) = reader.join().unwrap();
        assert!(one.is_none() || other.is_some(), "a part of a commit was seen");
        let outcome = owner.join().unwrap();
        assert!(outcome.is_committed());
        domain.caches.iter().for_each(|cache| cache.0.assert_ordered());
        domain.end([commit]);
    });
}

#[test]
fn a_reader_sees_a_commit_in_both_caches_or_in_none() {
    beside_a_reader(2, 0);
    beside_a_reader(2, 1);
}

#[test]
fn defect_ready_before_all_parts_are_installed() {
    must_fail("joint.ready_early", "a part of a commit was seen", || beside_a_reader(2, 0));
}

/// Two writers, each of one of the caches, beside a joint commit of both, which they help.
fn beside_writers(preemptions: usize) {
    explore(preemptions, || {
        let domain = Domain::new();
        let commit = domain.describe([Part::Write(1), Part::Write(1)]);
        let owner = thread::spawn({
            let domain = domain.clone();
            move || domain.run(commit)
        });
        let writer = thread::spawn({
            let domain = domain.clone();
            move || {
                domain.caches[1].0.write(0, Some(2));
                domain.caches[0].0.write(0, Some(3));
            }
        });
        writer.join().unwrap();
        let outcome = owner.join().unwrap();
        for (cache, part) in domain.caches.iter().zip(commit.parts) {
            cache.0.assert_ordered();
            let node = unsafe { &*part.get() }.entries()[0].node;
            let chain = cache.0.chain(0);
            let found: Vec<_> = chain.iter().filter(|(other, _)| other.get() == node).collect();
            assert_eq!((found.len(), chain.len()), (1, 2), "a version was lost");
            assert_eq!(found[0].1, outcome, "decided twice");
        }
        domain.end([commit]);
    });
}

#[test]
fn helpers_of_either_cache_lose_nothing() {
    beside_writers(2);
}

/// Two joint commits meet in both caches.
#[test]
fn two_joint_commits() {
    explore(2, || {
        let domain = Domain::new();
        let commits = [1, 2].map(|value| domain.describe([Part::Write(value), Part::Write(value)]));
        let threads = commits.map(|commit| {
            let domain = domain.clone();
            thread::spawn(move || domain.run(commit))
        });
        let outcomes = threads.map(|thread| thread.join().unwrap());
        assert!(outcomes[0] != outcomes[1] && outcomes.iter().all(|state| state.is_committed()));
        let newest = [0, 1].map(|at| domain.newest(at));
        assert_eq!(newest[0], newest[1]);
        domain.caches.iter().for_each(|cache| {
            cache.0.assert_ordered();
            assert_eq!(cache.0.chain(0).len(), 2, "a version was lost");
        });
        domain.end(commits);
    });
}

/// Each of two commits writes one cache, if nothing has written the other one.
fn each_requires_what_the_other_writes(preemptions: usize) {
    explore(preemptions, || {
        let domain = Domain::new();
        let commits = [
            domain.describe([Part::Unchanged(0), Part::Write(1)]),
            domain.describe([Part::Write(1), Part::Unchanged(0)]),
        ];
        let threads = commits.map(|commit| {
            let domain = domain.clone();
            thread::spawn(move || domain.run(commit))
        });
        let outcomes = threads.map(|thread| thread.join().unwrap());
        let made = outcomes.iter().filter(|outcome| outcome.is_committed()).count();
        assert_eq!(made, 1, "each must be made, or see the other");
        domain.end(commits);
    });
}

#[test]
fn there_is_no_write_skew_across_caches() {
    each_requires_what_the_other_writes(2);
}

#[test]
fn defect_judging_the_first_part_alone() {
    let kind = "each must be made, or see the other";
    must_fail("joint.first_part_only", kind, || each_requires_what_the_other_writes(1));
}

/// Two threads take back one part each of a commit that is over, as the reclamation of two caches
/// does. The one that takes the last part uses the commit's memory for another commit.
fn the_last_part_is_taken_back() {
    explore(2, || {
        let domain = Domain::new();
        let commit = domain.describe([Part::Write(1), Part::Write(1)]);
        assert!(domain.run(commit).is_committed());
        let memory = Shared(leak(UnsafeCell::new(0)));
        let threads = [0, 1].map(|_| {
            thread::spawn(move || {
                let memory = unsafe { &*memory.get() };
                memory.with(|used| assert_eq!(unsafe { *used }, 0));
                let over = unsafe { Joint::release(commit.joint.get()) };
                if over.is_some() {
                    memory.with_mut(|used| unsafe { *used = 1 });
                }
                over.is_some()
            })
        });
        let owners = threads.map(|thread| thread.join().unwrap());
        assert!(owners[0] != owners[1], "one of them has the last part");
    });
}

#[test]
fn who_takes_the_last_part_owns_the_commit() {
    the_last_part_is_taken_back();
}

#[test]
fn defect_a_part_is_taken_back_without_synchronizing() {
    must_fail("joint.released_relaxed", "Causality violation", the_last_part_is_taken_back);
}

/// Set when its version is retired.
type Value = UnsafeCell<bool>;

/// A cache of one key, and its views.
struct Viewed {
    keys: &'static Keys<Value, 1>,
    views: Views,
}

unsafe fn retire(node: *mut Node<Value>) {
    let value = unsafe { (*node).value() };
    value.with_mut(|retired| unsafe { *retired = true });
}

impl Viewed {
    fn in_domain(clock: &Clock) -> &'static Self {
        let made = Self { keys: Keys::in_domain(clock), views: Views::new() };
        made.keys.write(0, Some(UnsafeCell::new(false)));
        unsafe { &*leak(made) }
    }

    /// Writes the key, and retires what was superseded unless a view needs it.
    fn write(&self, clock: &Clock) {
        let (node, version) = self.keys.write(0, Some(UnsafeCell::new(false)));
        let none = self.views.none();
        let below = || unsafe { self.views.first_below(clock, version, |_| ()) };
        if none || below().is_none() {
            unsafe { take_suffix(self.keys.records[0], node, true, |node| retire(node)) };
        }
    }

    fn announce(&self, clock: &Clock, joint: &Arc<JointInstant>) -> AnnouncedPlace {
        let place = NonNull::new(leak(ViewPlace::new())).unwrap();
        unsafe { self.views.open_joint(clock, joint, place, |_| ()) }
    }

    fn touch(&self, view: u64) {
        let Some((value, _)) = self.keys.at(0, Limit::View(view), 0) else {
            panic!("a view lost its version")
        };
        value.with(|retired| assert!(!unsafe { *retired }, "needed, but retired"));
    }
}

/// A joint view is opened beside a writer of both caches, and beside another view of the first one.
fn a_joint_view(preemptions: usize, is_detached: bool) {
    explore(preemptions, move || {
        let clock = Clock::new();
        let caches = [0, 1].map(|_| Viewed::in_domain(&clock));
        let opener = thread::spawn({
            let clock = clock.clone();
            move || {
                let joint = JointInstant::new();
                let places = caches.map(|cache| cache.announce(&clock, &joint));
                joint.announce();
                let version = joint.propose(clock.now());
                let registered = places.map(|place| Views::register(place, version, Some(0)));
                // If a place was detached, the view is opened anew; the model ends there.
                if registered.iter().all(|view| view.is_timed()) {
                    assert!(registered.iter().all(|view| view.version() == version));
                    caches.iter().for_each(|cache| cache.touch(version));
                }
            }
        });
        let writer = thread::spawn({
            let clock = clock.clone();
            move || {
                if is_detached {
                    let place = NonNull::new(leak(ViewPlace::new())).unwrap();
                    let cache = caches[0];
                    let time = || (clock.now(), 0);
                    let view = unsafe { cache.views.open(&clock, time, place, |_| ()) };
                    cache.write(&clock);
                    cache.touch(view.version());
                } else {
                    caches.iter().for_each(|cache| cache.write(&clock));
                }
            }
        });
        opener.join().unwrap();
        writer.join().unwrap();
    });
}

#[test]
fn a_joint_view_keeps_what_it_needs_in_each_cache() {
    a_joint_view(2, false);
}

#[test]
fn a_view_upon_a_joint_view_that_is_opening() {
    a_joint_view(2, true);
}

#[test]
fn defect_a_version_before_all_places_are_announced() {
    // A view reads what a writer of the other cache has retired.
    must_fail("joint_view.unannounced", "Causality violation", || a_joint_view(2, false));
}
