//! A pair of fences: a light one that costs almost nothing, and a heavy one that is expensive.
//!
//! For each light barrier L that a thread passed and each heavy barrier H that returned `true`,
//! both of the same [`Barrier`], one of these holds.
//! - *L before H*: every load after H sees every store that precedes L in its thread.
//! - *H before L*: every load after L sees every store that happens before H.
//!
//! If H happens before another heavy barrier H', then L before H implies L before H'. Two light
//! barriers order nothing between them. "Loads" and "stores" are atomic ones of any ordering.
//!
//! With `membarrier`, the light barrier only keeps the compiler from moving accesses across it. The
//! heavy barrier has the kernel run a full fence in every running thread of the process. (A thread
//! that does not run passed a full fence when it was descheduled.) So the heavy barrier falls on
//! one side of L in each thread's instructions. Without `membarrier`, both are sequentially
//! consistent fences, for which the memory model gives the guarantee above. Both barriers of an
//! instance must be of one kind, so the kind is chosen when the instance is made.

use super::hook::mutant;
use super::{Ordering, compiler_fence, fence};

/// The kind of barriers that an instance uses.
#[derive(Clone, Copy)]
pub struct Barrier {
    asymmetric: bool,
}

impl Barrier {
    /// Chooses the best kind that the running system offers.
    pub fn detect() -> Self {
        Self { asymmetric: system::register() }
    }

    /// Chooses ordinary fences for both barriers, which work on every system.
    #[allow(dead_code)] // For tests and models; elsewhere `detect` decides.
    pub fn fences() -> Self {
        Self { asymmetric: false }
    }

    /// Returns whether the light barrier costs no instruction.
    #[allow(dead_code)] // As above.
    pub fn is_asymmetric(self) -> bool {
        self.asymmetric
    }

    /// Passes the light barrier.
    #[inline(always)]
    pub fn light(self) {
        if mutant("reclaim.no_light_barrier") {
            return;
        }
        if !(system::POSSIBLE && self.asymmetric) {
            fence(Ordering::SeqCst);
        }
        compiler_fence(Ordering::SeqCst); // With `membarrier`, this is enough.
    }

    /// Issues the heavy barrier. Returns false if the system refused it; nothing is guaranteed
    /// then.
    #[must_use]
    pub fn heavy(self) -> bool {
        if system::POSSIBLE && self.asymmetric {
            return system::barrier();
        }
        fence(Ordering::SeqCst);
        true
    }
}

/// Linux with the `membarrier` system call.
#[cfg(all(target_os = "linux", not(coeval_loom), not(miri)))]
mod system {
    use crate::sync::{AtomicU32, Ordering};

    /// Whether `register` may return true.
    pub(super) const POSSIBLE: bool = true;

    const UNKNOWN: u32 = 0;
    const ABSENT: u32 = 1;
    const REGISTERED: u32 = 2;

    static STATE: AtomicU32 = AtomicU32::new(UNKNOWN);

    /// Tells the kernel that this process will use the barrier. Returns whether it may. Threads may
    /// call this at the same time: repeated registration has no further effect.
    pub(super) fn register() -> bool {
        // Acquire: pairs with the store below, so that every barrier follows the registration.
        let mut state = STATE.load(Ordering::Acquire);
        if state == UNKNOWN {
            let wanted = libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED
                | libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;
            let offered = call(libc::MEMBARRIER_CMD_QUERY);
            let can = offered >= 0
                && offered & libc::c_long::from(wanted) == libc::c_long::from(wanted)
                && call(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
            state = if can { REGISTERED } else { ABSENT };
            STATE.store(state, Ordering::Release); // Release: pairs with the load above.
        }
        state == REGISTERED
    }

    /// May fail after a successful registration: the kernel may lack memory, or a system call
    /// filter may have been installed meanwhile.
    #[cold]
    pub(super) fn barrier() -> bool {
        call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0
    }

    fn call(command: libc::c_int) -> libc::c_long {
        // SAFETY: the call takes three integers (the command, no flags, an unused processor number)
        // and accesses no memory of the process. The compiler must assume that it accesses any
        // memory that another thread can reach, and moves no access to such memory across it.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) }
    }
}

/// Other systems.
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
