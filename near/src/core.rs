//! What the handles of one cache share: the L1, the current link, and the rules by which entries
//! get into the L1, are served from it, and leave it.

use crate::clock::Clock;
use crate::codec::Codec;
use crate::flight::Flights;
use crate::held::{Held, Local, NEVER};
use crate::link::Link;
use crate::planted::{Defect, Planted};
use crate::routes::{Map, Route};
use crate::serving::Serving;
use crate::settings::{OnDisconnect, Settings};
use crate::slots::{SLOTS, numbers, slot_of};
use crate::status::Counts;
use arc_swap::{ArcSwap, ArcSwapOption};
use coeval::{Cache, Lease};
use redis::{PushInfo, PushKind, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

pub(crate) struct Core<V: Send + Sync + 'static> {
    pub l1: Cache<String, Held<V>>,
    pub codec: Arc<dyn Codec<V>>,
    pub settings: Settings,
    pub clock: Clock,
    pub flights: Flights,
    pub counts: Counts,
    pub planted: Planted,
    /// Why the last attempt to connect failed, or a connection was given up.
    pub last_failure: ArcSwapOption<String>,
    /// Wakes the supervisor when a connection breaks, or a slot may have moved.
    pub broken: Notify,
    /// Since the last look at a cluster, a slot was answered for by another node than that of its
    /// route.
    pub has_left: AtomicBool,
    /// Until when that does not wake the supervisor.
    pub no_look_before: AtomicU64,
    pub serving: Serving,
    /// The runtime in which the cache connected.
    pub runtime: Handle,
    has_ended: AtomicBool,
    /// Of a cluster, for each slot a number whose digits are in it.
    pub numbers: Option<Box<[u32]>>,
    map: ArcSwap<Map>,
    /// Changes when a link opens, or none will any more; wakes those who wait for one.
    pub opened: watch::Sender<u64>,
    stamps: AtomicU64,
}

/// The mark of a read in flight: it is set before the read is sent, and a push of its key, a
/// clearing, or an own write takes it away.
pub(crate) struct Mark<V: Send + Sync + 'static> {
    key: String,
    lease: Option<Lease<String, Held<V>>>,
}

