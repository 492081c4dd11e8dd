//! A small number for every living thread.
//!
//! Nothing here takes a lock. To learn of a thread's end, a destructor is registered with the system, once a
//! thread; what locks the system takes for that is its own affair.
//!
//! On Linux this is the destructor of a POSIX key. Those run after the destructors of all thread-local values, so
//! a thread keeps its number while these use a cache, however many they are and whatever their order. Who
//! uses a cache in the destructor of another key, after that, gets a number anew, and the key's destructor runs once
//! more. (The system ends that after `PTHREAD_DESTRUCTOR_ITERATIONS` rounds, which are four.) Elsewhere it is the
//! destructor of a thread-local value, and of a few more for who comes after it.
//!
//! Whoever keeps a reference to its thread's value beyond a call, as a guard does that a program may have put
//! into a thread-local or behind a key, keeps a [`Hold`] beside it: the number does not go back before that is
//! dropped.

use std::marker::PhantomData;

pub(super) use id::are_ends_told;
pub(crate) use id::{thread_number, thread_number_if_any};

/// The number of a thread that has ended, kept from new threads until it is dropped.
pub(super) struct Borrowed(usize);

impl Borrowed {
    /// Takes a number if no thread has it.
    pub(super) fn claim(number: usize) -> Option<Self> {
        // Not `then_some`: dropping one gives the number back.
        id::claim(number).then(|| Self(number))
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        id::release(self.0);
    }
}

/// Keeps the number of the thread that made it from going to another thread. Bound to its thread.
pub(crate) struct Hold(PhantomData<*mut ()>);

impl Hold {
    /// Begins to hold the calling thread's number.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        id::hold();
        Self(PhantomData)
    }
}

impl Drop for Hold {
    #[inline(always)]
    fn drop(&mut self) {
        id::let_go();
    }
}

#[cfg(not(coeval_loom))]
mod id {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

    const NONE: usize = usize::MAX;
    const WORDS: usize = 64;

    /// A map of the numbers in use, one bit each; more maps are linked on when one is full.
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

        /// The map after this one, made if there is none. Maps are never freed.
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

    /// Marks the count of holds when the number is to go back with the last of them.
    const ENDED: usize = 1 << (usize::BITS - 1);

    /// What a thread knows of itself.
    struct Me {
        number: Cell<usize>,
        /// How many references to its values are kept, and [`ENDED`].
        held: Cell<usize>,
    }

    std::thread_local! {
        // Const and without a destructor: reading it is one load, at any time.
        static ME: Me = const { Me { number: Cell::new(NONE), held: Cell::new(0) } };
    }

    /// The thread ends, or has come to the destructors that run then.
    fn end() {
        ME.with(|me| match me.held.get() {
            0 => give_back(me),
            held => me.held.set(held | ENDED),
        });
    }

    fn give_back(me: &Me) {
        let number = me.number.replace(NONE);
        if number != NONE {
            release(number);
        }
    }

    /// Whether threads that have ended are told from others.
    pub(in super::super) const fn are_ends_told() -> bool {
        true
    }

    /// The calling thread's number, or `usize::MAX` if it has none yet.
    #[inline(always)]
    pub(crate) fn thread_number_if_any() -> usize {
        const { assert!(NONE == usize::MAX) }
        ME.with(|me| me.number.get())
    }

    /// The calling thread's number.
    pub(crate) fn thread_number() -> usize {
        let number = ME.with(|me| me.number.get());
        if number == NONE { assign() } else { number }
    }

    /// Keeps the thread's number until as many calls of [`let_go`].
    #[inline(always)]
    pub(super) fn hold() {
        ME.with(|me| me.held.set(me.held.get() + 1));
    }

    /// Ends what [`hold`] began, on the same thread.
    #[inline(always)]
    pub(super) fn let_go() {
        ME.with(|me| {
            let held = me.held.get() - 1;
            me.held.set(held);
            if held == ENDED {
                last_let_go(me);
            }
        });
    }

    /// The last hold of a thread whose destructor has run already.
    #[cold]
    fn last_let_go(me: &Me) {
        me.held.set(0);
        give_back(me);
    }

