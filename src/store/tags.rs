//! The cells of tags, and the commits that invalidate a tag.
//!
//! Such a commit is one number in the tag's cell. If the tag has no cell, the commit takes a number
//! and looks for the cell again. A writer with a smaller number holds the cell by then. A later
//! writer takes a larger number, so the invalidation does not affect its value.

use super::{Host, Store};
use crate::chain::{Bonds, Dependency, Linked, Node};
use crate::commit::{Limit, Milestone, ReadAt};
use crate::index::{Index, Indexed};
use crate::pool::PoolOf;
use crate::reclaim::Reclaim;
use crate::relation::{Tag, TagCell};
use crate::sync::hook::{mutant, step};
use crate::version::State;
use std::ptr::{self, NonNull};

/// The cell of a tag. The dependency holds the cell as long as it exists.
///
/// # Safety
/// The dependency is a tag, not an input.
pub unsafe fn cell_of(tag: &Dependency) -> &TagCell {
    // SAFETY: the caller's promise.
    unsafe { &*tag.cell::<TagCell>() }
}

/// The tags of a value, each with its cell.
pub fn cells_of(bonds: &Bonds) -> impl Iterator<Item = (&TagCell, &Dependency)> {
    // SAFETY: these are tags.
    bonds.tags().iter().map(|tag| (unsafe { cell_of(tag) }, tag))
}

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    /// The cell of a tag with this hash, alive as long as the guard. Makes one if there is none.
    pub fn find_or_create_tag<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        hash: u32,
        tag: &Tag,
    ) -> &'g TagCell {
        let index = self.tags.get_or_make(0, || Index::with_capacity(0, PoolOf::with_homes(0)));
        if let Some(cell) = index.find(guard, hash, |cell| cell.tag() == tag)
            && (mutant("tag.no_revive") || cell.revive())
        {
            step("tag.found");
            return cell;
        }
        // SAFETY: a guard is live, and the slot is for a cell. The cell's hash is `hash`, and it is
        // freed a grace period after it was sealed and unlinked. It was published just now under
        // this guard, or no other thread has seen it.
        unsafe {
            let fresh = index.memory().take().cast::<TagCell>();
            fresh.write(TagCell::new(hash, tag.clone()));
            match index.insert(&self.reclaim, guard, hash, fresh, |cell| cell.tag() == tag) {
                Ok(()) => fresh.as_ref(),
                Err(existing) => {
                    drop_cell(fresh);
                    index.memory().put_back(fresh.cast());
                    existing
                }
            }
        }
    }

    /// The number of the last commit that invalidated a tag, as of an instant; 0 if there is none.
    #[inline]
    pub fn tag_invalidated_at(&self, tag: &Dependency, at: ReadAt<'_>) -> u64 {
        // SAFETY: callers pass one of the tags of some bonds.
        let (ended, clock) = unsafe { (&cell_of(tag).ended, &self.order.clock) };
        match at.limit() {
            Limit::Newest => ended.newest(clock, at.live()),
            _ => ended.at(clock, at).map_or(0, |(number, _)| number),
        }
    }

    /// Whether, as of an instant, none of these tags was invalidated since the value of the version
    /// `own` got it.
    #[inline]
    pub fn are_tags_valid(&self, tags: &[Dependency], own: u64, at: ReadAt<'_>) -> bool {
        tags.iter().all(|tag| self.tag_invalidated_at(tag, at) <= tag.tagged_since(own))
    }

    /// Releases the cells of tags. From now on the guard keeps them.
    ///
    /// # Safety
    /// The tags held their cells until now, and nobody releases them again.
    pub unsafe fn release_tags(&self, guard: &R::Guard<'_>, tags: &[Dependency]) {
        for tag in tags {
            // SAFETY: the caller's promise.
            let cell = unsafe { cell_of(tag) };
            cell.let_go();
            self.try_condemn_tag(guard, cell);
        }
    }

    /// Condemns a cell that nothing holds. Its removal begins.
    fn try_condemn_tag(&self, guard: &R::Guard<'_>, cell: &TagCell) {
        if cell.condemn() {
            step("tag.condemned");
            // SAFETY: this thread condemned the cell, and `seal_tag` looks again.
            unsafe { self.retire(guard, cell, Self::seal_tag) };
        }
    }

    /// The second step, a grace period later: seals the cell.
    unsafe fn seal_tag(cell: *mut (), store: *const ()) {
        // SAFETY: retired by `try_condemn_tag`. A cell lives until a grace period after it was
        // sealed, and only this call, one at a time, seals it.
        let (store, cell) = unsafe { (&*store.cast::<Self>(), &*cell.cast::<TagCell>()) };
        let guard = store.pin();
        if !cell.seal() {
            return store.try_condemn_tag(&guard, cell);
        }
        step("tag.sealed");
        // SAFETY: the cell is sealed by this call, and it is freed a grace period from now.
        unsafe {
            if let Some(index) = store.tags.get(0) {
                index.unlink(&guard, NonNull::from(cell));
            }
            store.retire(&guard, cell, Self::free_tag);
        }
    }

    /// The last step: frees the cell. No guard can have found it.
    unsafe fn free_tag(cell: *mut (), store: *const ()) {
        // SAFETY: retired by `seal_tag` after it was unlinked. It is in the memory of the
        // index.
        unsafe {
            let store = &*store.cast::<Self>();
            let cell = NonNull::new_unchecked(cell.cast::<TagCell>());
            if let Some(index) = store.tags.get(0) {
                index.release(&store.pin(), cell);
                drop_cell(cell);
                index.memory().give(cell.cast());
            }
        }
    }

    unsafe fn free_milestone(node: *mut (), _: *const ()) {
        // SAFETY: retired once, and a grace period has passed.
        unsafe { free_milestone(node.cast()) };
    }

    /// Invalidates all values that have the tag with this hash, by one commit. Returns its number.
    pub fn invalidate_tag(&self, guard: &R::Guard<'_>, hash: u32, tag: &Tag) -> u64 {
        self.invalidate_existing_tag(guard, hash, tag).unwrap_or_else(|| {
            // The tag has no cell, so the commit only takes a number. If a writer with a smaller
            // number holds the cell by now, the second look finds the cell.
            step("tag.unknown");
            let version = self.order.clock.tick();
            let looks_again = !mutant("tag.look_once");
            let found =
                looks_again.then(|| self.invalidate_existing_tag(guard, hash, tag)).flatten();
            found.unwrap_or(version)
        })
    }

    /// The same if the tag has a cell; otherwise `None`.
    fn invalidate_existing_tag(&self, guard: &R::Guard<'_>, hash: u32, tag: &Tag) -> Option<u64> {
        let index = self.tags.get(0)?;
        let cell = index.find(guard, hash, |cell| cell.tag() == tag);
        let cell = cell.filter(|cell| cell.revive())?;
        let (clock, views) = (&self.order.clock, &self.views);
        // SAFETY: the guard is live, and the milestone is made for this chain. What the callbacks
        // receive was taken out, once.
        let version = unsafe {
            let retire = |node: *mut _| self.retire(guard, node, Self::free_milestone);
            let retire_place = |place| self.retire_place(guard, place);
            cell.ended.add(clock, views, milestone(), retire, retire_place)
        };
        self.try_condemn_tag(guard, cell);
        Some(version)
    }
}

