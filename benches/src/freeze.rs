//! Stops a thread at any instruction, as a scheduler or a page fault may.
//!
//! A signal handler sleeps on the thread's own stack. Whatever the thread holds (a lock, a
//! half-installed commit) stays held until the handler returns. Linux only. On other systems
//! [`enrol`] returns no target, and measurements that need it are left out.

/// How often a thread was frozen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freezes {
    /// How often the thread was stopped.
    pub all: u64,
    /// How many of these stops were between [`Enrolled::begin_write`] and [`Enrolled::end_write`].
    pub inside_a_write: u64,
}

#[cfg(target_os = "linux")]
mod imp {
    use std::{
        cell::Cell,
        ptr,
        sync::{
            Once,
            atomic::{AtomicBool, AtomicU64, Ordering},
        },
        time::{Duration, Instant},
    };

    use super::Freezes;

    /// What the handler and the freezer share about one thread. Leaked, because a signal may arrive
    /// late.
    #[derive(Debug)]
    struct Slot {
        thread: libc::pid_t,
        /// False once the thread has left. After that, no signal is sent to it.
        alive: AtomicBool,
        writing: AtomicBool,
        nanos: AtomicU64,
        begun: AtomicU64,
        inside: AtomicU64,
        ended: AtomicU64,
    }

    thread_local! {
        static SLOT: Cell<*const Slot> = const { Cell::new(ptr::null()) };
    }

    /// The membership of the calling thread, which can be frozen while this lives.
    #[derive(Debug)]
    pub struct Enrolled(&'static Slot);

    /// A thread that can be frozen.
    #[derive(Clone, Copy, Debug)]
    pub struct Target(&'static Slot);

    /// Enrols the calling thread.
    pub fn enrol() -> Option<(Enrolled, Target)> {
        install_handler();
        let slot: &'static Slot = Box::leak(Box::new(Slot {
            // SAFETY: `gettid` has no preconditions.
            thread: unsafe { libc::gettid() },
            alive: AtomicBool::new(true),
            writing: AtomicBool::new(false),
            nanos: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            inside: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }));
        SLOT.set(slot);
        Some((Enrolled(slot), Target(slot)))
    }

    impl Enrolled {
        /// From here on, a freeze counts as inside a write. A handler on this same thread reads
        /// this and the next store, so program order is enough.
        #[inline]
        pub fn begin_write(&self) {
            self.0.writing.store(true, Ordering::Relaxed);
        }

        /// Ends the write that `begin_write` began.
        #[inline]
        pub fn end_write(&self) {
            self.0.writing.store(false, Ordering::Relaxed);
        }
    }

    impl Drop for Enrolled {
        fn drop(&mut self) {
            self.0.alive.store(false, Ordering::Release);
            SLOT.set(ptr::null());
        }
    }

    impl Target {
        /// Stops the thread for `duration`, and returns when it goes on. Returns false if the
        /// thread has left, or did not take the signal within ten more seconds.
        pub fn freeze(&self, duration: Duration) -> bool {
            let slot = self.0;
            let before = slot.ended.load(Ordering::Acquire);
            slot.nanos.store(duration.as_nanos() as u64, Ordering::Release);
            if !slot.alive.load(Ordering::Acquire) {
                return false;
            }
            // SAFETY: the arguments are plain numbers. If the thread has ended, the call returns
            // ESRCH.
            let sent = unsafe {
                libc::syscall(libc::SYS_tgkill, libc::getpid(), slot.thread, libc::SIGUSR2)
            };
            if sent != 0 {
                return false;
            }
            let give_up = Instant::now() + duration + Duration::from_secs(10);
            std::thread::sleep(duration);
            while slot.ended.load(Ordering::Acquire) == before {
                if Instant::now() > give_up || !slot.alive.load(Ordering::Acquire) {
                    return false;
                }
                std::thread::sleep(Duration::from_micros(50));
            }
            true
        }

        /// The freezes so far.
        pub fn freezes(&self) -> Freezes {
            Freezes {
                all: self.0.begun.load(Ordering::Acquire),
                inside_a_write: self.0.inside.load(Ordering::Acquire),
            }
        }
    }

    /// Sleeps as long as the slot of the interrupted thread says. Makes only async-signal-safe
    /// calls.
    extern "C" fn handler(_: libc::c_int) {
        let slot = SLOT.get();
        if slot.is_null() {
            return;
        }
        // SAFETY: slots are leaked, so a pointer that is not null stays valid. `errno` belongs to
        // this thread, and is restored because the interrupted code may be about to read it.
        unsafe {
            let errno = libc::__errno_location();
            let saved = *errno;
            let slot = &*slot;
            slot.begun.fetch_add(1, Ordering::AcqRel);
            if slot.writing.load(Ordering::Relaxed) {
                slot.inside.fetch_add(1, Ordering::AcqRel);
            }
            let nanos = slot.nanos.load(Ordering::Acquire);
            let pause = libc::timespec {
                tv_sec: (nanos / 1_000_000_000) as libc::time_t,
                tv_nsec: (nanos % 1_000_000_000) as libc::c_long,
            };
            libc::nanosleep(&pause, ptr::null_mut());
            slot.ended.fetch_add(1, Ordering::AcqRel);
            *errno = saved;
        }
    }

    fn install_handler() {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            // SAFETY: a zeroed `sigaction` is valid, the handler makes only async-signal-safe
            // calls, and nothing else in this program uses the signal.
            let rc = unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = handler as *const () as usize;
                action.sa_flags = libc::SA_RESTART;
                libc::sigaction(libc::SIGUSR2, &action, ptr::null_mut())
            };
            assert_eq!(rc, 0, "the signal handler could not be installed");
        });
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use super::Freezes;
    use std::{convert::Infallible, time::Duration};

    /// Never created on this system.
    #[derive(Debug)]
    pub struct Enrolled(Infallible);

    /// Never created on this system.
    #[derive(Clone, Copy, Debug)]
    pub struct Target(Infallible);

    /// Returns `None`, because threads cannot be frozen on this system.
    pub fn enrol() -> Option<(Enrolled, Target)> {
        None
    }

    #[allow(missing_docs)]
    impl Enrolled {
        pub fn begin_write(&self) {}
        pub fn end_write(&self) {}
    }

    #[allow(missing_docs)]
    impl Target {
        pub fn freeze(&self, _: Duration) -> bool {
            match self.0 {}
        }
        pub fn freezes(&self) -> Freezes {
            match self.0 {}
        }
    }
}

pub use imp::{Enrolled, Target, enrol};

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::{
        sync::mpsc,
        time::{Duration, Instant},
    };

    #[test]
    fn a_frozen_thread_stops_and_goes_on() {
        let (send_target, target) = mpsc::channel();
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let (enrolled, target) = enrol().unwrap();
            enrolled.begin_write();
            send_target.send(target).unwrap();
            let mut longest = Duration::ZERO;
            while stopped.try_recv().is_err() {
                let before = Instant::now();
                longest = longest.max(std::hint::black_box(before).elapsed());
            }
            enrolled.end_write();
            longest
        });
        let target = target.recv().unwrap();
        assert!(target.freeze(Duration::from_millis(30)));
        assert_eq!(target.freezes(), Freezes { all: 1, inside_a_write: 1 });
        stop.send(()).unwrap();
        let _longest = thread.join().unwrap();
        assert!(!target.freeze(Duration::from_millis(1)), "a thread that left was frozen");
    }
}
