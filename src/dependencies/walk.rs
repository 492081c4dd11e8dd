//! Whether all still is so by which a value holds: what it was derived from, through all levels, and its tags.
//!
//! A value holds by others that hold, and may hold by others that do not: it was derived from the absence of what had
//! ended, and might be back. The walk goes over the former first, each once. Mostly that is all. What is not to hold is
//! judged after that, each once, too, in a loop with a stack of its own: so all of it takes time in proportion to the
//! inputs of all levels, and depth costs no stack of the thread. Where one holds if the other does not, and the other if
//! the one does not, neither is to be had.
//!
//! Who derives from what is derived goes down to what has been seen to hold, and from where all commits since were
//! [`Quiet`](crate::commit::Quiet): so he who builds level upon level looks at one level each time. It is only of what holds by
//! what is present, without a deadline, that this says anything; see `docs/protocol.md`.

use super::Moment;
use crate::chain::{Bonds, Dependency, EntryTerms, NodeRef};
use crate::commit::{ReadAt, TakenOut};
use crate::reclaim::Reclaim;
use crate::store::{Host, Store};
use crate::sync::time::NEVER;
use crate::version::State;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::ptr;

/// What comes of a look at one input.
enum DependencyCheck<'b> {
    Broken,
    Holds,
    /// As long as these do, which are those of a version of this number.
    HoldsWith(&'b Bonds, u64),
    /// As long as these do not all hold: then what was absent is there again.
    HoldsWithout(&'b Bonds, u64),
}

/// What is known of records beside what they hold.
pub trait WalkOverlay {
    /// What is to be set in a record, so that it counts as set already.
    fn made(&self, record: *const ()) -> Option<Dependency>;

    /// Whether these are known to hold.
    fn are_known(&self, bonds: &Bonds) -> bool;

    /// Whether these are known not to.
    fn are_broken(&self, bonds: &Bonds) -> bool;
}

impl WalkOverlay for () {
    #[inline(always)]
    fn made(&self, _: *const ()) -> Option<Dependency> {
        None
    }

    #[inline(always)]
    fn are_known(&self, _: &Bonds) -> bool {
        false
    }

    #[inline(always)]
    fn are_broken(&self, _: &Bonds) -> bool {
        false
    }
}

/// What one has come upon on the way through all levels.
#[derive(Default)]
pub struct DependencyWalk<'b> {
    known: HashSet<*const Bonds>,
    /// All that is to hold but what one began with, in the order in which it is gone over.
    way: Vec<VisitedBonds<'b>>,
    /// What is not to hold.
    absent: Vec<(&'b Bonds, u64)>,
    /// Something holds since it is absent.
    pub is_any_absent: bool,
    /// What was found not to hold, beside what one began with.
    pub broken: Vec<&'b Bonds>,
}

/// Bonds that one has come upon, of a version of this number.
struct VisitedBonds<'b> {
    bonds: &'b Bonds,
    own: u64,
    /// From which step; the first of the way is the step 1.
    from: usize,
}

impl<'b> DependencyWalk<'b> {
    /// All that is to hold but what one began with.
    pub fn all(&self) -> impl Iterator<Item = &'b Bonds> {
        self.way.iter().map(|step| step.bonds)
    }

    /// Notes that what one came upon at this step does not hold: nor does what holds by that.
    #[cold]
    fn breaks(&mut self, mut step: usize) {
        while step > 0 {
            let VisitedBonds { bonds, from, .. } = self.way[step - 1];
            self.broken.push(bonds);
            step = from;
        }
    }
}

/// What is known of bonds, some of which hold if others do not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Validity {
    Hold,
    Broken,
    /// They wait for what they wait for: a circle, of which nobody is to be had, which is always allowed.
    Unsure,
}

/// Bonds that are being judged.
struct Evaluation<'b> {
    bonds: &'b Bonds,
    own: u64,
    /// How many inputs were looked at.
    at: usize,
    verdict: Validity,
}

