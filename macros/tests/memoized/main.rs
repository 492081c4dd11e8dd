//! Memoized functions, as their users write them.

mod cached;
mod derived;
mod futures;

/// How often something happened.
struct Count(std::sync::atomic::AtomicU32);

impl Count {
    const fn new() -> Self {
        Self(std::sync::atomic::AtomicU32::new(0))
    }

    fn up(&self) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    fn get(&self) -> u32 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}
