//! A small number for every living thread.
//!
//! This module takes no lock. To detect the end of a thread, it registers one destructor per thread
//! with the system. The system may take locks for that.
//!
//! On Linux, this is the destructor of a POSIX key. Such destructors run after the destructors of
//! all thread-local values. So a thread keeps its number while the latter use a cache, however many
//! they are and in whatever order they run. The destructor of another key may use a cache later.
//! The thread then gets a new number, and the key's destructor runs once more. (The system stops
//! after `PTHREAD_DESTRUCTOR_ITERATIONS` rounds, which are four.) On other systems, it is the
//! destructor of a thread-local value, and a few more for destructors that run after the first.
//!
//! A program may put a guard into a thread-local value or behind a key. The guard refers to a value
//! of its thread after the call that created it. It therefore contains a [`NumberHold`], which
//! keeps the number until the hold is dropped.

use std::marker::PhantomData;

pub(super) use id::detects_thread_ends;
pub(crate) use id::{thread_number, thread_number_if_any};

/// The number of a thread that has ended. No new thread gets it before this is dropped.
pub(super) struct Borrowed(usize);

impl Borrowed {
    /// Claims a number, unless a thread has it.
    pub(super) fn claim(number: usize) -> Option<Self> {
        // Not `then_some`: dropping a `Borrowed` releases the number.
        id::claim(number).then(|| Self(number))
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        id::release(self.0);
    }
}

/// Keeps the number of the thread that made it from passing to another thread. Bound to its thread.
pub(crate) struct NumberHold(PhantomData<*mut ()>);

impl NumberHold {
    /// Starts to hold the calling thread's number.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        id::hold();
        Self(PhantomData)
    }
}

impl Drop for NumberHold {
    #[inline(always)]
    fn drop(&mut self) {
        id::release_hold();
    }
}

#[cfg(not(coeval_loom))]
mod id {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

    const NONE: usize = usize::MAX;
    const WORDS: usize = 64;

    /// A bitmap of the numbers in use. A full map links to another one.
    struct Numbers {
        used: [AtomicU64; WORDS],
        next: AtomicPtr<Numbers>,
    }

    impl Numbers {
        const fn new() -> Self {
            Self {
                used: [const { AtomicU64::new(0) }; WORDS],
                next: AtomicPtr::new(std::ptr::null_mut()),
            }
        }

