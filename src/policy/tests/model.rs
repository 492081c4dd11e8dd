//! A model of the policy for one thread, written as plainly as possible. The policy must make the
//! same decisions.

use super::support::hash;
use std::collections::{HashMap, VecDeque};

const ONE: u64 = 1 << 32;

#[derive(Clone, Copy, Default)]
struct ModelSlot {
    fingerprint: u64,
    time: u64,
    from_main: bool,
}

/// What the thread has counted since it published its counts.
#[derive(Default)]
struct Unpublished {
    insertions: u64,
    evictions: [u64; 2],
    stays: [u16; 2],
    passed: u64,
    passed_with_hits: u64,
}

/// The cache: the keys that it holds, and their hits.
pub struct Model {
    capacity: u64,
    hits: HashMap<u64, u32>,
    /// Keys, with the tick of their last push.
    small: VecDeque<(u64, u16)>,
    main: VecDeque<(u64, u16)>,
    share: u64,
    clock: u64,
    main_moved: u64,
    /// The times of the evictions from small and from main.
    evicted: [Vec<u64>; 2],
    stays: [u16; 2],
    /// The share of hits at the front of small.
    small_hits: u64,
    /// Whether the thread publishes its counts with every eighth insertion: the queues were deep.
    in_lots: bool,
    unpublished: Unpublished,
    first_returns: u64,
    buckets: Vec<[ModelSlot; 6]>,
}

impl Model {
    pub fn new(capacity: u64) -> Self {
        Self {
            capacity,
            hits: HashMap::new(),
            small: VecDeque::new(),
            main: VecDeque::new(),
            share: ONE / 20,
            clock: 0,
            main_moved: 0,
            evicted: [Vec::new(), Vec::new()],
            stays: [0; 2],
            small_hits: 0,
            in_lots: false,
            unpublished: Unpublished::default(),
            first_returns: 0,
            buckets: vec![[ModelSlot::default(); 6]; (capacity * 2).div_ceil(6) as usize],
        }
    }

    pub fn is_present(&self, key: u64) -> bool {
        self.hits.contains_key(&key)
    }

    /// Looks the key up, and inserts it if it is absent. Returns true for a hit.
    pub fn request(&mut self, key: u64) -> bool {
        if let Some(hits) = self.hits.get_mut(&key) {
            *hits = (*hits + 1).min(3);
            return true;
        }
        self.clock += 1;
        let in_lots = self.in_lots;
        let looks_after = if in_lots { self.counts_eighth() } else { self.clock.is_multiple_of(8) };
        let to_main = match self.take(key) {
            Some((from_main, tick)) => self.returns_to_main(from_main, tick),
            // While the cache fills, main takes the new entries.
            None => {
                let room = self.capacity - self.hits.len() as u64;
                room > 1 && room > self.target(self.capacity as usize) as u64
            }
        };
        self.hits.insert(key, 0);
        self.push(to_main, key);
        self.in_lots |= looks_after && self.small.len().min(self.main.len()) >= 256;
        if self.hits.len() as u64 > self.capacity {
            self.evict(key, in_lots);
        }
        false
    }

    /// Counts an insertion of a thread that publishes eight at once. Returns whether this was the
    /// eighth.
    fn counts_eighth(&mut self) -> bool {
        self.unpublished.insertions += 1;
        let is_eighth = self.unpublished.insertions == 8;
        if is_eighth {
            self.publish();
        }
        is_eighth
    }

    fn publish(&mut self) {
        let counts = std::mem::take(&mut self.unpublished);
        for queue in 0..2 {
            let count = counts.evictions[queue];
            self.evicted[queue].extend((0..count).map(|_| self.clock));
            if count > 0 {
                self.stays[queue] = counts.stays[queue];
            }
        }
        let gone = (self.small_hits / 64 * counts.passed).min(self.small_hits);
        self.small_hits += ONE / 64 * counts.passed_with_hits;
        self.small_hits -= gone;
    }

    fn push(&mut self, to_main: bool, key: u64) {
        let stamp = self.tick(self.clock) as u16;
        if to_main {
            self.main_moved = self.clock;
            self.main.push_back((key, stamp));
        } else {
            self.small.push_back((key, stamp));
        }
    }

    fn tick(&self, time: u64) -> u64 {
        time >> self.capacity.ilog2().saturating_sub(5)
    }

    /// Returns the number of places that small gets out of `entries`.
    fn target(&self, entries: usize) -> usize {
        ((entries as u64 * (self.share >> 16)) >> 16).max(1) as usize
    }

    fn returns_to_main(&mut self, from_main: bool, tick: u64) -> bool {
        let step = 4 * ONE / self.capacity;
        let before = self.share;
        let is_recent = tick >= self.tick(self.recent_since(from_main));
        let haste = self.haste();
        if from_main && is_recent {
            self.share = self.share.saturating_sub(step * haste).max(ONE / 100);
        }
        if !from_main {
            let mut times = 1;
            if haste > 1 {
                self.first_returns += u64::from(is_recent);
                let insertions = self.clock - self.capacity + self.capacity / 16;
                let many = haste * 20 * self.first_returns / insertions.max(1);
                times = many.clamp(1, haste);
            }
            let is_rather_recent =
                times > 1 && self.tick(self.clock) - tick <= self.tick(self.capacity / 5);
            if is_recent || is_rather_recent {
                self.share = (self.share + step * times).min(ONE / 10 * 9);
            }
        }
        let entries = self.small.len() + self.main.len();
        let now = self.tick(self.clock) as u16;
        let stay = self.stays[usize::from(from_main)].wrapping_add(1);
        let interval = u32::from(now.wrapping_sub((tick as u16).wrapping_sub(stay)));
        let pushed = now.wrapping_sub((interval * 9 / 8).min(16_000) as u16);
        if self.small.len() > self.target(entries + 1) || self.main_has_staler(pushed) {
            return true;
        }
        if !from_main && self.small_hits < ONE / 50 {
            self.share = before;
        }
        let refusal = (step * 2 / 16 * ((ONE - self.share) >> 16)) >> 16;
        self.share = (self.share.saturating_sub(refusal)).max(ONE / 100);
        false
    }

