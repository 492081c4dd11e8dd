//! The atomics of the models: loom's, which a model can make sequentially consistent.

use std::cell::Cell;
use std::sync::atomic::Ordering;

std::thread_local! { static ON: Cell<bool> = const { Cell::new(false) }; }

/// Runs `body`, a model, with all accesses sequentially consistent, so that a load returns the
/// latest store. This is for models in which loom cannot also explore loads of older values. They
/// still explore every order of the steps, while smaller models explore the orderings.
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

fn strengthen(order: Ordering) -> Ordering {
    if ON.get() { Ordering::SeqCst } else { order }
}

macro_rules! atomic {
    ($name:ident $(<$t:ident>)?, $value:ty, $($change:ident)*) => {
        #[derive(Default, Debug)]
        pub struct $name $(<$t>)? (loom::sync::atomic::$name $(<$t>)?);

        // All integers get the same operations, of which some are unused.
        #[allow(dead_code)]
        impl $(<$t>)? $name $(<$t>)? {
            pub fn new(value: $value) -> Self {
                Self(loom::sync::atomic::$name::new(value))
            }

            pub fn load(&self, order: Ordering) -> $value {
                self.0.load(strengthen(order))
            }

            pub fn store(&self, value: $value, order: Ordering) {
                self.0.store(value, strengthen(order));
            }

            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                self.0.swap(value, strengthen(order))
            }

            pub fn compare_exchange(
                &self,
                from: $value,
                to: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.0.compare_exchange(from, to, strengthen(success), strengthen(failure))
            }

            pub fn compare_exchange_weak(
                &self,
                from: $value,
                to: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.0.compare_exchange_weak(from, to, strengthen(success), strengthen(failure))
            }

            pub fn fetch_update(
                &self,
                set: Ordering,
                fetch: Ordering,
                change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                self.0.fetch_update(strengthen(set), strengthen(fetch), change)
            }

            $(pub fn $change(&self, value: $value, order: Ordering) -> $value {
                self.0.$change(value, strengthen(order))
            })*
        }
    };
}

atomic!(AtomicPtr<T>, *mut T,);
atomic!(AtomicU8, u8,);
atomic!(AtomicU32, u32, fetch_add fetch_sub fetch_and fetch_or fetch_max);
atomic!(AtomicU64, u64, fetch_add fetch_sub fetch_and fetch_or fetch_max);
atomic!(AtomicUsize, usize, fetch_add fetch_sub fetch_and fetch_or fetch_max);
