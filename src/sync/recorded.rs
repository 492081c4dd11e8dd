//! The atomics of the build that counts cache lines: std's, which also record each access.

use super::lines::{self, Access};
use std::sync::atomic::Ordering;

macro_rules! atomic {
    ($name:ident $(<$t:ident>)?, $value:ty, $($change:ident)*) => {
        #[derive(Default, Debug)]
        #[repr(transparent)]
        pub struct $name $(<$t>)? (std::sync::atomic::$name $(<$t>)?);

        // All integers get the same operations, of which some are unused.
        #[allow(dead_code)]
        impl $(<$t>)? $name $(<$t>)? {
            pub const fn new(value: $value) -> Self {
                Self(std::sync::atomic::$name::new(value))
            }

            #[track_caller]
            fn note(&self, access: Access) {
                lines::note(std::ptr::from_ref(self), access);
            }

            pub fn get_mut(&mut self) -> &mut $value {
                self.0.get_mut()
            }

            pub fn into_inner(self) -> $value {
                self.0.into_inner()
            }

            #[track_caller]
            pub fn load(&self, order: Ordering) -> $value {
                self.note(Access::Read);
                self.0.load(order)
            }

            #[track_caller]
            pub fn store(&self, value: $value, order: Ordering) {
                self.note(Access::Write);
                self.0.store(value, order);
            }

            #[track_caller]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                self.note(Access::Write);
                self.0.swap(value, order)
            }

            #[track_caller]
            pub fn compare_exchange(
                &self,
                from: $value,
                to: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                // A processor takes the line for itself, whether or not the exchange succeeds.
                self.note(Access::Write);
                self.0.compare_exchange(from, to, success, failure)
            }

            #[track_caller]
            pub fn compare_exchange_weak(
                &self,
                from: $value,
                to: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.note(Access::Write);
                self.0.compare_exchange_weak(from, to, success, failure)
            }

            #[track_caller]
            pub fn fetch_update(
                &self,
                set: Ordering,
                fetch: Ordering,
                mut change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut now = self.load(fetch);
                while let Some(next) = change(now) {
                    match self.compare_exchange_weak(now, next, set, fetch) {
                        Ok(before) => return Ok(before),
                        Err(other) => now = other,
                    }
                }
                Err(now)
            }

            $(#[track_caller]
            pub fn $change(&self, value: $value, order: Ordering) -> $value {
                self.note(Access::Write);
                self.0.$change(value, order)
            })*
        }
    };
}

atomic!(AtomicPtr<T>, *mut T,);
atomic!(AtomicU8, u8,);
atomic!(AtomicU32, u32, fetch_add fetch_sub fetch_and fetch_or fetch_max);
atomic!(AtomicU64, u64, fetch_add fetch_sub fetch_and fetch_or fetch_max);
atomic!(AtomicUsize, usize, fetch_add fetch_sub fetch_and fetch_or fetch_max);