/// As of when it is looked, and how.
#[derive(Clone, Copy)]
struct WalkContext<'b, 'm, 't> {
    at: ReadAt<'b>,
    /// Up to which version everything was cleared then.
    watermark: u64,
    counts: bool,
    moment: &'m Moment<'t>,
    /// Something has a deadline, or is known beside.
    is_loose: &'m Cell<bool>,
}

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    /// Walks through all levels of what a value was derived from, as of an instant and its watermark.
    /// Something may be known beside, and something is learnt.
    pub fn walk<'b>(
        &'b self,
        bonds: (&'b Bonds, u64),
        (at, watermark): (ReadAt<'b>, u64),
        (counts, moment): (bool, &Moment<'_>),
        beside: &impl WalkOverlay,
        walk: &mut DependencyWalk<'b>,
    ) -> Result<bool, TakenOut> {
        let glance = WalkContext { at, watermark, counts, moment, is_loose: &Cell::new(false) };
        self.walk_on(bonds, glance, beside, walk)
    }

    /// Whether these are known to hold as of a number, as they have before: all that they hold by is present and has no
    /// deadline, and nothing of it has changed.
    pub fn are_verified_at(&self, bonds: &Bonds, number: u64) -> bool {
        let stood = bonds.verified_at();
        stood != 0 && self.quiet.are_all(stood, number)
    }

    /// Notes that all on the way hold.
    #[inline(never)]
    fn mark_verified(
        &self,
        first: &Bonds,
        walk: &DependencyWalk<'_>,
        glance: WalkContext<'_, '_, '_>,
    ) {
        let is_firm = !walk.is_any_absent && !glance.is_loose.get();
        let Some(number) = glance.at.number().filter(|_| is_firm) else { return };
        // Of others it is as soon seen.
        let nested = walk.all().chain([first]).filter(|bonds| bonds.is_nested());
        nested.for_each(|bonds| bonds.mark_verified(number));
    }

    fn walk_on<'b>(
        &'b self,
        first: (&'b Bonds, u64),
        glance: WalkContext<'b, '_, '_>,
        beside: &impl WalkOverlay,
        walk: &mut DependencyWalk<'b>,
    ) -> Result<bool, TakenOut> {
        let ((mut bonds, mut own), mut step) = (first, 0);
        // A use is noted of all that it is one of.
        let seen_as_of = glance.at.number().filter(|_| !glance.counts);
        loop {
            if !self.are_tags_valid(bonds.tags(), own, glance.at) {
                walk.breaks(step);
                return Ok(false);
            }
            for input in bonds.inputs() {
                walk.is_any_absent |= !input.is_present();
                match self.look(input, own, glance, beside)? {
                    DependencyCheck::Holds => {}
                    DependencyCheck::HoldsWith(more, own) if !beside.are_broken(more) => {
                        if more.is_nested()
                            && seen_as_of.is_some_and(|number| self.are_verified_at(more, number))
                        {
                            continue;
                        }
                        if beside.are_known(more) {
                            glance.is_loose.set(true); // by what, nobody knows
                        } else if walk.known.insert(ptr::from_ref(more)) {
                            // Each once, by whatever ways one comes to it.
                            walk.way.push(VisitedBonds { bonds: more, own, from: step });
                        }
                    }
                    DependencyCheck::HoldsWithout(more, own) => walk.absent.push((more, own)),
                    DependencyCheck::Broken | DependencyCheck::HoldsWith(..) => {
                        walk.breaks(step);
                        return Ok(false);
                    }
                }
            }
            let Some(next) = walk.way.get(step) else { break };
            (bonds, own) = (next.bonds, next.own);
            step += 1;
        }
        if seen_as_of.is_some() {
            self.mark_verified(first.0, walk, glance);
        }
        if walk.absent.is_empty() { Ok(true) } else { self.are_broken(walk, glance, beside) }
    }

    #[inline]
    fn look<'b>(
        &'b self,
        input: &'b Dependency,
        own: u64,
        glance: WalkContext<'b, '_, '_>,
        beside: &impl WalkOverlay,
    ) -> Result<DependencyCheck<'b>, TakenOut> {
        if let Some(made) = beside.made(input.record()) {
            glance.is_loose.set(true);
            // What goes by the number 0 is new to all that is there.
            let is_same = input.is_present() && made.number() != 0;
            let is_same = is_same && made.number() == input.number_for(own);
            return Ok(if is_same { DependencyCheck::Holds } else { DependencyCheck::Broken });
        }
        // Held by the version that the bonds are of.
        let record = self.record_of(glance.at.live(), input);
        let Some((node, state)) = self.order.version_at(record, glance.at)? else {
            return Ok(if input.was_never_written() {
                DependencyCheck::Holds
            } else {
                DependencyCheck::Broken
            });
        };
        if state.is_plain() && state.version() > glance.watermark {
            return Ok(if input.matches(state) {
                DependencyCheck::Holds
            } else {
                DependencyCheck::Broken
            });
        }
        self.look_closer(input, own, (node, state), glance)
    }

    #[inline(never)]
    fn look_closer<'b>(
        &'b self,
        input: &'b Dependency,
        own: u64,
        (node, state): (NodeRef<'b, V>, State),
        glance: WalkContext<'b, '_, '_>,
    ) -> Result<DependencyCheck<'b>, TakenOut> {
        let (terms, bonds) = (node.terms(), node.bonds());
        let number = bonds.map_or(state.version(), |bonds| bonds.equal_since(state.version()));
        if number != input.number_for(own) {
            return Ok(DependencyCheck::Broken);
        }
        let is_in_time = |terms: &EntryTerms| {
            if terms.deadline() != NEVER {
                glance.is_loose.set(true);
            }
            self.is_in_time(terms, glance.counts, glance.moment)
        };
        let is_visible =
            state.is_value() && state.version() > glance.watermark && terms.is_none_or(is_in_time);
        if !input.is_present() {
            // As it was if it is still absent: cleared, over, or derived from what has changed.
            return Ok(match bonds {
                _ if !is_visible => DependencyCheck::Holds,
                Some(bonds) => DependencyCheck::HoldsWithout(bonds, state.version()),
                None => DependencyCheck::Broken,
            });
        }
        if is_visible && glance.counts {
            node.count_hit(state);
        }
        Ok(match bonds {
            _ if !is_visible => DependencyCheck::Broken,
            Some(bonds) => DependencyCheck::HoldsWith(bonds, state.version()),
            None => DependencyCheck::Holds,
        })
    }

    /// Whether of what was absent only since its inputs had changed nothing is there again.
    #[cold]
    #[inline(never)]
    fn are_broken<'b>(
        &'b self,
        walk: &DependencyWalk<'b>,
        glance: WalkContext<'b, '_, '_>,
        beside: &impl WalkOverlay,
    ) -> Result<bool, TakenOut> {
        let (glance, mut verdicts) = (WalkContext { counts: false, ..glance }, HashMap::new());
        for &absent in &walk.absent {
            if self.judge(absent, glance, beside, &mut verdicts)? != Validity::Broken {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether these hold, each being judged once: what some of them hold by may be that others do not.
    fn judge<'b>(
        &'b self,
        first: (&'b Bonds, u64),
        glance: WalkContext<'b, '_, '_>,
        beside: &impl WalkOverlay,
        verdicts: &mut HashMap<*const Bonds, Validity>,
    ) -> Result<Validity, TakenOut> {
        let judging = |(bonds, own)| Evaluation { bonds, own, at: 0, verdict: Validity::Hold };
        let mut stack = Vec::new();
        if !verdicts.contains_key(&ptr::from_ref(first.0)) {
            stack.push(judging(first));
        }
        while let Some(top) = stack.last_mut() {
            // Until it is judged, who comes back to it is not sure.
            verdicts.insert(ptr::from_ref(top.bonds), Validity::Unsure);
            match self.judge_on(top, glance, beside, verdicts)? {
                Some(next) => stack.push(judging(next)),
                None => {
                    verdicts.insert(ptr::from_ref(top.bonds), top.verdict);
                    stack.pop();
                }
            }
        }
        Ok(verdicts[&ptr::from_ref(first.0)])
    }

    /// Goes on, to what is to be judged before; `None`: to the end.
    fn judge_on<'b>(
        &'b self,
        judging: &mut Evaluation<'b>,
        glance: WalkContext<'b, '_, '_>,
        beside: &impl WalkOverlay,
        verdicts: &HashMap<*const Bonds, Validity>,
    ) -> Result<Option<(&'b Bonds, u64)>, TakenOut> {
        let Evaluation { bonds, own, .. } = *judging;
        let of = |more: &Bonds| match beside.are_known(more) {
            true => Some(Validity::Hold),
            false => verdicts.get(&ptr::from_ref(more)).copied(),
        };
        if judging.at == 0 && !self.are_tags_valid(bonds.tags(), own, glance.at) {
            judging.verdict = Validity::Broken;
            return Ok(None);
        }
        while let Some(input) = bonds.inputs().get(judging.at) {
            let look = self.look(input, own, glance, beside)?;
            let is_broken = match look {
                DependencyCheck::Broken => true,
                DependencyCheck::Holds => false,
                DependencyCheck::HoldsWith(more, own)
                | DependencyCheck::HoldsWithout(more, own) => match of(more) {
                    None => return Ok(Some((more, own))),
                    Some(Validity::Unsure) => {
                        judging.verdict = Validity::Unsure;
                        false
                    }
                    Some(verdict) => {
                        (verdict == Validity::Hold)
                            == matches!(look, DependencyCheck::HoldsWithout(..))
                    }
                },
            };
            if is_broken {
                judging.verdict = Validity::Broken;
                return Ok(None);
            }
            judging.at += 1;
        }
        Ok(None)
    }
}
