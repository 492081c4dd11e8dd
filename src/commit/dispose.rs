//! What becomes of versions that were superseded.
//!
//! A chain is never cut under readers: a reader may stand on a version and follow its link later. So
//! links are marked, or made to lead further down, and what they led to is retired; a reader that
//! still goes there finds it kept by its guard.

use super::Seen;
use crate::chain::{Link, Node};
use crate::sync::hook::{mutant, step};

/// Retires everything below `node`, which no reader will need any more. Whoever marks a link
/// retires its target, so each version is retired once, however many do this at a time.
///
/// `own` says that the caller is the owner of `node`'s commit, and done with what it superseded.
///
/// # Safety
/// `node` is committed, was reached under a live guard, and every view that is registered, or will
/// be, is at its version or later. `retire` retires a version of this chain.
pub unsafe fn take_suffix<V>(node: &Node<V>, own: bool, retire: impl Fn(*mut Node<V>)) {
    let mut node = node;
    let mut own = own;
    loop {
        let link = node.prev();
        if link.is_end() {
            return;
        }
        let taken = if own { link.taken().closed() } else { link.taken() };
        if !node.replace_prev(link, taken) {
            continue;
        }
        step("dispose.taken");
        own = false;
        retire(link.target());
        // SAFETY: it was retired during our guard at the earliest, so the guard keeps it.
        node = unsafe { &*link.target() };
    }
}

/// Removes every version below `top` that no view in `seen` can see, also between views. True if
/// versions are left that a view needs: they must be looked at again when it closes.
///
/// # Safety
/// `top` is the newest committed version of its record and was seen so before `seen` was taken; the
/// caller holds the record's right to prune and a live guard. `retire` as above.
pub unsafe fn prune<V>(top: &Node<V>, seen: &Seen, retire: impl Fn(*mut Node<V>)) -> bool {
    let mut kept = top;
    loop {
        let link = kept.prev();
        if link.is_end() {
            return !std::ptr::eq(kept, top);
        }
        if !seen.any_below(kept.state().version()) {
            // SAFETY: no view needs less than `kept`; later ones begin above `top`.
            unsafe { take_suffix(kept, false, retire) };
            return !std::ptr::eq(kept, top);
        }
        // SAFETY: not taken, so not retired by anybody else: only we, who hold the right, unlink.
        let next = unsafe { &*link.target() };
        let below = next.prev();
        let needed = seen.any_between(next.state().version(), kept.state().version());
        // An open link's owner has yet to read what lies below it; it prunes when it has.
        let open = (link.is_open() || below.is_open()) && !mutant("prune.ignore_open");
        if needed || open || below.is_taken() {
            kept = next;
            continue;
        }
        step("dispose.before_unlink");
        if kept.replace_prev(link, Link::skipping(below.target())) {
            retire(link.target());
        }
    }
}