impl<V: Clone + Send + Sync + 'static> Core<V> {
    /// Called in the runtime that is to keep the connections.
    pub fn new(
        l1: Cache<String, Held<V>>,
        codec: Arc<dyn Codec<V>>,
        settings: Settings,
        is_cluster: bool,
        planted: Planted,
    ) -> Self {
        let slots = if is_cluster { SLOTS } else { 1 };
        Self {
            l1,
            codec,
            clock: Clock::new(settings.max_staleness),
            serving: Serving::new(settings.max_staleness, is_cluster),
            numbers: is_cluster.then(numbers),
            map: ArcSwap::from_pointee(Map::empty(slots)),
            settings,
            runtime: Handle::current(),
            has_ended: AtomicBool::new(false),
            flights: Flights::new(),
            counts: Counts::default(),
            planted,
            last_failure: ArcSwapOption::empty(),
            broken: Notify::new(),
            has_left: AtomicBool::new(false),
            no_look_before: AtomicU64::new(0),
            opened: watch::Sender::new(0),
            stamps: AtomicU64::new(0),
        }
    }

    /// Which link answers for which slot: the one in use, or the last one.
    pub fn map(&self) -> arc_swap::Guard<Arc<Map>> {
        self.map.load()
    }

    /// From now on, the routes are these. Terms whose link is another one have ended before.
    pub fn set_map(&self, map: Map) {
        self.map.store(Arc::new(map));
        self.opened.send_modify(|count| *count += 1);
    }

    pub fn is_cluster(&self) -> bool {
        self.numbers.is_some()
    }

    /// The slot of a key as the server knows it.
    pub fn slot(&self, server_key: &str) -> usize {
        if self.is_cluster() { slot_of(server_key.as_bytes()) } else { 0 }
    }

    /// Puts a link to the one server into use that was set up by a command sent at this time. The
    /// order is what counts: first nothing is served, and nobody can install what an earlier link
    /// read (`mark` asks whether the term is under way); then all of that is cleared by one commit;
    /// then the link's term begins, and the link can be used.
    pub fn put_into_use(&self, link: &Arc<Link>, sent: u64) {
        self.counts.links.add();
        self.serving.terms.end(0);
        // Before the first link there is nothing to clear. A cache that was cleared once is slower.
        if link.number > 1 && !self.planted.has(Defect::BreakIgnored) {
            self.l1.invalidate_all();
        }
        self.map.store(Arc::new(Map::to(Arc::clone(link))));
        self.serving.begin(link.number, sent);
        link.open();
        self.opened.send_modify(|count| *count += 1);
    }

    /// Notes that a link has broken. Unless hits may outlast a break, they end at once.
    pub fn note_break(&self, link: &Link) {
        link.break_off();
        self.end_hits(link.number);
        self.broken.notify_one();
    }

    /// Notes that nobody keeps the connections any more: they count as broken.
    pub fn note_end(&self, why: &str) {
        self.last_failure.store(Some(Arc::new(why.to_owned())));
        // Release: pairs with `has_ended`.
        self.has_ended.store(true, Ordering::Release);
        let map = Arc::clone(&self.map());
        map.links().iter().for_each(|link| self.note_break(link));
        self.opened.send_modify(|count| *count += 1);
    }

    /// Whether no link will open any more. Acquire: who sees it finds the reason.
    pub fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    fn end_hits(&self, link: u64) {
        let refuses = self.settings.on_disconnect == OnDisconnect::Refuse;
        if !refuses || self.planted.has(Defect::BreakIgnored) {
            return;
        }
        if self.is_cluster() {
            self.end_slots_of(link);
        } else {
            self.serving.terms.end_term(link);
            self.l1.invalidate_all();
        }
    }

    /// Notes that a heartbeat was answered which was sent on `link` at this time. No other reply
    /// says that the server still is the primary.
    pub fn confirm(&self, link: &Link, sent: u64) {
        if self.map().link(0).number == link.number {
            self.serving.confirm(sent);
        }
    }

    /// Takes what a connection pushes. It runs in the read loop of the connection: before the next
    /// frame is looked at, this has returned. It only removes.
    pub fn receive(&self, push: PushInfo, link: u64, gone: &AtomicBool) {
        match push.kind {
            PushKind::Invalidate => self.invalidate(&push.data, link),
            PushKind::Disconnection => {
                // Release: pairs with `Link::is_gone`.
                gone.store(true, Ordering::Release);
                self.end_hits(link);
                self.broken.notify_one();
            }
            _ => {}
        }
    }

    /// Applies one push of the server: a list of keys, or nothing for all keys.
    fn invalidate(&self, data: &[Value], link: u64) {
        match data.first() {
            Some(Value::Array(keys)) => self.apply(keys),
            _ => self.flush(link),
        }
        // Whoever sees the count finds the push applied.
        self.counts.pushes.add();
    }

    fn flush(&self, link: u64) {
        if self.is_cluster() {
            self.end_slots_of(link);
            self.broken.notify_one();
        } else {
            self.l1.invalidate_all();
        }
        self.counts.flushes.add();
    }

    /// Ends the terms of a link to a node. If one begins meanwhile of a slot that the link did not
    /// have: after a flush, all that is read in it is read later; after a break, the supervisor,
    /// which is woken, ends it.
    fn end_slots_of(&self, link: u64) {
        self.map().slots_of(link).for_each(|slot| self.serving.terms.end(slot));
    }

    fn apply(&self, keys: &[Value]) {
        let keys = keys.iter().filter_map(|key| match key {
            Value::BulkString(key) => self.own_key(key),
            _ => None,
        });
        // One commit, though servers put one key into a push.
        let mut batch = self.l1.batch_mut();
        for key in keys {
            batch.invalidate(key.to_owned());
        }
        if !batch.is_empty() {
            batch.commit();
        }
    }

    /// A key as the server knows it, without the prefix, if it is one of this cache.
    pub fn own_key<'k>(&self, key: &'k [u8]) -> Option<&'k str> {
        std::str::from_utf8(key).ok()?.strip_prefix(&*self.settings.prefix)
    }

    /// A key as the server knows it.
    pub fn server_key(&self, key: &str) -> String {
        [&*self.settings.prefix, key].concat()
    }

    /// The key on the server that has the keys of a tag.
    pub fn tag_key(&self, tag: &str) -> String {
        ["coeval:tag:", &*self.settings.prefix, tag].concat()
    }

    /// Marks a key whose read is about to be sent on this route. No mark is set if its term has
    /// ended by now: what the read brings is then nobody's to watch.
    ///
    /// First the lease, then the question. If the answer is that the term is under way, then the
    /// clearing before the next link opens comes after the lease, and outdates it.
    pub fn mark(&self, key: &str, route: &Route) -> Mark<V> {
        let lease = self.l1.lease(key);
        let is_under_way = route.term != 0 && self.serving.terms.is_under_way(route.term);
        Mark { key: key.to_owned(), lease: is_under_way.then_some(lease) }
    }

    /// Installs what a read has brought, if its mark is still set. `until`: see `Held`.
    pub fn install(&self, mark: Mark<V>, route: &Route, value: Option<V>, until: u64) {
        let Some(lease) = mark.lease else { return self.counts.refused.add() };
        // Relaxed: only that the stamps differ counts.
        let stamp = self.stamps.fetch_add(1, Ordering::Relaxed);
        let held = Held { value, until, term: route.term, stamp };
        if self.planted.has(Defect::NoMarks) {
            self.l1.insert(mark.key, held);
            return;
        }
        match lease.fill(held) {
            Ok(_) => self.counts.installed.add(),
            Err(_) => self.counts.refused.add(),
        }
    }

    /// Until when hits are served that are read after this, if nothing more is heard.
    #[inline]
    pub fn limit(&self) -> u64 {
        if self.planted.has(Defect::NoBound) { NEVER } else { self.serving.limit() }
    }

    /// Whether the term of an entry is under way. Asked for after the entry was read.
    #[inline]
    pub fn may_serve(&self, held: &Held<V>) -> bool {
        self.serving.terms.is_under_way(held.term) || self.planted.has(Defect::BreakIgnored)
    }

    /// Until when an entry is served, if nothing more is heard: before both of these. `limit` was
    /// asked for before the entry; the time is read after it.
    #[inline]
    pub fn ends(&self, held: &Held<V>, limit: u64) -> [u64; 2] {
        let is_ignored = self.planted.has(Defect::DeadlineIgnored);
        [limit, if is_ignored { NEVER } else { held.until }]
    }

    /// What is known of a key without asking the server.
    #[inline(always)]
    pub fn local(&self, key: &str) -> Local<V> {
        let limit = self.limit();
        let known = self.l1.read(key, move |held| {
            if self.may_serve(held) && self.clock.is_before(self.ends(held, limit)) {
                return Local::from_known(held.value.clone());
            }
            Local::Unknown
        });
        known.unwrap_or(Local::Unknown)
    }

    /// Removes the entries of these keys, and the marks of their reads in flight, by one commit.
    pub fn drop_keys(&self, keys: &[String]) {
        self.l1.invalidate_many(keys.iter());
    }

    /// The deadline on the clock of this cache, of the answer to PTTL: None if the key was not
    /// there by then.
    pub fn deadline(sent: u64, time_to_live: i64) -> Option<u64> {
        match time_to_live {
            -1 => Some(NEVER),
            left => Some(sent.saturating_add(u64::try_from(left).ok()?.saturating_mul(1_000_000))),
        }
    }
}
