//! A flight recorder: the last events of each thread, in a ring that only this thread writes.
//!
//! Recording is wait-free, except that the first events allocate memory. A reader waits for no
//! thread: it omits the events that are being overwritten at that moment.
//!
//! # Why no torn event is shown
//! A ring counts the events that were *begun*, before their words are stored, and the events that
//! were *written*, after that. A reader reads the words of an event below the second count, and
//! then reads the first count.
//! - The load of the second count synchronizes with its store: the words are at least those of this
//!   event.
//! - If a word belongs to a later event, the fence after the words synchronizes with the fence
//!   before they were stored. So the reader sees that a later event of the same slot was begun, and
//!   discards the words.

use super::event::{Event, EventKind};
use crate::sync::hook::{mutant, step};
use crate::sync::lazy_array::LazyArray;
use crate::sync::per_thread::PerThread;
use crate::sync::{AtomicU64, Ordering, fence};
use crate::version::Version;
use std::time::Duration;

/// The number of slots in a part of a ring: a few pages.
const PART: usize = if cfg!(coeval_loom) { 1 } else { 512 };
/// The number of parts of a ring.
const PARTS: usize = 2;
/// The number of events that a ring holds.
const LENGTH: u64 = (PART * PARTS) as u64;

/// An event as a slot holds it: the time in nanoseconds, the version, and the rest (see [`pack`]).
pub type EventWords = [u64; 3];

type EventSlot = [AtomicU64; 3];

/// The last events of one thread.
#[derive(Default)]
pub struct EventRing {
    /// The number of events begun.
    begun: AtomicU64,
    /// The number of events written, including overwritten ones. It is the number of the next
    /// event.
    written: AtomicU64,
    /// Events with numbers below this were cleared.
    cleared: AtomicU64,
    parts: LazyArray<[EventSlot; PART], PARTS>,
}

/// Returns the part of a ring in which an event is, and its slot there.
fn locate(number: u64) -> (usize, usize) {
    let slot = (number % LENGTH) as usize;
    let part = slot / PART;
    (part, slot - part * PART)
}

/// Returns `order`, or `Relaxed` in a model with that mutant.
fn unless(defect: &'static str, order: Ordering) -> Ordering {
    if mutant(defect) { Ordering::Relaxed } else { order }
}

impl EventRing {
    /// Records an event. Only the thread that owns the ring calls this.
    pub fn push(&self, words: EventWords) {
        // Relaxed: only the owning thread writes it.
        let number = self.written.load(Ordering::Relaxed);
        let (part, slot) = locate(number);
        let part = self.parts.get_or_make(part, || std::array::from_fn(|_| EventSlot::default()));
        if !mutant("recorder.not_begun") {
            self.begun.store(number + 1, Ordering::Relaxed); // Relaxed: the fence follows.
        }
        if !mutant("recorder.no_fence") {
            fence(Ordering::Release); // partner: the fence in `intact`
        }
        for (word, value) in part[slot].iter().zip(words) {
            // Relaxed: the fence is before it, the store of the count after it.
            word.store(value, Ordering::Relaxed);
            step("recorder.writing");
        }
        // Release: pairs with the Acquire load in `read`.
        self.written.store(number + 1, unless("recorder.count_relaxed", Ordering::Release));
    }

    /// Visits the events with their numbers, newest first, without a gap. Returns the number of
    /// older events that were overwritten. Together these are all events that were recorded and not
    /// cleared when the call began.
    pub fn read(&self, mut visit: impl FnMut(u64, EventWords)) -> u64 {
        // Acquire: pairs with the Release store in `push`. All events below it are written.
        let written = self.written.load(Ordering::Acquire);
        let cleared = self.cleared.load(Ordering::Relaxed); // Relaxed: see `clear`.
        let first = written.saturating_sub(LENGTH).max(cleared);
        for number in (first..written).rev() {
            match self.intact(number) {
                Some(words) => visit(number, words),
                // It was overwritten just now, and so were the events before it.
                None => return number + 1 - cleared,
            }
        }
        first - cleared
    }

