//! Exact LRU, FIFO and optimum. Keys are numbers below `unique`.

use std::collections::{BinaryHeap, VecDeque};

/// The keys in the order of their last use: a ring of links, with one more node than there are
/// keys.
struct Recency {
    older: Vec<u32>,
    newer: Vec<u32>,
}

impl Recency {
    fn new(unique: usize) -> Self {
        let end = unique as u32;
        Self { older: vec![end; unique + 1], newer: vec![end; unique + 1] }
    }

    fn end(&self) -> usize {
        self.older.len() - 1
    }

    fn remove(&mut self, key: usize) {
        let (older, newer) = (self.older[key], self.newer[key]);
        self.newer[older as usize] = newer;
        self.older[newer as usize] = older;
    }

    fn push_newest(&mut self, key: usize) {
        let end = self.end();
        let newest = self.older[end];
        (self.older[key], self.newer[key]) = (newest, end as u32);
        self.newer[newest as usize] = key as u32;
        self.older[end] = key as u32;
    }

    fn oldest(&self) -> usize {
        self.newer[self.end()] as usize
    }
}

/// Hits of an LRU cache.
pub fn lru(ids: &[u32], unique: usize, capacity: usize) -> u64 {
    let mut recency = Recency::new(unique);
    let mut present = vec![false; unique];
    let (mut held, mut hits) = (0, 0);
    for key in ids.iter().map(|id| *id as usize) {
        if present[key] {
            hits += 1;
            recency.remove(key);
        } else if capacity == 0 {
            continue;
        } else if held == capacity {
            let oldest = recency.oldest();
            recency.remove(oldest);
            present[oldest] = false;
        } else {
            held += 1;
        }
        present[key] = true;
        recency.push_newest(key);
    }
    hits
}

/// Hits of a FIFO cache.
pub fn fifo(ids: &[u32], unique: usize, capacity: usize) -> u64 {
    let mut queue = VecDeque::new();
    let mut present = vec![false; unique];
    let mut hits = 0;
    for key in ids.iter().map(|id| *id as usize) {
        if present[key] {
            hits += 1;
            continue;
        }
        if capacity == 0 {
            continue;
        }
        if queue.len() == capacity
            && let Some(oldest) = queue.pop_front()
        {
            present[oldest] = false;
        }
        present[key] = true;
        queue.push_back(key);
    }
    hits
}

/// Hits of a cache that knows the future, and can decline to insert a key that missed.
pub fn opt(ids: &[u32], unique: usize, capacity: usize) -> u64 {
    const NEVER: u32 = u32::MAX;
    let mut next_use = vec![NEVER; ids.len()];
    let mut seen = vec![NEVER; unique];
    for (at, id) in ids.iter().enumerate().rev() {
        next_use[at] = seen[*id as usize];
        seen[*id as usize] = at as u32;
    }
    // The heap has each cached key by its next use. Entries of keys that were used since are
    // outdated.
    let mut held_until = vec![None; unique];
    let mut heap = BinaryHeap::new();
    let (mut held, mut hits) = (0, 0);
    for (at, id) in ids.iter().enumerate() {
        let (key, next) = (*id as usize, next_use[at]);
        if held_until[key].take().is_some() {
            hits += 1;
            held -= 1;
        }
        if next == NEVER || capacity == 0 {
            continue;
        }
        if held == capacity {
            while let Some((until, key)) = heap.peek().copied()
                && held_until[key] != Some(until)
            {
                heap.pop();
            }
            match heap.peek().copied() {
                Some((until, last)) if until > next => {
                    heap.pop();
                    held_until[last] = None;
                    held -= 1;
                }
                _ => continue,
            }
        }
        held_until[key] = Some(next);
        heap.push((next, key));
        held += 1;
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let ids = [0, 1, 2, 0, 1, 3, 0, 1, 2, 3];
        assert_eq!([lru(&ids, 4, 3), fifo(&ids, 4, 3), opt(&ids, 4, 3)], [4, 2, 5]);
        assert_eq!([lru(&ids, 4, 4), fifo(&ids, 4, 4), opt(&ids, 4, 4)], [6, 6, 6]);
        assert_eq!([lru(&ids, 4, 0), fifo(&ids, 4, 0), opt(&ids, 4, 0)], [0, 0, 0]);
    }

    #[test]
    fn a_loop_gives_lru_no_hits_and_the_optimum_those_that_fit() {
        let ids: Vec<u32> = (0..10_000).map(|at| at % 100).collect();
        assert_eq!((lru(&ids, 100, 99), fifo(&ids, 100, 99)), (0, 0));
        assert!(opt(&ids, 100, 60) > 5_500);
    }
}