        /// Returns the map after this one, and makes it if necessary. Maps are never freed.
        fn next(&self) -> &'static Numbers {
            let next = self.next.load(Ordering::Acquire);
            if !next.is_null() {
                // SAFETY: published below, from a box that is never freed.
                return unsafe { &*next };
            }
            let fresh = Box::into_raw(Box::new(Numbers::new()));
            let null = std::ptr::null_mut();
            match self.next.compare_exchange(null, fresh, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: just published, never freed.
                Ok(_) => unsafe { &*fresh },
                Err(winner) => {
                    // SAFETY: `fresh` was never published; `winner` is never freed.
                    unsafe {
                        drop(Box::from_raw(fresh));
                        &*winner
                    }
                }
            }
        }
    }

    static NUMBERS: Numbers = Numbers::new();

    /// A flag in the count of holds: the last hold to be dropped releases the number.
    const ENDED: usize = 1 << (usize::BITS - 1);

    /// The state of the calling thread.
    struct ThreadState {
        number: Cell<usize>,
        /// The number of holds, and the flag [`ENDED`].
        held: Cell<usize>,
    }

    std::thread_local! {
        // Const and without a destructor: access is one load, at any time.
        static ME: ThreadState =
            const { ThreadState { number: Cell::new(NONE), held: Cell::new(0) } };
    }

    /// Runs when the thread ends or reaches its destructors. May run more than once.
    fn end() {
        ME.with(|me| match me.held.get() {
            0 => release_number(me),
            held => me.held.set(held | ENDED),
        });
    }

    fn release_number(me: &ThreadState) {
        let number = me.number.replace(NONE);
        if number != NONE {
            release(number);
        }
    }

    /// Returns whether ended threads are distinguished from living ones.
    pub(in super::super) const fn detects_thread_ends() -> bool {
        true
    }

    /// Returns the calling thread's number, or `usize::MAX` if it has none yet.
    #[inline(always)]
    pub(crate) fn thread_number_if_any() -> usize {
        const { assert!(NONE == usize::MAX) }
        ME.with(|me| me.number.get())
    }

    /// Returns the calling thread's number, and assigns one if necessary.
    pub(crate) fn thread_number() -> usize {
        let number = ME.with(|me| me.number.get());
        if number == NONE { assign() } else { number }
    }

    /// Keeps the thread's number until [`release_hold`] has been called as often as this.
    #[inline(always)]
    pub(super) fn hold() {
        ME.with(|me| me.held.set(me.held.get() + 1));
    }

    /// Reverts one call of [`hold`] on the same thread.
    #[inline(always)]
    pub(super) fn release_hold() {
        ME.with(|me| {
            let held = me.held.get() - 1;
            me.held.set(held);
            if held == ENDED {
                release_last_hold(me);
            }
        });
    }

    /// Releases the last hold of a thread whose destructor has run already.
    #[cold]
    fn release_last_hold(me: &ThreadState) {
        me.held.set(0);
        release_number(me);
    }

    #[cold]
    fn assign() -> usize {
        let number = acquire();
        ME.with(|me| me.number.set(number));
        thread_end::register();
        number
    }

    /// Detection of a thread's end by the destructor of a POSIX key.
    #[cfg(target_os = "linux")]
    mod thread_end {
        use std::ffi::c_void;
        use std::sync::atomic::{AtomicU64, Ordering};

        /// No key has been made yet.
        const UNKNOWN: u64 = u64::MAX;
        /// No key can be made.
        const NONE: u64 = u64::MAX - 1;

        static KEY: AtomicU64 = AtomicU64::new(UNKNOWN);

        /// Registers `end` to run when this thread ends. May be called again after `end` has run.
        pub(super) fn register() {
            match key() {
                // SAFETY: the key was made and is never deleted. Without memory the call fails, and
                // the thread never releases its number.
                Some(key) => _ = unsafe { libc::pthread_setspecific(key, (&raw const KEY).cast()) },
                None => super::by_thread_local::register(),
            }
        }

        extern "C" fn ended(_: *mut c_void) {
            super::end();
        }

        fn key() -> Option<libc::pthread_key_t> {
            let mut known = KEY.load(Ordering::Relaxed); // Relaxed: a key is a plain number.
            if known == UNKNOWN {
                let mut made = 0;
                // SAFETY: the call only writes `made`.
                let failed = unsafe { libc::pthread_key_create(&mut made, Some(ended)) } != 0;
                let fresh = if failed { NONE } else { u64::from(made) };
                let publish =
                    KEY.compare_exchange(UNKNOWN, fresh, Ordering::Relaxed, Ordering::Relaxed);
                known = publish.map_or_else(|winner| winner, |_| fresh);
                if known != fresh && !failed {
                    // SAFETY: made above and never published.
                    unsafe { libc::pthread_key_delete(made) };
                }
            }
            libc::pthread_key_t::try_from(known).ok()
        }
    }

    #[cfg(not(target_os = "linux"))]
    use by_thread_local as thread_end;

    /// Detection of a thread's end by the destructors of thread-local values.
    mod by_thread_local {
        /// Its destructor runs `end`.
        struct ReleaseNumber;

        impl Drop for ReleaseNumber {
            fn drop(&mut self) {
                super::end();
            }
        }

        std::thread_local! {
            // One for the thread's end, the others for destructors that run after the first.
            static FIRST: ReleaseNumber = const { ReleaseNumber };
            static SECOND: ReleaseNumber = const { ReleaseNumber };
            static THIRD: ReleaseNumber = const { ReleaseNumber };
            static FOURTH: ReleaseNumber = const { ReleaseNumber };
        }

        /// Registers `end` to run when this thread ends. May be called again after `end` has run.
        /// If all four destructors have run, the thread keeps its number for good.
        pub(super) fn register() {
            let all = [&FIRST, &SECOND, &THIRD, &FOURTH];
            let _ = all.iter().any(|value| value.try_with(|_| ()).is_ok());
        }
    }

    fn acquire() -> usize {
        let (mut map, mut base) = (&NUMBERS, 0);
        loop {
            for (index, word) in map.used.iter().enumerate() {
                let mut used = word.load(Ordering::Relaxed);
                while used != u64::MAX {
                    let bit = used.trailing_ones();
                    // Acquire: pairs with `release`. So this thread sees what the number's last
                    // owner left in its values.
                    match word.compare_exchange_weak(
                        used,
                        used | 1 << bit,
                        Ordering::Acquire,
                        Ordering::Relaxed,
                    ) {
                        Ok(_) => return base + index * 64 + bit as usize,
                        Err(now) => used = now,
                    }
                }
            }
            base += WORDS * 64;
            map = map.next();
        }
    }

    /// Returns the word and the bit of a number in the maps.
    fn bit_of(number: usize) -> (&'static AtomicU64, u64) {
        let (mut map, mut number) = (&NUMBERS, number);
        while number >= WORDS * 64 {
            number -= WORDS * 64;
            map = map.next();
        }
        (&map.used[number / 64], 1 << (number % 64))
    }

    /// Takes this number if it is free, and returns whether it did.
    pub(super) fn claim(number: usize) -> bool {
        let (word, bit) = bit_of(number);
        // Acquire: pairs with `release`, as in `acquire`. The load before it avoids a write to a
        // line that others use.
        word.load(Ordering::Relaxed) & bit == 0 && word.fetch_or(bit, Ordering::Acquire) & bit == 0
    }

    pub(super) fn release(number: usize) {
        let (word, bit) = bit_of(number);
        // Release: pairs with `acquire` and `claim`.
        word.fetch_and(!bit, Ordering::Release);
    }
}

