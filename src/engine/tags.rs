//! Tags: the cells that versions with tags hold, and the commits that end all values of a tag.
//!
//! Such a commit is one number in the tag's cell. If there is none, it takes a number and looks again: who has a smaller
//! one holds the cell by then, and who comes later takes a larger one, so that what he writes is not concerned.

use super::Engine;
use super::derive::Ties;
use super::keep::{Asked, Moment};
use super::plan::Plan;
use super::read::version_of;
use crate::chain::{Bonds, Input, Linked, Node, Record};
use crate::commit::{Demand, Found, Limit, Mark};
use crate::index::{Index, Indexed};
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::relation::{Tag, TagCell};
use crate::sync::hook::{mutant, step};
use crate::version::{State, Version};
use std::hash::{BuildHasher, Hash};
use std::ptr::{self, NonNull};

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// The number of the commit that invalidated a tag last, as of the limit; 0: none has.
    #[inline]
    fn tag_ended(&self, tag: &Input, as_of: Limit) -> u64 {
        // SAFETY: held by a version that the caller's guard or view keeps.
        let ended = unsafe { &(*tag.cell::<TagCell>()).ended };
        let clock = &self.order.clock;
        match as_of {
            Limit::Newest => ended.newest(clock),
            // SAFETY: a guard is live, and the limit is what it says.
            _ => unsafe { ended.at(clock, as_of).map_or(0, |(number, _)| number) },
        }
    }

    /// Whether none of the tags that a value of the version `own` has was invalidated since it has them, as of the limit.
    #[inline]
    pub(super) fn have_stayed(&self, tags: &[Input], own: u64, as_of: Limit) -> bool {
        tags.iter().all(|tag| self.tag_ended(tag, as_of) <= tag.tagged_since(own))
    }

    /// Whether none of these tags was invalidated after `since`.
    pub(super) fn are_untouched(&self, tags: &[Input], since: u64) -> bool {
        tags.iter().all(|tag| self.tag_ended(tag, Limit::Newest) <= since)
    }

    /// The tags of the newest version of a record that is leased go with what is filled in its place, unless it is over. An
    /// error: one was invalidated after `since`.
    pub(super) fn inherit_tags(
        &self,
        _guard: &R::Guard<'_>,
        record: &Record<K, V>,
        since: u64,
        moment: &Moment<'_>,
        ties: &mut Ties<'_, K, V, S, R>,
    ) -> Result<(), ()> {
        // SAFETY: held, under the guard.
        let Found::Value(node, _) = (unsafe { self.order.newest(record) }) else { return Ok(()) };
        // SAFETY: kept by the guard.
        let Some(bonds) = (unsafe { node.bonds() }) else { return Ok(()) };
        if !self.are_untouched(bonds.tags(), since) {
            return Err(());
        }
        // SAFETY: kept by the guard.
        if !unsafe { node.is_over(moment.time()) } {
            ties.tags_of(bonds, |_| since);
        }
        Ok(())
    }

    /// The cell of a tag of this hash, made if there is none, and alive for as long as the guard.
    pub(super) fn know_tag_of<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        hash: u32,
        tag: &Tag,
    ) -> &'g TagCell {
        let index = self.tag_index();
        if let Some(cell) = index.find(guard, hash, |cell| cell.tag() == tag)
            && (mutant("tag.no_revive") || cell.revive())
        {
            return cell;
        }
        let fresh = NonNull::from(Box::leak(Box::new(TagCell::new(hash, tag.clone()))));
        // SAFETY: its hash is `hash`; it is freed a grace period after it was sealed and unlinked.
        let inserted =
            unsafe { index.insert(&self.reclaim, guard, hash, fresh, |cell| cell.tag() == tag) };
        match inserted {
            // SAFETY: published just now under our guard.
            Ok(()) => unsafe { fresh.as_ref() },
            Err(existing) => {
                // SAFETY: nobody else has seen it.
                unsafe { drop_cell(fresh) };
                existing
            }
        }
    }

    pub(super) fn let_tags_go(&self, guard: &R::Guard<'_>, tags: &[Input]) {
        for tag in tags {
            // SAFETY: held until now, and kept by our guard from now on.
            let cell = unsafe { &*tag.cell::<TagCell>() };
            cell.let_go();
            self.try_condemn_tag(guard, cell);
        }
    }

    /// Begins to remove a cell that nobody holds.
    fn try_condemn_tag(&self, guard: &R::Guard<'_>, cell: &TagCell) {
        if cell.condemn() {
            step("tag.condemned");
            self.retire(guard, cell, Self::seal_tag);
        }
    }

    /// The second step, a grace period later.
    unsafe fn seal_tag(cell: *mut (), engine: *const ()) {
        // SAFETY: retired by `try_condemn_tag`; a cell lives until a grace period after it was sealed, and only this
        // call, one at a time, seals it.
        let (engine, cell) = unsafe { (&*engine.cast::<Self>(), &*cell.cast::<TagCell>()) };
        let guard = engine.reclaim.pin();
        if !cell.seal() {
            return engine.try_condemn_tag(&guard, cell);
        }
        step("tag.sealed");
        // SAFETY: sealed; freed a grace period from now.
        unsafe { engine.tag_index().unlink(&guard, NonNull::from(cell)) };
        engine.retire(&guard, cell, Self::free_tag);
    }

    /// The last step: no guard can have found the cell.
    unsafe fn free_tag(cell: *mut (), engine: *const ()) {
        // SAFETY: retired by `seal_tag`, after it was unlinked; it was made as a box.
        unsafe {
            let engine = &*engine.cast::<Self>();
            let cell = NonNull::new_unchecked(cell.cast::<TagCell>());
            engine.tag_index().release(&engine.reclaim.pin(), cell);
            drop_cell(cell);
        }
    }

    unsafe fn free_milestone(node: *mut (), _: *const ()) {
        // SAFETY: retired once, and a grace period has passed.
        unsafe { free_milestone(node.cast()) };
    }

    fn tag_index(&self) -> &Index<TagCell, R> {
        self.tags.get_or_make(0, || Index::with_capacity(0))
    }

    /// Drops all cells.
    ///
    /// # Safety
    /// Nobody else uses the engine, which is being dropped, and what was retired has been reclaimed.
    pub(super) unsafe fn drop_tags(&mut self) {
        let Some(index) = self.tags.get(0) else { return };
        let guard = self.reclaim.pin();
        for cell in index.all_entries(&guard) {
            // SAFETY: exclusive, and each once.
            unsafe { drop_cell(NonNull::from(cell)) };
        }
    }
}

