//! Seeded random numbers and Zipf streams, generated before the clock starts.

/// The default seed of every run.
pub const SEED: u64 = 0x0C0E_7A1C_0E7A_1C0E;

/// SplitMix64: small, fast, and good enough to pick keys.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A separate sequence for each `seed` and `stream`.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03));
        random.next();
        random
    }

    /// 64 random bits.
    #[inline]
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number below `bound`.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The finalizer of SplitMix64: a permutation of the 64-bit numbers.
#[inline]
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Ranks `0..n` with probability proportional to `1 / (rank + 1)^exponent` (Gray et al.,
/// SIGMOD'94).
#[derive(Clone, Debug)]
pub struct Zipf {
    n: u64,
    alpha: f64,
    zeta_n: f64,
    eta: f64,
    half_power: f64,
}

impl Zipf {
    /// A distribution over `n` ranks. `exponent` must be below 1.
    pub fn new(n: u64, exponent: f64) -> Self {
        assert!(n > 0 && exponent < 1.0, "Gray's method needs ranks and an exponent below 1");
        let zeta = |upto: u64| (1..=upto).map(|i| (i as f64).powf(-exponent)).sum::<f64>();
        let zeta_n = zeta(n);
        let eta = (1.0 - (2.0 / n as f64).powf(1.0 - exponent)) / (1.0 - zeta(2) / zeta_n);
        Self { n, alpha: 1.0 / (1.0 - exponent), zeta_n, eta, half_power: 0.5f64.powf(exponent) }
    }

    /// A random rank; 0 is the most popular.
    pub fn rank(&self, random: &mut Random) -> u64 {
        let u = random.unit();
        let uz = u * self.zeta_n;
        if uz < 1.0 {
            return 0;
        }
        if uz < 1.0 + self.half_power {
            return 1.min(self.n - 1);
        }
        let rank = (self.n as f64 * (self.eta * u - self.eta + 1.0).powf(self.alpha)) as u64;
        rank.min(self.n - 1)
    }
}

/// `length` numbers below `n`, of which `items` occur, Zipf 0.99, with the popular ones scattered
/// over the whole range.
pub fn scrambled_zipf_stream(n: u64, items: u64, length: usize, random: &mut Random) -> Vec<u32> {
    let zipf = Zipf::new(items, 0.99);
    let place = shuffled(n, random);
    (0..length).map(|_| place[zipf.rank(random) as usize]).collect()
}

/// `length` ranks below `items`, Zipf 0.99; 0 is the most popular.
pub fn zipf_ranks(items: u64, length: usize, random: &mut Random) -> Vec<u32> {
    let zipf = Zipf::new(items, 0.99);
    (0..length).map(|_| zipf.rank(random) as u32).collect()
}

/// `length` numbers below `n`, all equally likely.
pub fn uniform_stream(n: u64, length: usize, random: &mut Random) -> Vec<u32> {
    (0..length).map(|_| random.below(n) as u32).collect()
}

/// The numbers below `n` in random order.
pub fn shuffled(n: u64, random: &mut Random) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..u32::try_from(n).expect("numbers of 32 bits")).collect();
    for i in (1..numbers.len()).rev() {
        numbers.swap(i, random.below(i as u64 + 1) as usize);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_gives_the_top_rank_its_share() {
        let (n, draws) = (1000, 200_000);
        let zipf = Zipf::new(n, 0.99);
        let mut random = Random::new(SEED, 0);
        let top = (0..draws).filter(|_| zipf.rank(&mut random) == 0).count();
        let expected = 1.0 / (1..=n).map(|i| (i as f64).powf(-0.99)).sum::<f64>();
        let share = top as f64 / draws as f64;
        assert!((share / expected - 1.0).abs() < 0.05, "{share} instead of {expected}");
    }

    #[test]
    fn streams_stay_in_range_and_repeat_by_seed() {
        let stream = |seed| scrambled_zipf_stream(70, 7, 1000, &mut Random::new(seed, 1));
        let mut seen = stream(1);
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() <= 7 && seen.iter().all(|key| *key < 70));
        assert_eq!(stream(1), stream(1));
        assert_ne!(stream(1), stream(2));
    }
}
