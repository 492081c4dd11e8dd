//! A thread stops while it pins, and the epoch goes on.

use crate::common::steps::at;
use coeval::internals::reclaim::{Asymmetric, Garbage, Reclaim};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::channel;

unsafe fn note(object: *mut (), _: *const ()) {
    // SAFETY: it is one that was leaked.
    unsafe { &*object.cast::<AtomicBool>() }.store(true, SeqCst);
}

/// Retires an object, which then says whether it was reclaimed.
fn retire(scheme: &Asymmetric, meanwhile: impl FnOnce()) -> &'static AtomicBool {
    let object = Box::leak(Box::new(AtomicBool::new(false)));
    let guard = scheme.pin();
    meanwhile();
    let garbage =
        Garbage { object: ptr::from_mut(object).cast(), context: ptr::null(), reclaim: note };
    // SAFETY: it is retired once, and any thread may note it.
    unsafe { scheme.retire(&guard, garbage) };
    object
}

/// An opportunity to advance the epoch.
fn turn(scheme: &Asymmetric) {
    retire(scheme, || ());
    scheme.hurry();
    scheme.collect();
}

/// A writer reads the epoch, and announces it when others have advanced it three times. A reader
/// that pinned in between keeps what the writer retires.
#[test]
fn a_reader_keeps_what_a_late_writer_retires() {
    let scheme: &'static Asymmetric = Box::leak(Box::new(Asymmetric::new()));
    let (to_reader, told) = channel();
    let (to_writer, answer) = channel();
    let reader = std::thread::spawn(move || {
        told.recv().unwrap();
        (0..4).for_each(|_| turn(scheme));
        let guard = scheme.pin();
        to_writer.send(()).unwrap();
        told.recv().unwrap();
        drop(guard);
    });
    let begin = to_reader.clone();
    at(&["reclaim.pin.read"], move || {
        begin.send(()).unwrap();
        answer.recv().unwrap();
    });
    let object = retire(scheme, || ());
    (0..6).for_each(|_| turn(scheme));
    assert!(!object.load(SeqCst), "reclaimed, and a guard from before is live");
    to_reader.send(()).unwrap();
    reader.join().unwrap();
    (0..6).for_each(|_| turn(scheme));
    assert!(object.load(SeqCst), "it is never reclaimed");
}