    /// Returns the words of an event that was written, unless another event was begun in its slot.
    fn intact(&self, number: u64) -> Option<EventWords> {
        let (part, slot) = locate(number);
        let slot = &self.parts.get(part)?[slot];
        // Relaxed: the load of the count is before them, the fence after them.
        let words = slot.each_ref().map(|word| word.load(Ordering::Relaxed));
        if !mutant("recorder.read_unfenced") {
            fence(Ordering::Acquire); // partner: the fence in `push`
        }
        (self.begun.load(Ordering::Relaxed) <= number + LENGTH).then_some(words)
    }

    /// Deletes the events recorded so far.
    fn clear(&self) {
        // Relaxed: a reader that does not see this yet shows what it showed before.
        self.cleared.fetch_max(self.written.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

const HAS_KEY: u64 = 1 << 8;
const HAS_VERSION: u64 = 1 << 9;

/// Packs the kind into the lowest byte, two flags that say whether there is a key and a version,
/// and the key's hash into the upper half.
fn pack(kind: EventKind, key: Option<u32>, version: Option<Version>) -> u64 {
    let has_key = if key.is_some() { HAS_KEY } else { 0 };
    let has_version = if version.is_some() { HAS_VERSION } else { 0 };
    u64::from(key.unwrap_or(0)) << 32 | has_version | has_key | kind as u64
}

/// Returns the event that a slot's words represent.
fn unpack(thread: usize, number: u64, [time, version, rest]: EventWords) -> Event {
    Event {
        time: Duration::from_nanos(time),
        thread,
        sequence: number,
        kind: EventKind::ALL[usize::from(rest as u8)],
        key: (rest & HAS_KEY != 0).then_some((rest >> 32) as u32),
        version: (rest & HAS_VERSION != 0).then_some(Version::from_u64(version)),
    }
}

/// The rings of all threads.
pub struct Recorder {
    rings: PerThread<EventRing>,
}

/// The contents of all rings.
pub struct Recording {
    /// The events in the order of time; see [`Event`].
    pub events: Vec<Event>,
    /// The number of older events that were overwritten.
    pub overwritten: u64,
}

impl Recorder {
    /// Creates a recorder. Each ring is allocated when its thread first records.
    pub fn new() -> Self {
        Self { rings: PerThread::new() }
    }

    /// Records an event of the calling thread. The time is in nanoseconds since a moment that is
    /// the same for all threads.
    #[cold]
    #[inline(never)]
    pub fn record(&self, kind: EventKind, key: Option<u32>, version: Option<Version>, time: u64) {
        let words = [time, version.map_or(0, Version::get), pack(kind, key, version)];
        self.rings.get().push(words);
    }

    /// Returns the present contents of the rings.
    pub fn read(&self) -> Recording {
        let mut recording = Recording { events: Vec::new(), overwritten: 0 };
        for (thread, ring) in self.rings.shared() {
            let visit = |number, words| recording.events.push(unpack(thread, number, words));
            recording.overwritten += ring.read(visit);
        }
        recording.events.sort_unstable_by_key(|event| (event.time, event.thread, event.sequence));
        recording
    }

    /// Deletes the events recorded so far.
    pub fn clear(&self) {
        self.rings.shared().for_each(|(_, ring)| ring.clear());
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    fn recorded(ring: &EventRing) -> (Vec<(u64, EventWords)>, u64) {
        let mut events = Vec::new();
        let overwritten = ring.read(|number, words| events.push((number, words)));
        events.reverse();
        (events, overwritten)
    }

    #[test]
    fn a_ring_keeps_the_last_events() {
        let ring = EventRing::default();
        assert_eq!(recorded(&ring), (vec![], 0));
        for count in 1..=3 * LENGTH {
            ring.push([count - 1, 7, 8]);
            if count < 3 || count % (LENGTH / 4) < 2 {
                let (events, overwritten) = recorded(&ring);
                let first = count.saturating_sub(LENGTH);
                assert_eq!(overwritten, first);
                assert!(events.into_iter().eq((first..count).map(|n| (n, [n, 7, 8]))), "{count}");
            }
        }
    }

    #[test]
    fn cleared_events_are_neither_shown_nor_counted() {
        let ring = EventRing::default();
        (0..LENGTH + 10).for_each(|n| ring.push([n, 0, 0]));
        ring.clear();
        assert_eq!(recorded(&ring), (vec![], 0));
        ring.push([1, 2, 3]);
        assert_eq!(recorded(&ring), (vec![(LENGTH + 10, [1, 2, 3])], 0));
        (0..LENGTH).for_each(|n| ring.push([n, 0, 0]));
        assert_eq!(recorded(&ring).1, 1);
    }

    #[test]
    fn parts_of_a_ring_are_whole_pages() {
        assert_eq!(size_of::<[EventSlot; PART]>() % crate::memory::PAGE, 0);
        assert_eq!(LENGTH, 1024);
    }

    #[test]
    fn unpacking_reverses_packing() {
        for kind in EventKind::ALL {
            for key in [None, Some(0), Some(0x9f3a_21c0), Some(u32::MAX)] {
                for version in [None, Some(0), Some(u64::MAX)] {
                    let number = version.unwrap_or(0);
                    let version = version.map(Version::from_u64);
                    let event = unpack(3, 5, [123, number, pack(kind, key, version)]);
                    let time = Duration::from_nanos(123);
                    assert_eq!(event, Event { time, thread: 3, sequence: 5, kind, key, version });
                }
            }
        }
    }

    #[test]
    fn a_cleared_recorder_shows_nothing() {
        let recorder = Recorder::new();
        assert_eq!(recorder.rings.shared().count(), 0, "memory is allocated before it is needed");
        recorder.record(EventKind::Miss, Some(1), None, 5);
        let recording = recorder.read();
        assert_eq!((recording.events.len(), recording.overwritten), (1, 0));
        assert_eq!(recording.events[0].kind, EventKind::Miss);
        recorder.clear();
        assert!(recorder.read().events.is_empty());
    }

    #[test]
    fn events_come_in_the_order_of_time() {
        let recorder = Recorder::new();
        let together = std::sync::Barrier::new(3);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (recorder, together) = (&recorder, &together);
                scope.spawn(move || {
                    together.wait(); // So that each thread has its own number.
                    for n in 0..100 {
                        // Each time occurs three times in a row, and all threads use the same
                        // times.
                        let hash = Some(thread * 1000 + n as u32);
                        recorder.record(EventKind::Hit, hash, None, 10 * (n / 3));
                    }
                    together.wait();
                });
            }
        });
        let events = recorder.read().events;
        assert_eq!(events.len(), 300);
        let order = |event: &Event| (event.time, event.thread, event.sequence);
        assert!(events.is_sorted_by_key(order));
        for thread in 0..3 {
            let own =
                events.iter().filter_map(|event| event.key).filter(|key| key / 1000 == thread);
            assert!(
                own.eq(thread * 1000..thread * 1000 + 100),
                "the events of a thread change their order"
            );
        }
    }

    struct SetOnDrop<'a>(&'a AtomicBool);

