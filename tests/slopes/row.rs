//! A row: one operation, one quantity that grows, and the promise.

/// How the cost of one operation may grow with the quantity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Grows {
    Not,
    Logarithmic,
    /// In proportion; n log n, as in sorting, counts as linear.
    Linear,
}

impl Grows {
    /// Whether the costs at n, 4 n and 16 n are within the promise. A constant part only flattens a
    /// slope, so each bound applies to the larger sizes.
    pub fn allows(self, [first, second, third]: [f64; 3]) -> bool {
        /// Extra instructions that an operation may take for other reasons, such as a deeper cache
        /// of blocks.
        const SLACK: f64 = 25.0;
        match self {
            Self::Not => third <= 1.4 * first + SLACK,
            Self::Logarithmic => third <= 2.2 * first + SLACK,
            Self::Linear => second <= 5.5 * first + SLACK && third <= 5.5 * second + SLACK,
        }
    }
}

#[derive(Clone, Copy)]
pub struct Row {
    pub operation: &'static str,
    /// The quantity.
    pub with: &'static str,
    pub grows: Grows,
    /// The smallest size.
    pub from: u64,
    /// Prepares everything at one size, and counts the operation once.
    pub run: fn(u64),
}

impl Row {
    pub fn name(&self) -> String {
        format!("{} / {}", self.operation, self.with)
    }

    pub fn sizes(&self) -> [u64; 3] {
        [1, 4, 16].map(|times| times * self.from)
    }
}

pub const fn row(
    operation: &'static str,
    with: &'static str,
    grows: Grows,
    from: u64,
    run: fn(u64),
) -> Row {
    Row { operation, with, grows, from, run }
}

/// The method for a name in the table: `batch().commit()` is `commit`; `View::get` stays.
pub fn method(name: &str) -> &str {
    let name = name.strip_suffix("()").unwrap_or(name);
    name.rsplit('.').next().unwrap_or(name)
}

/// A hasher that gives the same hashes in each run, so that counts are also the same.
pub type Hasher = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;
pub type Cache = coeval::Cache<u64, u64, Hasher>;

pub fn builder() -> coeval::Builder<u64, u64, Hasher> {
    coeval::Cache::builder().hasher(Hasher::default())
}

/// A cache with the entries `0..n`.
pub fn filled(n: u64) -> Cache {
    let cache = builder().build();
    (0..n).for_each(|key| _ = cache.insert(key, key));
    cache
}

/// Lets `n` threads use the cache at the same time, and end.
pub fn ended_threads(cache: &Cache, n: u64) {
    let gate = std::sync::Barrier::new(n as usize);
    std::thread::scope(|scope| {
        for _ in 0..n {
            scope.spawn(|| {
                cache.insert(0, 0);
                cache.get(&0);
                gate.wait();
            });
        }
    });
}

/// A view at each of `n` versions.
pub fn views(cache: &Cache, n: u64) -> Vec<coeval::View<u64, u64, Hasher>> {
    let at = |version| {
        cache.insert(u64::MAX, version);
        cache.view()
    };
    (0..n).map(at).collect()
}
