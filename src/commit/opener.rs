//! The place in the code that opened a view, for whoever asks why it is still open. Without the
//! features `metrics` and `tracing`, nobody keeps it.

#[cfg(any(feature = "metrics", feature = "tracing"))]
use crate::sync::{AtomicPtr, Ordering};
use std::panic::Location;

/// A place in a program's code.
pub type CodePlace = &'static Location<'static>;

/// The place in the code that opened a view, if it is known.
#[cfg(any(feature = "metrics", feature = "tracing"))]
pub struct Opener(AtomicPtr<Location<'static>>);

#[cfg(any(feature = "metrics", feature = "tracing"))]
impl Opener {
    #[inline]
    pub fn unknown() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// Keeps this place, unless another one is kept already: of several holders, the first counts.
    #[inline]
    pub fn note(&self, opener: CodePlace) {
        let opener = std::ptr::from_ref(opener).cast_mut();
        let (null, relaxed) = (std::ptr::null_mut(), Ordering::Relaxed);
        // Relaxed: a place in the code is static, so it needs no publication.
        let _ = self.0.compare_exchange(null, opener, relaxed, relaxed);
    }

    pub fn get(&self) -> Option<CodePlace> {
        // SAFETY: only `note` writes it, and a place in the code lives for ever. Relaxed: as there.
        unsafe { self.0.load(Ordering::Relaxed).cast_const().as_ref() }
    }
}

/// It is never known.
#[cfg(not(any(feature = "metrics", feature = "tracing")))]
pub struct Opener(());

#[cfg(not(any(feature = "metrics", feature = "tracing")))]
impl Opener {
    #[inline(always)]
    pub fn unknown() -> Self {
        Self(())
    }

    #[inline(always)]
    pub fn note(&self, _: CodePlace) {}

    pub fn get(&self) -> Option<CodePlace> {
        None
    }
}
