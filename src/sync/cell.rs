//! A cell whose every use is an access that the models check against all others.

#[cfg(coeval_loom)]
pub(crate) use loom::cell::UnsafeCell;

#[cfg(not(coeval_loom))]
pub(crate) use plain::UnsafeCell;

#[cfg(not(coeval_loom))]
mod plain {
    /// As loom's: what it holds is reached through pointers that do not leave a closure.
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with_mut<O>(&self, write: impl FnOnce(*mut T) -> O) -> O {
            write(self.0.get())
        }
    }
}