impl<K, V, S, R: Reclaim, H> Store<K, V, S, R, H> {
    /// Drops all cells.
    ///
    /// # Safety
    /// Nobody else uses the store, which is being dropped, and nothing that was retired is
    /// reclaimed from now on.
    pub(super) unsafe fn drop_tags(&mut self) {
        let Some(index) = self.tags.get(0) else { return };
        let guard = self.reclaim.pin();
        for cell in index.all_entries(&guard) {
            // SAFETY: the access is exclusive, and each cell is dropped once.
            unsafe { drop_cell(NonNull::from(cell)) };
        }
    }
}

/// Drops the contents of a cell.
///
/// # Safety
/// Nobody else has access to the cell, and this is done once.
unsafe fn drop_cell(cell: NonNull<TagCell>) {
    // SAFETY: the caller's promise. The drained milestones belong to this cell only.
    unsafe {
        (*cell.as_ptr()).ended.drain(|node| free_milestone(node));
        cell.drop_in_place();
    }
}

/// # Safety
/// The node was made by `milestone`, and nobody else has access to it.
unsafe fn free_milestone(node: *mut Node<Milestone<()>>) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(node.cast::<Linked<Milestone<()>>>()) });
}

fn milestone() -> *mut Node<Milestone<()>> {
    let milestone = Some(Milestone::new(()));
    Box::into_raw(Box::new(Linked::new(State::READY, ptr::null_mut(), milestone))).cast()
}