    /// Returns how many times larger than later ones the steps are: 64 at first, and in proportion
    /// to the cube of the age less.
    fn haste(&self) -> u64 {
        let age = (self.clock * 16 / self.capacity).max(16);
        if age < 64 { (64 * 16 * 16 * 16 / (age * age * age)).max(1) } else { 1 }
    }

    /// Returns the time since which evictions are recent: the last sixteenth of the capacity, in
    /// steps of an eighth of it.
    fn recent_since(&self, from_main: bool) -> u64 {
        let evicted = &self.evicted[usize::from(from_main)];
        let near = (self.capacity / 16).max(1) as usize;
        let spacing = (near / 8).max(1);
        match (evicted.len() / spacing).checked_sub(near / spacing) {
            Some(mark) if mark > 0 => evicted[mark * spacing - 1],
            _ => 0,
        }
    }

    fn main_has_staler(&mut self, pushed: u16) -> bool {
        for _ in 0..32 {
            let Some(&(key, stamp)) = self.main.front() else { return true };
            let is_idle = self.clock - self.main_moved > 16 * self.capacity;
            if !is_idle && pushed.wrapping_sub(stamp) as i16 <= 0 {
                return false;
            }
            let hits = self.hits.get_mut(&key).unwrap();
            if *hits == 0 {
                return true;
            }
            *hits -= 1;
            self.main.pop_front();
            self.push(true, key);
        }
        false
    }

    /// Evicts an entry other than `own`, which was just inserted.
    fn evict(&mut self, own: u64, in_lots: bool) {
        let mut chances = 32;
        let mut avoided: Option<bool> = None;
        loop {
            let entries = self.small.len() + self.main.len();
            let from_small = match avoided {
                None => self.small.len() > self.target(entries),
                Some(was_small) => !was_small,
            };
            let from_small = if from_small { !self.small.is_empty() } else { self.main.is_empty() };
            let queue = if from_small { &mut self.small } else { &mut self.main };
            let (key, stamp) = queue.pop_front().unwrap();
            let hits = self.hits[&key];
            if (hits == 0 || chances == 0) && key == own {
                self.push(!from_small, key);
                avoided = Some(from_small);
                continue;
            }
            if from_small {
                self.unpublished.passed += 1;
                self.unpublished.passed_with_hits += u64::from(hits > 0);
                if !in_lots {
                    self.publish();
                }
            }
            if hits == 0 || chances == 0 {
                self.hits.remove(&key);
                let from = usize::from(!from_small);
                self.unpublished.stays[from] = (self.tick(self.clock) as u16).wrapping_sub(stamp);
                self.unpublished.evictions[from] += 1;
                if !in_lots {
                    self.publish();
                }
                self.remember(key, !from_small);
                return;
            }
            chances -= 1;
            self.hits.insert(key, if from_small { 0 } else { hits - 1 });
            self.push(!from_small || hits > 1, key);
        }
    }

    /// Returns the bucket and the fingerprint of a key.
    fn bucket(&self, key: u64) -> (usize, u64) {
        let bits = u64::from(hash(key)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let bits = (bits ^ (bits >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let bucket = ((bits >> 32) * self.buckets.len() as u64) >> 32;
        (bucket as usize, ((bits >> 21) & 2047).max(1))
    }

    fn age(&self, slot: ModelSlot) -> u64 {
        (self.tick(self.clock) - slot.time) & 511
    }

    fn staleness(&self, slot: ModelSlot) -> u64 {
        let bits = ((slot.fingerprint << 9 | slot.time & 511) as u32).wrapping_mul(0x9E37_79B1);
        self.age(slot) * (u64::from(bits >> 24) + 1).max(16)
    }

    fn remember(&mut self, key: u64, from_main: bool) {
        let (bucket, fingerprint) = self.bucket(key);
        let slots = &self.buckets[bucket];
        let with = |sought| slots.iter().position(|slot| slot.fingerprint == sought);
        let free = with(fingerprint).or_else(|| with(0));
        let stalest = (0..6).max_by_key(|place| self.staleness(slots[*place])).unwrap();
        let slot = ModelSlot { fingerprint, time: self.tick(self.clock), from_main };
        self.buckets[bucket][free.unwrap_or(stalest)] = slot;
    }

    fn take(&mut self, key: u64) -> Option<(bool, u64)> {
        let (bucket, fingerprint) = self.bucket(key);
        let place = self.buckets[bucket].iter().position(|slot| slot.fingerprint == fingerprint)?;
        let slot = std::mem::take(&mut self.buckets[bucket][place]);
        let limit = self.tick(self.capacity * 256);
        let tick = self.tick(self.clock) - self.age(slot);
        (self.staleness(slot) <= limit).then_some((slot.from_main, tick))
    }
}
