//! Streams of keys, prepared before the clock starts, so that choosing a key costs next to nothing.

use super::Settings;
use crate::random::{Random, scrambled_zipf_stream, uniform_stream};

/// The keys in a thread's stream; a power of two. These are 4 MiB, read in order, so the prefetcher
/// hides the cost.
pub const STREAM: usize = 1 << 20;

/// The distribution of requests.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Distribution {
    Uniform,
    Zipf,
}

impl Distribution {
    /// The name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
        }
    }

    /// A stream of numbers below `keys` for each of `threads` threads.
    pub fn streams(self, settings: &Settings, keys: u64, threads: usize) -> Vec<Vec<u32>> {
        (0..threads as u64).map(|thread| self.stream(settings, keys, thread)).collect()
    }

    fn stream(self, settings: &Settings, keys: u64, thread: u64) -> Vec<u32> {
        match self {
            Self::Uniform => uniform_stream(keys, STREAM, &mut Random::new(settings.seed, thread)),
            // The popular keys are the same for all threads. Each thread begins at a different
            // place.
            Self::Zipf => {
                let mut random = Random::new(settings.seed, u64::MAX);
                let mut keys = scrambled_zipf_stream(keys, keys, STREAM, &mut random);
                keys.rotate_left(thread as usize * (STREAM / 61) % STREAM);
                keys
            }
        }
    }
}

/// A position in a stream, which repeats.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    numbers: &'a [u32],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the beginning of a stream.
    pub fn new(numbers: &'a [u32]) -> Self {
        assert_eq!(numbers.len(), STREAM);
        Self { numbers, at: 0 }
    }

    /// The next number.
    #[inline]
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.at = (self.at + 1) & (STREAM - 1);
        u64::from(self.numbers[self.at])
    }
}