/// # Safety
/// It was made as a box, and nobody else has access to it.
unsafe fn drop_cell(cell: NonNull<TagCell>) {
    // SAFETY: the caller's promise; what is drained is this cell's alone.
    unsafe {
        let mut cell = Box::from_raw(cell.as_ptr());
        cell.ended.drain(|node| free_milestone(node));
    }
}

/// # Safety
/// It was made by `milestone`, and nobody else has access to it.
unsafe fn free_milestone(node: *mut Node<Mark<()>>) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(node.cast::<Linked<Mark<()>>>()) });
}

fn milestone() -> *mut Node<Mark<()>> {
    let mark = Some(Mark::new(()));
    Box::into_raw(Box::new(Linked::new(State::READY, ptr::null_mut(), mark))).cast()
}

impl<K, V, S, R: Reclaim> Ties<'_, K, V, S, R> {
    /// The tags of another version, which the caller's guard keeps, since the numbers that are said.
    pub(super) fn tags_of(&mut self, bonds: &Bonds, since: impl Fn(&Input) -> u64) {
        for tag in bonds.tags() {
            // SAFETY: held by the version, which the guard keeps.
            let cell = unsafe { &*tag.cell::<TagCell>() };
            self.tag(cell, since(tag));
        }
    }

    /// Has the version be tagged by this cell, revived or held under the guard, since a number; 0: its own. Of what is
    /// said of one cell the first counts.
    pub(super) fn tag(&mut self, cell: &TagCell, since: u64) {
        cell.hold();
        self.tags.push(Input::tag(cell, since));
    }
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// The cell of a tag, made if there is none, and alive for as long as the guard.
    fn know_tag<'g>(&'g self, guard: &'g R::Guard<'_>, tag: &Tag) -> &'g TagCell {
        self.know_tag_of(guard, self.hash(tag), tag)
    }

    /// Sets `key` and its related entries, by one commit; the value has these tags.
    pub fn insert_tagged(&self, key: K, value: V, tags: &[Tag]) -> Version {
        let hash = self.hash(&key);
        let unwound = self.unless_it_panics();
        let version = {
            let settings = self.in_force.whole();
            let guard = self.pin();
            let record = self.locate(&guard, hash, key, &mut None);
            let mut plan = Plan::new(self, &guard, &settings);
            let mut value = Some(value);
            let asked = plan.asked_for(record, &value);
            plan.push(record, &mut value, asked, true, None);
            self.relate(&mut plan);
            let mut ties = Ties::new(self);
            tags.iter().for_each(|tag| ties.tag(self.know_tag(&guard, tag), 0));
            // From here on no user's code runs that could keep the bonds from their version.
            let bonds = ties.into_bonds(&guard);
            plan.tie_first(bonds.expect("no input is lost, for there are none"));
            step("tag.before_run");
            version_of(self.run(&guard, plan, &[]).0)
        };
        std::mem::forget(unwound);
        self.tend();
        version
    }

    /// Gives tags to what `key` holds, beside those that it has; the value is a clone.
    pub fn tag(&self, key: &K, tags: &[Tag]) -> Version
    where
        V: Clone,
    {
        let version = {
            let guard = self.pin();
            let hash = self.hash(key);
            let record = self.find(&guard, hash, key).filter(|record| record.revive());
            let tagged = record.and_then(|record| self.tag_record(&guard, record, tags));
            tagged.unwrap_or_else(|| {
                // Nothing to tag, so a commit without writes.
                self.committed();
                version_of(State::committed(self.order.clock.tick()))
            })
        };
        self.tend();
        version
    }

    /// The same, of a record; `None` if it holds nothing. Tried again only if somebody wrote the key meanwhile.
    fn tag_record<'g, 'r>(
        &'r self,
        guard: &'g R::Guard<'r>,
        record: &'g Record<K, V>,
        tags: &[Tag],
    ) -> Option<Version>
    where
        V: Clone,
    {
        loop {
            let settings = self.in_force.whole();
            let mut plan = Plan::new(self, guard, &settings);
            let (node, state) = self.present(guard, record, false, &plan.moment)?;
            // SAFETY: committed to a value, and kept by the guard.
            let (value, terms, old) = unsafe { (node.value(), node.terms(), node.bonds()) };
            let mut value = Some(value.clone());
            let (own, mut ties) = (state.version(), Ties::new(self));
            old.into_iter().for_each(|bonds| ties.same_as(bonds, own));
            tags.iter().for_each(|tag| ties.tag(self.know_tag(guard, tag), 0));
            // From here on no user's code runs that could keep the bonds from their version.
            let mut bonds = ties.into_bonds(guard)?;
            bonds.carry(old.map_or(own, |old| old.since(own)));
            let mut asked = Asked::again(terms);
            asked.bonds = Some(bonds);
            plan.push(record, &mut value, Some(asked), false, None);
            let demand = Demand::Holds(own);
            let (outcome, descriptor) = self.run(guard, plan, &[(record, demand)]);
            if outcome.is_committed() {
                return Some(version_of(outcome));
            }
            // SAFETY: the commit is ours, aborted, and kept by our guard; once.
            drop(unsafe { self.take_aborted(&*descriptor, record, &mut value) });
        }
    }

    /// Ends all values that have this tag, by one commit. O(1).
    pub fn invalidate_tag(&self, tag: &Tag) -> Version {
        let hash = self.hash(tag);
        let version = {
            let guard = self.pin();
            let version = self.end_tagged(&guard, hash, tag).unwrap_or_else(|| {
                // A number for a tag that nobody has. Who holds it by now, and took a smaller one, is found.
                let version = self.order.clock.tick();
                let looks_again = !mutant("tag.look_once");
                let found = looks_again.then(|| self.end_tagged(&guard, hash, tag)).flatten();
                found.unwrap_or(version)
            });
            self.committed();
            self.record(EventKind::Committed, None, Some(version));
            version
        };
        self.tend();
        Version::from_u64(version)
    }

    /// The same, if the tag has a cell.
    fn end_tagged(&self, guard: &R::Guard<'_>, hash: u32, tag: &Tag) -> Option<u64> {
        let index = self.tags.get(0)?;
        let cell = index.find(guard, hash, |cell| cell.tag() == tag);
        let cell = cell.filter(|cell| cell.revive())?;
        let retire = |node: *mut Node<Mark<()>>| self.retire(guard, node, Self::free_milestone);
        let retire_place = |place| self.retire_place(guard, place);
        let (clock, views) = (&self.order.clock, &self.views);
        // SAFETY: the guard is live, and the milestone is made for this.
        let version = unsafe { cell.ended.add(clock, views, milestone(), retire, retire_place) };
        self.try_condemn_tag(guard, cell);
        Some(version)
    }
}
