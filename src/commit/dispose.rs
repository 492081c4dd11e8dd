//! How superseded versions are disposed of.
//!
//! A chain is never cut under readers, because a reader may stand on a version and follow its link
//! later. So links are marked, or made to lead further down, and their old targets are retired. The
//! guard of a reader that still follows an old link keeps the version there.

use super::{ViewCursor, take_suffix};
use crate::chain::{Chain, Link, Node, Record};
use crate::sync::hook::{mutant, step};

/// Takes a witness off its record, if no version has superseded it: the version below it is the
/// head again. That head comes back, but no thread that remembers it from before still has its
/// guard.
///
/// # Safety
/// The witness is decided and not reclaimed, the record is held, and a grace period has passed
/// since the witness was installed.
pub unsafe fn withdraw<K, V>(record: &Record<K, V>, witness: *mut Node<V>) {
    // SAFETY: the caller's promise. While the witness is the head, the version below it is the
    // newest one and is not taken out.
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

/// The outcome of an attempt to remove versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PruneOutcome {
    /// The caller has nothing left to do: the versions were removed, or their owner removes them.
    Done,
    /// An owner has not yet read what it superseded. The attempt must be repeated.
    Later,
}

/// Takes out the target of `link`, which no view needs. `link` leads from `kept` to it.
fn unlink<V>(
    chain: &impl Chain<V>,
    kept: &Node<V>,
    link: Link<V>,
    retire: impl Fn(*mut Node<V>),
) -> Result<(), PruneOutcome> {
    // SAFETY: the link is not taken, so no other thread has retired the target: only the caller,
    // which holds the right to prune, unlinks.
    let (prev, below) = unsafe { (chain.prev_of(kept), chain.prev_of(link.target()).link()) };
    // The owner of an open link has not yet read the version below, and disposes of it afterwards.
    if !mutant("prune.ignore_open") {
        if link.is_open() {
            return Err(PruneOutcome::Done);
        }
        if below.is_open() {
            return Err(PruneOutcome::Later);
        }
    }
    step("dispose.before_unlink");
    // If the versions below were taken, no view is older than this version either, so it is taken
    // as well.
    let after = if below.is_taken() { link.taken() } else { Link::skipping(below.target()) };
    if prev.replace(link, after) {
        retire(link.target());
    }
    Ok(())
}

/// Takes out the version with this number below `top`, if there is one. No view needs it, now or
/// later.
///
/// # Safety
/// `top` is the newest committed version of its record. The caller holds the record's right to
/// prune and a live guard. The version was superseded. `retire` retires a version of this chain.
pub unsafe fn take_out<V>(
    chain: &impl Chain<V>,
    top: &Node<V>,
    version: u64,
    retire: impl Fn(*mut Node<V>),
) -> PruneOutcome {
    let mut kept = top;
    loop {
        // SAFETY: a version of this chain, and the caller's guard keeps it.
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
        // The next round checks whether the version was taken out. The link may have been closed
        // meanwhile.
    }
}

/// Removes every version below `top` that no open view can see, including versions between two
/// views.
///
/// # Safety
/// `top` is the newest committed version of its record. `newest` is the first of the views below
/// it, found after that. The caller holds the record's right to prune and a live guard. `retire`
/// retires a version of this chain.
pub unsafe fn prune<V>(
    chain: &impl Chain<V>,
    top: &Node<V>,
    newest: Option<ViewCursor<'_>>,
    retire: impl Fn(*mut Node<V>),
) -> PruneOutcome {
    let (mut kept, mut view, mut out) = (top, newest, PruneOutcome::Done);
    loop {
        // SAFETY: a version of this chain, and the caller's guard keeps it.
        let link = unsafe { chain.prev_of(kept) }.link();
        if link.is_end() {
            return out;
        }
        while view.is_some_and(|view| view.version() >= kept.state().version()) {
            view = view.and_then(|view| view.next());
        }
        let Some(oldest_needed) = view.map(|view| view.version()) else {
            // SAFETY: no view needs a version below `kept`, and later views begin at or above
            // `top`.
            unsafe { take_suffix(chain, kept, false, retire) };
            return out;
        };
        // SAFETY: the link is not taken, so no other thread has retired the target: only the
        // caller, which holds the right to prune, unlinks.
        let next = unsafe { &*link.target() };
        if next.state().version() <= oldest_needed {
            kept = next;
        } else if let Err(outcome) = unlink(chain, kept, link, &retire) {
            out = if outcome == PruneOutcome::Later { outcome } else { out };
            kept = next;
        }
    }
}