    impl Drop for SetOnDrop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    const READINGS: usize = if cfg!(coeval_asan) { 300 } else { 3_000 };

    /// Threads record events whose words determine each other, while another thread reads.
    #[test]
    fn no_torn_event_is_shown() {
        let recorder = Recorder::new();
        let record = |n: u64| {
            let kind = EventKind::ALL[n as usize % EventKind::ALL.len()];
            recorder.record(kind, Some(n as u32), Some(Version::from_u64(n)), n * 1_000);
        };
        let check = |recording: &Recording| {
            for event in &recording.events {
                let n = event.version.unwrap().get();
                assert_eq!(event.time, Duration::from_nanos(n * 1_000));
                assert_eq!(event.key, Some(n as u32));
                assert_eq!(event.kind, EventKind::ALL[n as usize % EventKind::ALL.len()]);
            }
            recording.events.len() as u64 + recording.overwritten
        };
        let done = AtomicBool::new(false);
        let recorded: usize = std::thread::scope(|scope| {
            let writers = [0, 1].map(|_| {
                scope.spawn(|| {
                    (0..)
                        .take_while(|_| !done.load(Ordering::Relaxed))
                        .inspect(|&n| record(n))
                        .count()
                })
            });
            // Ends the writers, even if the reader fails.
            let end = SetOnDrop(&done);
            let (mut before, mut readings) = (0, 0);
            while readings < READINGS {
                let recording = recorder.read();
                let all = check(&recording);
                assert!(before <= all, "events are missing");
                before = all;
                // Readings count once the writers are at work.
                readings += usize::from(recording.overwritten > 0);
            }
            drop(end);
            writers.into_iter().map(|writer| writer.join().unwrap()).sum()
        });
        assert_eq!(check(&recorder.read()), recorded as u64);
    }
}
