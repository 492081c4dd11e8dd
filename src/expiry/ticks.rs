//! The arithmetic of the wheel: which slot covers which ticks.

/// A tick is 2^20 ns, about a millisecond.
pub const TICK_BITS: u32 = 20;
/// The number of bits of a tick's number that each level covers.
const BITS: u32 = if cfg!(coeval_loom) { 2 } else { 6 };
/// The number of slots of a level.
pub const SLOTS: usize = 1 << BITS;
/// The number of levels. Eight levels cover 48 bits, more than the number of ticks in 2^64 ns, so
/// no deadline is too far ahead. (Models use only a few ticks.)
pub const LEVELS: usize = if cfg!(coeval_loom) { 3 } else { 8 };

/// Returns the first tick at whose beginning this deadline has passed.
pub fn of_deadline(deadline: u64) -> u64 {
    deadline.div_ceil(1 << TICK_BITS)
}

/// Returns the tick that has begun at the time `now`.
pub fn of_time(now: u64) -> u64 {
    now >> TICK_BITS
}

fn shift(level: usize) -> u32 {
    level as u32 * BITS
}

/// Returns the level of the highest bit in which the ticks differ. It is the lowest level on which
/// both ticks are in the same round.
fn level(a: u64, b: u64) -> usize {
    ((a ^ b).max(1).ilog2() / BITS) as usize
}

/// The address of a slot, and the first tick that the slot covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotAddress {
    pub level: usize,
    pub slot: usize,
    pub begins: u64,
}

impl SlotAddress {
    /// Returns the slot for an entry that comes out at `tick`; at the next tick if `tick` is not
    /// ahead of the front.
    pub fn new(front: u64, tick: u64) -> Self {
        let tick = tick.max(front + 1);
        let level = level(front, tick);
        let number = tick >> shift(level);
        Self { level, slot: number as usize % SLOTS, begins: number << shift(level) }
    }
}

/// Returns the tick at which the wheel reaches a slot next. If all slots up to the front are empty,
/// every entry in the slot was inserted for a tick that this visit covers.
pub fn next_begin(front: u64, level: usize, slot: usize) -> u64 {
    let reached = front >> shift(level);
    let mut number = reached - reached % SLOTS as u64 + slot as u64;
    if number <= reached {
        number += SLOTS as u64;
    }
    number << shift(level)
}

/// Returns the slots of a level that the wheel passes on its way from `swept` to `front`, each
/// once.
pub fn slots_passed(level: usize, swept: u64, front: u64) -> impl Iterator<Item = usize> {
    let (first, last) = ((swept >> shift(level)) + 1, front >> shift(level));
    let last = last.min(first + SLOTS as u64 - 1);
    (first..=last).map(|number| number as usize % SLOTS)
}

/// Returns how far the front may move in one turn on its way to `now`. All ticks up to `front` are
/// swept.
///
/// While a turn empties the slots that it passes, other threads insert entries into slots ahead of
/// the new front. These must be different slots. On each level, the slots ahead of the front are
/// those above the front's own slot. So on each level, either the turn begins after the end of the
/// last round, or the new front is in the last slot, with none above it.
///
/// If `now` is in the same round of level 0 as the next tick, the front moves to `now`. Otherwise
/// take the highest level on which the slots of the next tick and of `now` differ: the front moves
/// to the last tick before the slot of `now` on that level. That tick is in the last slot on all
/// lower levels.
pub fn next_front(front: u64, now: u64) -> u64 {
    debug_assert!(front < now);
    match level(front + 1, now) {
        0 => now,
        level => (now >> shift(level) << shift(level)) - 1,
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::super::tests::Random;
    use super::*;

    /// Returns pairs of times, at all distances.
    fn ways() -> impl Iterator<Item = (u64, u64)> {
        let mut random = Random(3);
        (0..20_000).map(move |_| {
            let mut front = random.spread(44);
            let low = (1 << random.below(20)) - 1;
            match random.below(3) {
                0 => front |= low, // the end of rounds
                1 => front &= !low,
                _ => {}
            }
            (front, front + 1 + random.spread(44))
        })
    }

    /// Returns the turns by which the wheel moves from one tick to another.
    fn turns(mut front: u64, now: u64) -> Vec<(u64, u64)> {
        let mut turns = Vec::new();
        while front < now {
            let next = next_front(front, now);
            assert!(front < next && next <= now);
            turns.push((front, next));
            front = next;
        }
        turns
    }

    #[test]
    fn no_slot_takes_new_entries_while_it_is_emptied() {
        for (from, now) in ways() {
            for (swept, front) in turns(from, now) {
                for level in 0..LEVELS {
                    let own = (front >> shift(level)) as usize % SLOTS;
                    let clash = slots_passed(level, swept, front).find(|slot| *slot > own);
                    assert_eq!(clash, None, "level {level}, {swept} to {front}");
                }
            }
        }
    }

    #[test]
    fn there_are_at_most_two_turns_per_level() {
        let most = ways().map(|(from, now)| turns(from, now).len()).max().unwrap();
        assert!((LEVELS..=2 * LEVELS).contains(&most), "{most}");
    }

    #[test]
    fn the_wheel_reaches_each_slot_in_time() {
        let mut random = Random(4);
        for (from, now) in ways() {
            let tick = from + 1 + random.below(now - from);
            let mut address = SlotAddress::new(from, tick);
            assert!(from < address.begins && address.begins <= tick);
            let between = from + random.below(address.begins - from);
            for front in [from, between, address.begins - 1] {
                assert_eq!(next_begin(front, address.level, address.slot), address.begins);
            }
            let mut visits = 0;
            for (swept, front) in turns(from, now) {
                let is_passed =
                    slots_passed(address.level, swept, front).any(|slot| slot == address.slot);
                assert_eq!(is_passed, swept < address.begins && address.begins <= front);
                if is_passed && tick <= front {
                    address.begins = u64::MAX; // The entry has expired.
                    break;
                }
                if is_passed {
                    let again = SlotAddress::new(front, tick);
                    assert!(again.level < address.level);
                    address = again;
                    visits += 1;
                }
            }
            assert!(address.begins == u64::MAX && visits < LEVELS, "{from} {tick} {now}");
        }
    }

    #[test]
    fn a_deadline_has_passed_when_its_tick_begins() {
        for (deadline, tick) in [(0, 0), (1, 1), (1 << 20, 1), ((1 << 20) + 1, 2)] {
            assert_eq!(of_deadline(deadline), tick);
            assert!(of_time(deadline) <= tick && deadline <= tick << TICK_BITS);
        }
        assert!(SlotAddress::new(0, of_deadline(u64::MAX)).level < LEVELS);
        assert_eq!(
            SlotAddress::new(70, 3),
            SlotAddress::new(70, 71),
            "a passed deadline is not next"
        );
    }
}
