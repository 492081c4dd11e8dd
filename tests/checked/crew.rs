//! The threads of a checked run. Signals stop them at any instruction, again and again.
//!
//! A thread that is stopped within the allocator or a lock of the test holds others up, so it goes
//! on by itself after a while. `tests/frozen.rs` has threads that stay until others have finished.

use crate::common::random::Random;
use crate::common::together;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::time::Duration;

/// How often a thread was stopped.
pub static STOPPED: AtomicU64 = AtomicU64::new(0);
/// How long the next one rests, in nanoseconds.
static REST: AtomicU64 = AtomicU64::new(0);

/// Runs `body(0)`..`body(n - 1)`, each in its own thread, and stops them at random.
pub fn crew(n: usize, seed: u64, body: impl Fn(usize) + Sync) {
    install();
    let (members, left) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| stop_at_random(&members, &left, seed));
        let _left = crate::common::StopOnDrop(&left);
        together(n, |thread| {
            let _member = Member::enter(&members);
            body(thread);
        });
    });
}

/// A thread that may be stopped, as the system knows it.
struct Member<'a>(&'a Mutex<Vec<libc::pid_t>>, libc::pid_t);

impl<'a> Member<'a> {
    fn enter(members: &'a Mutex<Vec<libc::pid_t>>) -> Self {
        // SAFETY: the call only returns a number.
        let id = unsafe { libc::gettid() };
        members.lock().unwrap().push(id);
        Self(members, id)
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap().retain(|id| *id != self.1);
    }
}

/// Stops one thread after another, most of them for less than a millisecond.
fn stop_at_random(members: &Mutex<Vec<libc::pid_t>>, left: &AtomicBool, seed: u64) {
    let mut random = Random::new(seed);
    while !left.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_micros(100 + random.below(8_000)));
        let members = members.lock().unwrap();
        if members.is_empty() {
            continue;
        }
        let id = members[random.below(members.len() as u64) as usize];
        REST.store(1_000 << random.below(14), Ordering::Relaxed);
        // SAFETY: the handler is installed. The thread has not ended: it would have to take the
        // lock for that.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), id, libc::SIGUSR2) };
    }
}

extern "C" fn stop(_: libc::c_int) {
    STOPPED.fetch_add(1, Ordering::Relaxed);
    let rest = libc::timespec { tv_sec: 0, tv_nsec: REST.load(Ordering::Relaxed) as i64 };
    // SAFETY: a signal handler may call `nanosleep`; the handler restores errno, which the call may
    // set.
    unsafe {
        let errno = *libc::__errno_location();
        libc::nanosleep(&raw const rest, std::ptr::null_mut());
        *libc::__errno_location() = errno;
    }
}

fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: zero is a valid `sigaction`, and the handler does only what a handler may.
        let failed = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = stop as extern "C" fn(libc::c_int) as libc::sighandler_t;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut())
        };
        assert_eq!(failed, 0, "the handler could not be installed");
    });
}
