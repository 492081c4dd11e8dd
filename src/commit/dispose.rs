//! What becomes of versions that were superseded.
//!
//! A chain is never cut under readers: a reader may stand on a version and follow its link later. So
//! links are marked, or made to lead further down, and what they led to is retired; a reader that
//! still goes there finds it kept by its guard.

use super::Seen;
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

/// Removes every version below `top` that no view in `seen` can see, also between views. True if
/// versions are left that a view needs: they must be looked at again when it closes.
///
/// # Safety
/// `top` is the newest committed version of its record and was seen so before `seen` was taken; the
/// caller holds the record's right to prune and a live guard. `retire` as above.
pub unsafe fn prune<V>(
    chain: &impl Chain<V>,
    top: &Node<V>,
    seen: &Seen,
    retire: impl Fn(*mut Node<V>),
) -> bool {
    let mut kept = top;
    loop {
        // SAFETY: of this chain, and kept by the caller's guard.
        let prev = unsafe { chain.prev_of(kept) };
        let link = prev.link();
        if link.is_end() {
            return !ptr::eq(kept, top);
        }
        if !seen.any_below(kept.state().version()) {
            // SAFETY: no view needs less than `kept`; later ones begin above `top`.
            unsafe { take_suffix(chain, kept, false, retire) };
            return !ptr::eq(kept, top);
        }
        // SAFETY: not taken, so not retired by anybody else: only we, who hold the right, unlink.
        let next = unsafe { &*link.target() };
        // SAFETY: as above.
        let below = unsafe { chain.prev_of(next) }.link();
        let needed = seen.any_between(next.state().version(), kept.state().version());
        // An open link's owner has yet to read what lies below it; it prunes when it has.
        let open = (link.is_open() || below.is_open()) && !mutant("prune.ignore_open");
        if needed || open || below.is_taken() {
            kept = next;
            continue;
        }
        step("dispose.before_unlink");
        if prev.replace(link, Link::skipping(below.target())) {
            retire(link.target());
        }
    }
}
