//! Whether the dependencies of a value hold: the inputs through all levels, and the tags.
//!
//! A value may depend on values that hold, and on values that do not hold: the latter were absent
//! when the value was derived from them, and may be present again. The walk visits the former
//! first, each once. Usually that is all. The values that must not hold are evaluated after that,
//! each once as well, by a loop with an explicit stack. So the time is proportional to the number
//! of inputs on all levels, and deep levels take no space on the thread's stack. If each of two
//! values holds only if the other one does not, both are treated as absent.
//!
//! A derivation stops at values that are marked as verified if all commits since are
//! [`Quiet`](crate::commit::Quiet). So a caller that builds level upon level checks one level each
//! time. The mark covers only values that depend on present values without a deadline; see
//! `docs/protocol.md`.

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

/// The result of the check of one input.
enum DependencyCheck<'b> {
    Broken,
    Holds,
    /// The input holds if these bonds, of a version with this number, hold.
    HoldsWith(&'b Bonds, u64),
    /// The input, which was absent, holds unless these bonds hold, because then it is present
    /// again.
    HoldsWithout(&'b Bonds, u64),
}

/// Knowledge about records in addition to their versions. A walk uses it.
pub trait WalkOverlay {
    /// The dependency on the pending value of a record, which counts as written.
    fn pending(&self, record: *const ()) -> Option<Dependency>;

    /// Whether these bonds are known to hold.
    fn is_known_to_hold(&self, bonds: &Bonds) -> bool;

    /// Whether these bonds are known to be broken.
    fn is_known_broken(&self, bonds: &Bonds) -> bool;
}

impl WalkOverlay for () {
    #[inline(always)]
    fn pending(&self, _: *const ()) -> Option<Dependency> {
        None
    }

    #[inline(always)]
    fn is_known_to_hold(&self, _: &Bonds) -> bool {
        false
    }

    #[inline(always)]
    fn is_known_broken(&self, _: &Bonds) -> bool {
        false
    }
}

/// The state and the results of a walk through all levels of dependencies.
#[derive(Default)]
pub struct DependencyWalk<'b> {
    seen: HashSet<*const Bonds>,
    /// The bonds that must hold, without the first ones, in the order of the walk.
    visited: Vec<VisitedBonds<'b>>,
    /// The bonds that must not hold, with the numbers of their versions.
    absent: Vec<(&'b Bonds, u64)>,
    /// Whether an input holds because it is absent.
    pub has_absent_input: bool,
    /// The bonds that were found broken, without the first ones.
    pub broken: Vec<&'b Bonds>,
}

/// Bonds on the walk, and the number of their version.
struct VisitedBonds<'b> {
    bonds: &'b Bonds,
    own: u64,
    /// The step that led to these bonds. 0 stands for the first bonds, and 1 for the first visited
    /// ones.
    parent: usize,
}

impl<'b> DependencyWalk<'b> {
    /// The bonds that must hold, without the first ones.
    pub fn all(&self) -> impl Iterator<Item = &'b Bonds> {
        self.visited.iter().map(|step| step.bonds)
    }

    /// Notes that the bonds of this step are broken, and so are all bonds that led to them.
    #[cold]
    fn mark_broken(&mut self, mut step: usize) {
        while step > 0 {
            let VisitedBonds { bonds, parent, .. } = self.visited[step - 1];
            self.broken.push(bonds);
            step = parent;
        }
    }
}

/// The result of an evaluation of bonds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Validity {
    Holds,
    Broken,
    /// They depend on themselves through an absence. All values of such a cycle are treated as
    /// absent, which is always allowed.
    Undetermined,
}

/// Bonds that are being evaluated.
struct Evaluation<'b> {
    bonds: &'b Bonds,
    own: u64,
    /// The number of inputs that were checked.
    at: usize,
    result: Validity,
}

