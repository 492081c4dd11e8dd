//! The models' atomics: loom's, of which a model may have every access in one order.

use std::cell::Cell;
use std::sync::atomic::Ordering;

std::thread_local! { static ON: Cell<bool> = const { Cell::new(false) }; }

/// Runs `body`, a model, with all accesses sequentially consistent, so that a load finds what was
/// stored last. For models of which loom cannot explore every load of something older as well: they
/// still meet every order of the steps, while smaller models try the orderings.
pub fn with_one_order<T>(body: impl FnOnce() -> T) -> T {
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

fn or_one(order: Ordering) -> Ordering {
    if ON.get() { Ordering::SeqCst } else { order }
}

macro_rules! atomic {
    ($name:ident $(<$t:ident>)?, $value:ty, $($change:ident)*) => {
        #[derive(Default, Debug)]
        pub struct $name $(<$t>)? (loom::sync::atomic::$name $(<$t>)?);

        // Each integer has the same operations, of which not all are used of each.
        #[allow(dead_code)]
        impl $(<$t>)? $name $(<$t>)? {
            pub fn new(value: $value) -> Self {
                Self(loom::sync::atomic::$name::new(value))
            }

            pub fn load(&self, order: Ordering) -> $value {
                self.0.load(or_one(order))
            }

            pub fn store(&self, value: $value, order: Ordering) {
                self.0.store(value, or_one(order));
            }

            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                self.0.swap(value, or_one(order))
            }

            pub fn compare_exchange(
                &self,
                from: $value,
                to: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.0.compare_exchange(from, to, or_one(success), or_one(failure))
            }

            pub fn compare_exchange_weak(
                &self,
                from: $value,
                to: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.0.compare_exchange_weak(from, to, or_one(success), or_one(failure))
            }

            pub fn fetch_update(
                &self,
                set: Ordering,
                fetch: Ordering,
                change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                self.0.fetch_update(or_one(set), or_one(fetch), change)
            }

            $(pub fn $change(&self, value: $value, order: Ordering) -> $value {
                self.0.$change(value, or_one(order))
            })*
        }
    };
}

atomic!(AtomicPtr<T>, *mut T,);
atomic!(AtomicU32, u32, fetch_add fetch_sub fetch_and fetch_or fetch_max);
atomic!(AtomicU64, u64, fetch_add fetch_sub fetch_and fetch_or fetch_max);
atomic!(AtomicUsize, usize, fetch_add fetch_sub fetch_and fetch_or fetch_max);