    #[cold]
    fn assign() -> usize {
        let number = acquire();
        ME.with(|me| me.number.set(number));
        at_end::call_end();
        number
    }

    /// How a thread's end is told of: by the destructor of a key.
    #[cfg(target_os = "linux")]
    mod at_end {
        use std::ffi::c_void;
        use std::sync::atomic::{AtomicU64, Ordering};

        /// Neither made, nor known that none can be.
        const UNKNOWN: u64 = u64::MAX;
        const NONE: u64 = u64::MAX - 1;

        static KEY: AtomicU64 = AtomicU64::new(UNKNOWN);

        /// Has `end` called at the end of this thread. May be called again after that.
        pub(super) fn call_end() {
            match key() {
                // SAFETY: a key that was made and is never deleted. If there is no memory, the number is kept.
                Some(key) => _ = unsafe { libc::pthread_setspecific(key, (&raw const KEY).cast()) },
                None => super::by_values::call_end(),
            }
        }

        extern "C" fn ended(_: *mut c_void) {
            super::end();
        }

        fn key() -> Option<libc::pthread_key_t> {
            let mut known = KEY.load(Ordering::Relaxed); // Relaxed: a key is a number.
            if known == UNKNOWN {
                let mut made = 0;
                // SAFETY: `made` is written by the call.
                let failed = unsafe { libc::pthread_key_create(&mut made, Some(ended)) } != 0;
                let fresh = if failed { NONE } else { u64::from(made) };
                let publish =
                    KEY.compare_exchange(UNKNOWN, fresh, Ordering::Relaxed, Ordering::Relaxed);
                known = publish.map_or_else(|winner| winner, |_| fresh);
                if known != fresh && !failed {
                    // SAFETY: made above, and known to nobody.
                    unsafe { libc::pthread_key_delete(made) };
                }
            }
            libc::pthread_key_t::try_from(known).ok()
        }
    }

    #[cfg(not(target_os = "linux"))]
    use by_values as at_end;

    /// The same by the destructors of thread-local values.
    mod by_values {
        /// Its destructor gives the thread's number back.
        struct GiveBack;

        impl Drop for GiveBack {
            fn drop(&mut self) {
                super::end();
            }
        }

        std::thread_local! {
            // One for the thread's end, the others for destructors that run after the first.
            static FIRST: GiveBack = const { GiveBack };
            static SECOND: GiveBack = const { GiveBack };
            static THIRD: GiveBack = const { GiveBack };
            static FOURTH: GiveBack = const { GiveBack };
        }