#[cfg(coeval_loom)]
pub use id::{end_thread, with_ends};

#[cfg(coeval_loom)]
mod id {
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use std::cell::Cell;

    loom::thread_local! { static NUMBER: Cell<usize> = Cell::new(usize::MAX); }

    /// Returns the calling thread's number. Models do not reuse numbers.
    pub(crate) fn thread_number_if_any() -> usize {
        thread_number()
    }

    pub(crate) fn thread_number() -> usize {
        NUMBER.with(|number| {
            if number.get() == usize::MAX {
                // loom numbers its threads, but only prints the numbers. An atomic counter here
                // would multiply the schedules to explore.
                let id = format!("{:?}", loom::thread::current().id());
                let digits: String = id.chars().filter(char::is_ascii_digit).collect();
                number.set(digits.parse().expect("loom prints the number"));
            }
            number.get()
        })
    }

    loom::lazy_static! { static ref ENDED: AtomicUsize = AtomicUsize::new(0); }
    std::thread_local! { static ON: Cell<bool> = const { Cell::new(false) }; }

    /// Runs `body`, a model, whose threads call `end_thread` when they end. Other models do not
    /// distinguish ended threads, which would only multiply the schedules.
    pub fn with_ends<T>(body: impl FnOnce() -> T) -> T {
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                ON.set(false);
            }
        }
        ON.set(true);
        let _reset = Reset;
        body()
    }

    pub(in super::super) fn detects_thread_ends() -> bool {
        ON.get()
    }

    /// Marks the calling thread as ended.
    pub fn end_thread() {
        release(thread_number());
    }

    pub(super) fn claim(number: usize) -> bool {
        // Acquire: pairs with `release`.
        detects_thread_ends()
            && ENDED.fetch_and(!(1 << number), Ordering::Acquire) & 1 << number != 0
    }

    pub(super) fn release(number: usize) {
        ENDED.fetch_or(1 << number, Ordering::Release); // Pairs with `claim`.
    }

    pub(super) fn hold() {}

    pub(super) fn release_hold() {}
}

#[cfg(all(test, not(coeval_loom)))]
mod tests;
