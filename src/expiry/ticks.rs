//! The arithmetic of the wheel: which slot is for which ticks.

/// A tick is 2^20 ns, about a millisecond.
pub const TICK_BITS: u32 = 20;
/// Each level is for so many more bits of a tick's number.
const BITS: u32 = if cfg!(coeval_loom) { 2 } else { 6 };
/// Slots of a level.
pub const SLOTS: usize = 1 << BITS;
/// 48 bits, which is more than there are ticks in 2^64 ns: no deadline is too far. (Models use a few
/// ticks.)
pub const LEVELS: usize = if cfg!(coeval_loom) { 3 } else { 8 };

/// The first tick at whose beginning this deadline has passed.
pub fn of_deadline(deadline: u64) -> u64 {
    deadline.div_ceil(1 << TICK_BITS)
}

/// The tick that has begun.
pub fn of_time(now: u64) -> u64 {
    now >> TICK_BITS
}

fn shift(level: usize) -> u32 {
    level as u32 * BITS
}

/// The lowest level on which the numbers are of one round: where their highest difference is.
fn level(a: u64, b: u64) -> usize {
    ((a ^ b).max(1).ilog2() / BITS) as usize
}

/// A slot, and the first of the ticks that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub level: usize,
    pub slot: usize,
    pub begins: u64,
}

impl Place {
    /// Where an entry goes that is to come out at a tick, or as soon as can be if that is no longer ahead.
    pub fn new(front: u64, tick: u64) -> Self {
        let tick = tick.max(front + 1);
        let level = level(front, tick);
        let number = tick >> shift(level);
        Self { level, slot: number as usize % SLOTS, begins: number << shift(level) }
    }
}

/// The first tick for which the wheel comes to a slot next. What was put in there for one is there for that, if all
/// slots up to the front are empty.
pub fn next_begin(front: u64, level: usize, slot: usize) -> u64 {
    let come_to = front >> shift(level);
    let mut number = come_to - come_to % SLOTS as u64 + slot as u64;
    if number <= come_to {
        number += SLOTS as u64;
    }
    number << shift(level)
}

/// The slots of a level that the wheel comes to on its way, each once.
pub fn passed(level: usize, swept: u64, front: u64) -> impl Iterator<Item = usize> {
    let (first, last) = ((swept >> shift(level)) + 1, front >> shift(level));
    let last = last.min(first + SLOTS as u64 - 1);
    (first..=last).map(|number| number as usize % SLOTS)
}

/// How far the front may go at once from a tick before which all is swept, on its way to a later one.
///
/// While the slots between are emptied, others put entries into slots ahead of the new front, and these
/// must be other slots. Ahead of the front are, on each level, the slots above the front's own. So on each
/// level either the way must begin after the last round's end, or the front be in the last slot, with none
/// above it. It goes to `now` if that is in the round of the lowest level that begins or goes on with the
/// next tick; else it goes to the end of the round before `now`'s, on the highest level on which there is
/// one between. That end is in the last slot on all levels below.
pub fn advanced(front: u64, now: u64) -> u64 {
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

    /// Pairs of times, at all distances.
    fn ways() -> impl Iterator<Item = (u64, u64)> {
        let mut random = Random(3);
        (0..20_000).map(move |_| {
            let mut front = random.spread(44);
            let low = (1 << random.below(20)) - 1;
            match random.below(3) {
                0 => front |= low, // at the end of rounds
                1 => front &= !low,
                _ => {}
            }
            (front, front + 1 + random.spread(44))
        })
    }

    /// The turns by which the wheel comes from one tick to another.
    fn turns(mut front: u64, now: u64) -> Vec<(u64, u64)> {
        let mut turns = Vec::new();
        while front < now {
            let next = advanced(front, now);
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
                    let clash = passed(level, swept, front).find(|slot| *slot > own);
                    assert_eq!(clash, None, "level {level}, {swept} to {front}");
                }
            }
        }
    }

    #[test]
    fn there_are_at_most_two_turns_a_level() {
        let most = ways().map(|(from, now)| turns(from, now).len()).max().unwrap();
        assert!((LEVELS..=2 * LEVELS).contains(&most), "{most}");
    }

    /// Wherever an entry was put, and on whichever way the wheel comes to it.
    #[test]
    fn the_wheel_comes_to_each_slot_in_time() {
        let mut random = Random(4);
        for (from, now) in ways() {
            let tick = from + 1 + random.below(now - from);
            let mut place = Place::new(from, tick);
            assert!(from < place.begins && place.begins <= tick);
            let between = from + random.below(place.begins - from);
            for front in [from, between, place.begins - 1] {
                assert_eq!(next_begin(front, place.level, place.slot), place.begins);
            }
            let mut visits = 0;
            for (swept, front) in turns(from, now) {
                let is_passed = passed(place.level, swept, front).any(|slot| slot == place.slot);
                assert_eq!(is_passed, swept < place.begins && place.begins <= front);
                if is_passed && tick <= front {
                    place.begins = u64::MAX; // It goes.
                    break;
                }
                if is_passed {
                    let again = Place::new(front, tick);
                    assert!(again.level < place.level);
                    place = again;
                    visits += 1;
                }
            }
            assert!(place.begins == u64::MAX && visits < LEVELS, "{from} {tick} {now}");
        }
    }

    #[test]
    fn a_deadline_is_over_when_its_tick_begins() {
        for (deadline, tick) in [(0, 0), (1, 1), (1 << 20, 1), ((1 << 20) + 1, 2)] {
            assert_eq!(of_deadline(deadline), tick);
            assert!(of_time(deadline) <= tick && deadline <= tick << TICK_BITS);
        }
        assert!(Place::new(0, of_deadline(u64::MAX)).level < LEVELS);
        assert_eq!(Place::new(70, 3), Place::new(70, 71), "what is over comes next");
    }
}