        /// Has `end` called at the end of this thread. May be called again after that. A thread that is past all
        /// of them keeps its number for good.
        pub(super) fn call_end() {
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
                    // Acquire: pairs with `release`, so that this thread sees what the number's
                    // last owner left in its values.
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

    /// The place of a number in the maps.
    fn place(number: usize) -> (&'static AtomicU64, u64) {
        let (mut map, mut number) = (&NUMBERS, number);
        while number >= WORDS * 64 {
            number -= WORDS * 64;
            map = map.next();
        }
        (&map.used[number / 64], 1 << (number % 64))
    }

    /// Takes this very number, if it is free.
    pub(super) fn claim(number: usize) -> bool {
        let (word, bit) = place(number);
        // Acquire: pairs with `release`, as in `acquire`. The look before it spares the line.
        word.load(Ordering::Relaxed) & bit == 0 && word.fetch_or(bit, Ordering::Acquire) & bit == 0
    }

    pub(super) fn release(number: usize) {
        let (word, bit) = place(number);
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

    /// The calling thread's number. Models do not reuse numbers.
    pub(crate) fn thread_number_if_any() -> usize {
        thread_number()
    }

    pub(crate) fn thread_number() -> usize {
        NUMBER.with(|number| {
            if number.get() == usize::MAX {
                // The model's own count of threads, which it only prints. An atomic counter here
                // would multiply the schedules to explore.
                let id = format!("{:?}", loom::thread::current().id());
                let digits = id.trim_start_matches("ThreadId(").trim_end_matches(')');
                number.set(digits.parse().expect("loom prints `ThreadId(number)`"));
            }
            number.get()
        })
    }

    loom::lazy_static! { static ref ENDED: AtomicUsize = AtomicUsize::new(0); }
    std::thread_local! { static ON: Cell<bool> = const { Cell::new(false) }; }

    /// Runs `body`, a model, whose threads say when they end. Elsewhere those that have ended are not told from others,
    /// which would only multiply the schedules.
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

    pub(in super::super) fn are_ends_told() -> bool {
        ON.get()
    }

    /// The calling thread ends.
    pub fn end_thread() {
        release(thread_number());
    }

    pub(super) fn claim(number: usize) -> bool {
        // Acquire: pairs with `release`.
        are_ends_told() && ENDED.fetch_and(!(1 << number), Ordering::Acquire) & 1 << number != 0
    }

    pub(super) fn release(number: usize) {
        ENDED.fetch_or(1 << number, Ordering::Release); // Pairs with `claim`.
    }

    pub(super) fn hold() {}

    pub(super) fn let_go() {}
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Runs a thread to its end, destructors included, which `std::thread::scope` does not wait for.
    fn to_its_end<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(body).join().unwrap()
    }

    #[test]
    fn threads_that_live_together_have_distinct_numbers() {
        // More than fit into one word of the map, in three waves.
        for _ in 0..3 {
            let together = std::sync::Barrier::new(200);
            let mut numbers: Vec<usize> = std::thread::scope(|scope| {
                let start = || {
                    let number = thread_number();
                    together.wait();
                    assert_eq!(thread_number(), number);
                    number
                };
                let threads: Vec<_> = (0..200).map(|_| scope.spawn(start)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            numbers.sort_unstable();
            assert!(numbers.windows(2).all(|pair| pair[0] != pair[1]));
            assert!(numbers[199] < 4096, "numbers stay small: {}", numbers[199]);
        }
    }

    /// A thread-local whose destructor uses a value per thread, and remembers the number.
    struct AtEnd(Cell<Option<(usize, Hold, Report)>>);

    type Report = std::sync::mpsc::Sender<(usize, usize)>;

    impl Drop for AtEnd {
        fn drop(&mut self) {
            if let Some((number, _hold, report)) = self.0.take() {
                let other = std::thread::spawn(thread_number).join().unwrap();
                assert_ne!(other, number, "the number was given away");
                report.send((number, thread_number())).unwrap();
            }
        }
    }

    std::thread_local! {
        static AT_END: AtEnd = const { AtEnd(Cell::new(None)) };
    }

    #[test]
    fn a_number_that_is_held_stays_and_comes_back_later() {
        let (report, reports) = std::sync::mpsc::channel();
        let mut numbers = Vec::new();
        for _ in 0..300 {
            let report = report.clone();
            to_its_end(move || {
                AT_END.with(|at_end| {
                    at_end.0.set(Some((thread_number(), Hold::new(), report)));
                });
            });
            let (number, at_end) = reports.recv().unwrap();
            assert_eq!(number, at_end);
            numbers.push(number);
        }
        numbers.sort_unstable();
        numbers.dedup();
        assert!(numbers.len() < 200, "numbers that were held come back");
    }

    /// As `AtEnd`, without a hold.
    struct Late;

    impl Drop for Late {
        fn drop(&mut self) {
            LATE_NUMBERS.lock().unwrap().push(thread_number());
        }
    }

    static LATE_NUMBERS: std::sync::Mutex<Vec<usize>> = std::sync::Mutex::new(Vec::new());

    std::thread_local! {
        static LATE: Late = const { Late };
    }

    #[test]
    fn numbers_taken_in_a_destructor_come_back() {
        for _ in 0..300 {
            to_its_end(|| {
                LATE.with(|_| ());
                thread_number();
            });
        }
        let mut numbers = LATE_NUMBERS.lock().unwrap().clone();
        assert_eq!(numbers.len(), 300);
        numbers.sort_unstable();
        numbers.dedup();
        assert!(numbers.len() < 200, "a thread loses its number at its end");
    }
}
