//! Domains: caches with one clock. One view shows all of them at one instant.

use super::Engine;
use super::parts::JointCommits;
use crate::commit::{AnnouncedPlace, JointInstant, Partner};
use crate::reclaim::Reclaim;
use crate::store::Snapshot;
use crate::sync::hook::step;
use crate::sync::{Ordering, fence};
use crate::version::Clock;
use arc_swap::ArcSwap;
use smallvec::SmallVec;
use std::hash::{BuildHasher, Hash};
use std::ptr;
use std::sync::{Arc, Weak};

/// A cache of a domain, without its types.
pub trait Member: Partner {
    /// Returns the address of the cache.
    fn address(&self) -> usize;

    /// Puts a place of a joint view into the cache's list of views.
    fn announce(&self, joint: &Arc<JointInstant>) -> AnnouncedPlace;

    /// Returns the time of the cache, and whether no version that has a number by now has a
    /// deadline.
    fn time(&self) -> (u64, bool);

    /// Opens the cache's view of a joint view, of this version. `None` if that is impossible: the
    /// joint view must be opened anew.
    fn register(&self, place: AnnouncedPlace, version: u64, time: Option<u64>) -> Option<Snapshot>;

    /// Closes a view.
    fn close(&self, view: Snapshot);
}

impl<K, V, S, R> Member for Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Reclaim,
{
    fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    fn announce(&self, joint: &Arc<JointInstant>) -> AnnouncedPlace {
        self.store.announce_joint(joint)
    }

    fn time(&self) -> (u64, bool) {
        (self.timer.now(), !self.deadlines.may_be())
    }

    fn register(&self, place: AnnouncedPlace, version: u64, time: Option<u64>) -> Option<Snapshot> {
        self.store.register_joint(place, version, time)
    }

    fn close(&self, view: Snapshot) {
        Engine::close(self, view);
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Returns whether the cache takes its numbers from this clock: it is of that domain.
    pub fn is_timed_by(&self, clock: &Clock) -> bool {
        self.store.order.clock.is(clock)
    }
}

/// The state of a domain.
pub struct DomainCore {
    pub commits: JointCommits,
    /// The caches. Those that are gone are taken out when another one is added.
    members: ArcSwap<Vec<Weak<dyn Member>>>,
}

/// Some of each cache of a domain. A few need no memory of their own.
pub type OfEach<T> = SmallVec<[T; 4]>;

/// A view of one cache. It is closed when it is dropped.
pub struct OpenedView {
    pub member: Arc<dyn Member>,
    /// `None`: it is closed.
    snapshot: Option<Snapshot>,
}

impl OpenedView {
    /// Returns what it sees.
    pub fn snapshot(&self) -> &Snapshot {
        self.snapshot.as_ref().expect("taken only at its end")
    }
}

impl Drop for OpenedView {
    fn drop(&mut self) {
        if let Some(snapshot) = self.snapshot.take() {
            self.member.close(snapshot);
        }
    }
}

impl DomainCore {
    /// Makes a domain without caches.
    pub fn new() -> Self {
        Self { commits: JointCommits::new(), members: ArcSwap::new(Arc::default()) }
    }

    /// Adds a cache that was made with the domain's clock.
    pub fn add(&self, member: &Arc<dyn Member>) {
        self.members.rcu(|members| {
            let mut members: Vec<_> =
                members.iter().filter(|member| member.strong_count() > 0).cloned().collect();
            members.push(Arc::downgrade(member));
            members
        });
    }

    /// Returns the caches that live.
    fn members(&self) -> OfEach<Arc<dyn Member>> {
        self.members.load().iter().filter_map(Weak::upgrade).collect()
    }

    /// Opens views of all caches, of one version. Returns the version, too. Lock-free: begins again
    /// only if a commit took a number meanwhile.
    pub fn open(&self) -> (u64, OfEach<OpenedView>) {
        let members = self.members();
        loop {
            let joint = JointInstant::new();
            let places: OfEach<_> = members.iter().map(|member| member.announce(&joint)).collect();
            joint.announce();
            let (number, times) = self.instant(&members);
            let version = joint.propose(number);
            step("joint_view.versioned");
            let opened = members.iter().zip(places).zip(times).map(|((member, place), time)| {
                let time = Some(time).filter(|_| version == number);
                let snapshot = member.register(place, version, time);
                OpenedView { member: Arc::clone(member), snapshot }
            });
            // All are registered, also after one that failed. A view that failed is closed.
            let opened: OfEach<_> = opened.collect();
            if opened.iter().all(|view| view.snapshot.is_some()) {
                return (version, opened);
            }
        }
    }

    /// Returns a number, and for each cache a time that belongs to it; see `Order::instant`.
    fn instant(&self, members: &[Arc<dyn Member>]) -> (u64, OfEach<u64>) {
        let mut number = self.commits.clock.now();
        loop {
            let mut are_timeless = true;
            let time = |(time, is_timeless)| {
                are_timeless &= is_timeless;
                time
            };
            let times = members.iter().map(|member| member.time()).map(time).collect();
            fence(Ordering::SeqCst); // partner: the fence in `Descriptor::time`
            let now = self.commits.clock.now();
            if are_timeless || now == number {
                return (number, times);
            }
            number = now;
        }
    }
}
