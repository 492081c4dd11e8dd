//! A pair of fences, one nearly free, the other dear.
//!
//! What they promise: for each light barrier L that some thread passed and each heavy barrier H
//! that returned `true`, both of the same [`Barrier`], one of these holds.
//! - *L before H*: every store that precedes L in its thread is seen by every load after H.
//! - *H before L*: every store that happens before H is seen by every load after L.
//!
//! And: if H happens before another heavy barrier H', then L before H implies L before H'. Two
//! light barriers order nothing between them. "Loads" and "stores" are atomic ones of any ordering.
//!
//! With `membarrier` the light side only keeps the compiler from moving anything across it; the
//! heavy side has the kernel run a full fence in every running thread of the process (one that does
//! not run passed a full fence when it was descheduled), so it falls on one side of L in each
//! thread's instructions. Without it both sides are sequentially consistent fences, of which the
//! memory model promises the above. Both sides of an instance must be of one kind, so the kind is
//! chosen when the instance is made.

use crate::sync::hook::mutant;
use crate::sync::{Ordering, compiler_fence, fence};

/// Which kind of barriers an instance uses.
#[derive(Clone, Copy)]
pub struct Barrier {
    asymmetric: bool,
}

impl Barrier {
    /// The best that the running system has.
    pub fn detect() -> Self {
        Self { asymmetric: system::register() }
    }

    /// Ordinary fences on both sides, which work everywhere.
    #[allow(dead_code)] // For tests and models; elsewhere `detect` decides.
    pub fn fences() -> Self {
        Self { asymmetric: false }
    }

    /// Whether the light side costs no instruction.
    #[allow(dead_code)] // As above.
    pub fn is_asymmetric(self) -> bool {
        self.asymmetric
    }

    /// The light side.
    #[inline(always)]
    pub fn light(self) {
        if mutant("reclaim.no_light_barrier") {
            return;
        }
        if !(system::POSSIBLE && self.asymmetric) {
            fence(Ordering::SeqCst);
        }
        compiler_fence(Ordering::SeqCst); // All that it takes otherwise.
    }

    /// The heavy side. False if the system refused: then nothing is promised.
    #[must_use]
    pub fn heavy(self) -> bool {
        if system::POSSIBLE && self.asymmetric {
            return system::barrier();
        }
        fence(Ordering::SeqCst);
        true
    }
}

/// Linux with the `membarrier` call.
#[cfg(all(target_os = "linux", not(coeval_loom), not(miri)))]
mod system {
    use crate::sync::{AtomicU32, Ordering};

    /// Whether `register` may return true.
    pub(super) const POSSIBLE: bool = true;

    const UNKNOWN: u32 = 0;
    const ABSENT: u32 = 1;
    const REGISTERED: u32 = 2;

    static STATE: AtomicU32 = AtomicU32::new(UNKNOWN);

    /// Tells the kernel that this process will use the barrier; whether it may. Threads that come
    /// here at the same time all register, which is harmless: registering twice is registering once.
    pub(super) fn register() -> bool {
        // Acquire: pairs with the store below, so that the barrier follows the registration.
        let mut state = STATE.load(Ordering::Acquire);
        if state == UNKNOWN {
            let wanted = libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED
                | libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;
            let offered = call(libc::MEMBARRIER_CMD_QUERY);
            let can = offered >= 0
                && offered & libc::c_long::from(wanted) == libc::c_long::from(wanted)
                && call(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
            state = if can { REGISTERED } else { ABSENT };
            STATE.store(state, Ordering::Release); // Pairs with the load above.
        }
        state == REGISTERED
    }

    /// It can fail later than at registration: for want of kernel memory, or because a filter of
    /// system calls was put in place meanwhile.
    #[cold]
    pub(super) fn barrier() -> bool {
        call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0
    }

    fn call(command: libc::c_int) -> libc::c_long {
        // SAFETY: takes three integers (the command, no flags, an unused processor number) and
        // touches no memory of ours. To the compiler it is a call that may touch any memory that
        // another thread can reach, so nothing of the kind moves across it.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) }
    }
}

/// Anything else.
#[cfg(not(all(target_os = "linux", not(coeval_loom), not(miri))))]
mod system {
    pub(super) const POSSIBLE: bool = false;

    pub(super) fn register() -> bool {
        false
    }

    pub(super) fn barrier() -> bool {
        false
    }
}
