//! A cell whose every access the models check for data races.

#[cfg(all(coeval_loom, not(coeval_shuttle)))]
pub(crate) use loom::cell::UnsafeCell;

#[cfg(coeval_shuttle)]
pub(crate) use checked::UnsafeCell;

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

#[cfg(coeval_shuttle)]
mod checked {
    use std::cell::Cell;

    /// Lets other threads run in the middle of each access, none of which may access it, too.
    pub(crate) struct UnsafeCell<T> {
        value: std::cell::UnsafeCell<T>,
        is_used: Cell<bool>,
    }

    impl<T> UnsafeCell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self { value: std::cell::UnsafeCell::new(value), is_used: Cell::new(false) }
        }

        pub(crate) fn with_mut<O>(&self, write: impl FnOnce(*mut T) -> O) -> O {
            assert!(!self.is_used.replace(true), "Concurrent write accesses");
            loom::thread::sleep(std::time::Duration::ZERO); // lets others run
            let output = write(self.value.get());
            self.is_used.set(false);
            output
        }
    }
}
