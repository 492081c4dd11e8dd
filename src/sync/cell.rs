//! A cell whose every access the models check for data races.

#[cfg(coeval_loom)]
pub(crate) use loom::cell::UnsafeCell;

#[cfg(not(coeval_loom))]
pub(crate) use plain::UnsafeCell;

#[cfg(not(coeval_loom))]
mod plain {
    /// Has the interface of loom's cell: pointers to the value must not leave the closure.
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
