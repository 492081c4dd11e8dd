//! What becomes of versions that were superseded.
//!
//! A chain is never cut under readers: a reader may stand on a version and follow its link later. So
//! links are marked, or made to lead further down, and what they led to is retired; a reader that
//! still goes there finds it kept by its guard.

use super::ViewCursor;
use crate::chain::{Chain, Head, Link, Node, Record};
use crate::sync::hook::{mutant, step};
use std::ptr;

/// Retires what was on top of `record`, as `head` said, and was superseded together with `below`: if it is not that, it
/// was aborted. A witness goes with its commit.
///
/// # Safety
/// It was superseded by the caller's install, under the guard under which the head was read.
pub unsafe fn discard<K, V>(
    record: &Record<K, V>,
    head: Head<V>,
    below: *mut Node<V>,
    retire: &impl Fn(&Record<K, V>, *mut Node<V>),
) {
    let top = head.node();
    // SAFETY: the caller's guard keeps it.
    if below != top && !unsafe { (*top).state() }.is_witness() {
        retire(record, top);
    }
}

/// Takes a witness off its record, if nothing has superseded it: what it was put upon is on top again. That head comes
/// back, but not to anybody who could remember it.
///
/// # Safety
/// The witness is decided and not reclaimed, the record is held, and a grace period has passed since the witness was
/// installed.
pub unsafe fn withdraw<K, V>(record: &Record<K, V>, witness: *mut Node<V>) {
    // SAFETY: the caller's promise. While it is on top what it was put upon is newest, and is not taken out.
    let below = unsafe { record.prev_of(witness) }.link().target();
    loop {
        let head = record.head();
        if head.node() != witness {
            return;
        }
        step("witness.before_withdrawal");
        if record.install(head, below) {
            return;
        }
    }
}

/// Retires everything below `node`, which no reader will need any more. Whoever marks a link
/// retires its target, so each version is retired once, however many do this at a time.
///
/// `own` says that the caller is the owner of `node`'s commit, and done with what it superseded.
///
/// # Safety
/// `node` is committed, was reached under a live guard, and every view that is registered, or will
/// be, is at its version or later. `retire` retires a version of this chain.
pub unsafe fn take_suffix<V>(
    chain: &impl Chain<V>,
    node: &Node<V>,
    own: bool,
    retire: impl Fn(*mut Node<V>),
) {
    let mut node = ptr::from_ref(node);
    let mut own = own;
    loop {
        // SAFETY: of this chain, and kept: by the caller's guard.
        let prev = unsafe { chain.prev_of(node) };
        let link = prev.link();
        if link.is_end() {
            return;
        }
        let taken = if own { link.taken().closed() } else { link.taken() };
        if !prev.replace(link, taken) {
            continue;
        }
        step("dispose.taken");
        own = false;
        retire(link.target());
        // It was retired during our guard at the earliest, so the guard keeps it.
        node = link.target();
    }
}

/// Whether what was to go has gone, or is being seen to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PruneOutcome {
    Done,
    /// Somebody has yet to read what lies below it: to be tried again.
    Later,
}

/// Takes out the version `next`, which no view needs, from below `kept`; `link` leads from one to the other.
fn unlink<V>(
    chain: &impl Chain<V>,
    kept: &Node<V>,
    link: Link<V>,
    retire: impl Fn(*mut Node<V>),
) -> Result<(), PruneOutcome> {
    // SAFETY: not taken, so not retired by anybody else: only the caller, who holds the right, unlinks.
    let (prev, below) = unsafe { (chain.prev_of(kept), chain.prev_of(link.target()).link()) };
    // An open link's owner has yet to read what lies below it, and sees to that when he has.
    if !mutant("prune.ignore_open") {
        if link.is_open() {
            return Err(PruneOutcome::Done);
        }
        if below.is_open() {
            return Err(PruneOutcome::Later);
        }
    }
    step("dispose.before_unlink");
    // If what lies below was taken, no view is older than this one either: then so is this.
    let after = if below.is_taken() { link.taken() } else { Link::skipping(below.target()) };
    if prev.replace(link, after) {
        retire(link.target());
    }
    Ok(())
}

/// Takes the version of this number, which no view needs or will need, out from below `top`, if it is there.
///
/// # Safety
/// `top` is the newest committed version of its record; the caller holds the record's right to prune and a live guard. The
/// version was superseded. `retire` retires a version of this chain.
pub unsafe fn take_out<V>(
    chain: &impl Chain<V>,
    top: &Node<V>,
    version: u64,
    retire: impl Fn(*mut Node<V>),
) -> PruneOutcome {
    let mut kept = top;
    loop {
        // SAFETY: of this chain, and kept by the caller's guard.
        let link = unsafe { chain.prev_of(kept) }.link();
        if link.is_end() {
            return PruneOutcome::Done;
        }
        // SAFETY: as above.
        let next = unsafe { &*link.target() };
        let number = next.state().version();
        if number < version {
            return PruneOutcome::Done;
        }
        if number > version {
            kept = next;
        } else if let Err(out) = unlink(chain, kept, link, &retire) {
            return out;
        }
        // Whether it was taken out is looked at once more: the link may have been closed meanwhile.
    }
}

/// Removes every version below `top` that no open view can see, also between views.
///
/// # Safety
/// `top` is the newest committed version of its record; `newest` is the first of the views below it, found after that; the
/// caller holds the record's right to prune and a live guard. `retire` as above.
pub unsafe fn prune<V>(
    chain: &impl Chain<V>,
    top: &Node<V>,
    newest: Option<ViewCursor<'_>>,
    retire: impl Fn(*mut Node<V>),
) -> PruneOutcome {
    let (mut kept, mut view, mut out) = (top, newest, PruneOutcome::Done);
    loop {
        // SAFETY: of this chain, and kept by the caller's guard.
        let link = unsafe { chain.prev_of(kept) }.link();
        if link.is_end() {
            return out;
        }
        while view.is_some_and(|view| view.version() >= kept.state().version()) {
            view = view.and_then(|view| view.next());
        }
        let Some(oldest_needed) = view.map(|view| view.version()) else {
            // SAFETY: no view needs less than `kept`; later ones begin above `top`.
            unsafe { take_suffix(chain, kept, false, retire) };
            return out;
        };
        // SAFETY: not taken, so not retired by anybody else: only we, who hold the right, unlink.
        let next = unsafe { &*link.target() };
        if next.state().version() <= oldest_needed {
            kept = next;
        } else if let Err(left) = unlink(chain, kept, link, &retire) {
            out = if left == PruneOutcome::Later { left } else { out };
            kept = next;
        }
    }
}