/// The instant of a walk, and what it must note.
#[derive(Clone, Copy)]
struct WalkContext<'b, 'm, 't> {
    at: ReadAt<'b>,
    counts: bool,
    moment: &'m Moment<'t>,
    /// Set if something has a deadline or is known from the overlay. Then no bonds may be marked as
    /// verified.
    prevents_mark: &'m Cell<bool>,
}

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    /// Checks the dependencies of a value through all levels, as of an instant with its clear
    /// watermark. Uses the knowledge in `overlay`, and leaves its findings in `walk`.
    pub fn walk<'b>(
        &'b self,
        bonds: (&'b Bonds, u64),
        at: ReadAt<'b>,
        (counts, moment): (bool, &Moment<'_>),
        overlay: &impl WalkOverlay,
        walk: &mut DependencyWalk<'b>,
    ) -> Result<bool, TakenOut> {
        let context = WalkContext { at, counts, moment, prevents_mark: &Cell::new(false) };
        self.walk_levels(bonds, context, overlay, walk)
    }

    /// Whether these bonds hold as of a number because they were verified before: they depend only
    /// on present values without a deadline, and all commits since were quiet.
    pub fn are_verified_at(&self, bonds: &Bonds, number: u64) -> bool {
        let stood = bonds.verified_at();
        stood != 0 && self.quiet.are_all(stood, number)
    }

    /// Marks the bonds of a walk as verified.
    #[inline(never)]
    fn mark_verified(
        &self,
        first: &Bonds,
        walk: &DependencyWalk<'_>,
        context: WalkContext<'_, '_, '_>,
    ) {
        let may_mark = !walk.has_absent_input && !context.prevents_mark.get();
        let Some(number) = context.at.number().filter(|_| may_mark) else { return };
        // Bonds that are not nested are checked as fast without a mark.
        let nested = walk.all().chain([first]).filter(|bonds| bonds.is_nested());
        nested.for_each(|bonds| bonds.mark_verified(number));
    }

    fn walk_levels<'b>(
        &'b self,
        first: (&'b Bonds, u64),
        context: WalkContext<'b, '_, '_>,
        overlay: &impl WalkOverlay,
        walk: &mut DependencyWalk<'b>,
    ) -> Result<bool, TakenOut> {
        let ((mut bonds, mut own), mut step) = (first, 0);
        // A use must be noted for each value on the walk, so marks are ignored.
        let mark_number = context.at.number().filter(|_| !context.counts);
        loop {
            if !self.are_tags_valid(bonds.tags(), own, context.at) {
                walk.mark_broken(step);
                return Ok(false);
            }
            for input in bonds.inputs() {
                walk.has_absent_input |= !input.is_present();
                match self.check(input, own, context, overlay)? {
                    DependencyCheck::Holds => {}
                    DependencyCheck::HoldsWith(more, own) if !overlay.is_known_broken(more) => {
                        if more.is_nested()
                            && mark_number.is_some_and(|number| self.are_verified_at(more, number))
                        {
                            continue;
                        }
                        if overlay.is_known_to_hold(more) {
                            context.prevents_mark.set(true); // on what they depend is unknown
                        } else if walk.seen.insert(ptr::from_ref(more)) {
                            // Each once, however many inputs lead to it.
                            walk.visited.push(VisitedBonds { bonds: more, own, parent: step });
                        }
                    }
                    DependencyCheck::HoldsWithout(more, own) => walk.absent.push((more, own)),
                    DependencyCheck::Broken | DependencyCheck::HoldsWith(..) => {
                        walk.mark_broken(step);
                        return Ok(false);
                    }
                }
            }
            let Some(next) = walk.visited.get(step) else { break };
            (bonds, own) = (next.bonds, next.own);
            step += 1;
        }
        if mark_number.is_some() {
            self.mark_verified(first.0, walk, context);
        }
        if walk.absent.is_empty() { Ok(true) } else { self.are_all_broken(walk, context, overlay) }
    }

    #[inline]
    fn check<'b>(
        &'b self,
        input: &'b Dependency,
        own: u64,
        context: WalkContext<'b, '_, '_>,
        overlay: &impl WalkOverlay,
    ) -> Result<DependencyCheck<'b>, TakenOut> {
        if let Some(pending) = overlay.pending(input.record()) {
            context.prevents_mark.set(true);
            // The number 0 stands for a new value, from which no version was derived yet.
            let is_same = input.is_present() && pending.number() != 0;
            let is_same = is_same && pending.number() == input.number_for(own);
            return Ok(if is_same { DependencyCheck::Holds } else { DependencyCheck::Broken });
        }
        // The version with these bonds holds the record.
        let record = self.record_of(context.at.live(), input);
        let held = self.order.resolve(record, context.at)?;
        let Some((node, state)) = held.version() else {
            return Ok(if input.was_never_written() {
                DependencyCheck::Holds
            } else {
                DependencyCheck::Broken
            });
        };
        if state.is_plain() && held.value().is_some() {
            return Ok(if input.matches(state) {
                DependencyCheck::Holds
            } else {
                DependencyCheck::Broken
            });
        }
        self.check_with_terms(input, own, (node, state, held.value().is_some()), context)
    }

    #[inline(never)]
    fn check_with_terms<'b>(
        &'b self,
        input: &'b Dependency,
        own: u64,
        (node, state, is_value): (NodeRef<'b, V>, State, bool),
        context: WalkContext<'b, '_, '_>,
    ) -> Result<DependencyCheck<'b>, TakenOut> {
        let (terms, bonds) = (node.terms(), node.bonds());
        let number = bonds.map_or(state.version(), |bonds| bonds.equal_since(state.version()));
        if number != input.number_for(own) {
            return Ok(DependencyCheck::Broken);
        }
        let is_in_time = |terms: &EntryTerms| {
            if terms.deadline() != NEVER {
                context.prevents_mark.set(true);
            }
            self.is_in_time(terms, context.counts, context.moment)
        };
        let is_visible = is_value && terms.is_none_or(is_in_time);
        if !input.is_present() {
            // The input holds if it is still absent: cleared, expired, or derived from inputs that
            // changed.
            return Ok(match bonds {
                _ if !is_visible => DependencyCheck::Holds,
                Some(bonds) => DependencyCheck::HoldsWithout(bonds, state.version()),
                None => DependencyCheck::Broken,
            });
        }
        if is_visible && context.counts {
            node.count_hit(state);
        }
        Ok(match bonds {
            _ if !is_visible => DependencyCheck::Broken,
            Some(bonds) => DependencyCheck::HoldsWith(bonds, state.version()),
            None => DependencyCheck::Holds,
        })
    }

    /// Whether all bonds that must not hold are broken, so that no absent input is present again.
    #[cold]
    #[inline(never)]
    fn are_all_broken<'b>(
        &'b self,
        walk: &DependencyWalk<'b>,
        context: WalkContext<'b, '_, '_>,
        overlay: &impl WalkOverlay,
    ) -> Result<bool, TakenOut> {
        let (context, mut results) = (WalkContext { counts: false, ..context }, HashMap::new());
        for &absent in &walk.absent {
            if self.evaluate(absent, context, overlay, &mut results)? != Validity::Broken {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether these bonds hold. Evaluates each of the bonds that they depend on once, because some
    /// may hold only if others do not.
    fn evaluate<'b>(
        &'b self,
        first: (&'b Bonds, u64),
        context: WalkContext<'b, '_, '_>,
        overlay: &impl WalkOverlay,
        results: &mut HashMap<*const Bonds, Validity>,
    ) -> Result<Validity, TakenOut> {
        let evaluation = |(bonds, own)| Evaluation { bonds, own, at: 0, result: Validity::Holds };
        let mut stack = Vec::new();
        if !results.contains_key(&ptr::from_ref(first.0)) {
            stack.push(evaluation(first));
        }
        while let Some(top) = stack.last_mut() {
            // Until the evaluation is done, bonds that lead back to these are undetermined.
            results.insert(ptr::from_ref(top.bonds), Validity::Undetermined);
            match self.evaluate_next(top, context, overlay, results)? {
                Some(next) => stack.push(evaluation(next)),
                None => {
                    results.insert(ptr::from_ref(top.bonds), top.result);
                    stack.pop();
                }
            }
        }
        Ok(results[&ptr::from_ref(first.0)])
    }

    /// Continues an evaluation. Returns the bonds to evaluate first; `None` when the evaluation is
    /// done.
    fn evaluate_next<'b>(
        &'b self,
        evaluation: &mut Evaluation<'b>,
        context: WalkContext<'b, '_, '_>,
        overlay: &impl WalkOverlay,
        results: &HashMap<*const Bonds, Validity>,
    ) -> Result<Option<(&'b Bonds, u64)>, TakenOut> {
        let Evaluation { bonds, own, .. } = *evaluation;
        let of = |more: &Bonds| match overlay.is_known_to_hold(more) {
            true => Some(Validity::Holds),
            false => results.get(&ptr::from_ref(more)).copied(),
        };
        if evaluation.at == 0 && !self.are_tags_valid(bonds.tags(), own, context.at) {
            evaluation.result = Validity::Broken;
            return Ok(None);
        }
        while let Some(input) = bonds.inputs().get(evaluation.at) {
            let check = self.check(input, own, context, overlay)?;
            let is_broken = match check {
                DependencyCheck::Broken => true,
                DependencyCheck::Holds => false,
                DependencyCheck::HoldsWith(more, own)
                | DependencyCheck::HoldsWithout(more, own) => match of(more) {
                    None => return Ok(Some((more, own))),
                    Some(Validity::Undetermined) => {
                        evaluation.result = Validity::Undetermined;
                        false
                    }
                    Some(result) => {
                        (result == Validity::Holds)
                            == matches!(check, DependencyCheck::HoldsWithout(..))
                    }
                },
            };
            if is_broken {
                evaluation.result = Validity::Broken;
                return Ok(None);
            }
            evaluation.at += 1;
        }
        Ok(None)
    }
}
