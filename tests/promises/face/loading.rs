//! Loading: executors as they are, `?` into any error, and hits by borrowed keys.

use coeval::{Cache, Equivalent, LoadError, ManualClock, ToKey, TransactError};
use std::error::Error;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

type BoxError = Box<dyn Error + Send + Sync>;

/// A cache in which key 1 is due to be refreshed.
fn due() -> Cache<u64, u64> {
    let clock = ManualClock::new();
    let minute = Duration::from_secs(60);
    let cache = Cache::builder().refresh_after(minute).manual_clock(&clock).build();
    cache.insert(1, 1);
    clock.advance(minute);
    cache
}

#[test]
fn an_executor_may_return_anything() {
    let cache = due();
    let (done, wait) = mpsc::channel();
    let load = move || {
        done.send(()).unwrap();
        Ok::<_, io::Error>(2)
    };
    assert_eq!(cache.load_on(1, std::thread::spawn, load).unwrap(), 1);
    wait.recv().unwrap();
    while cache.get(&1) != Some(2) {
        std::thread::yield_now();
    }
    let absent = cache.load_many_on([2, 3], std::thread::spawn, || Ok::<_, io::Error>([2, 3]));
    assert_eq!(absent.unwrap(), [2, 3]);
}

#[cfg(feature = "async")]
#[test]
fn an_executor_of_futures_may_return_anything() {
    use std::task::{Context, Poll, Waker};

    struct JoinHandle(#[allow(dead_code)] u64);
    // Has the form of `tokio::spawn`.
    fn spawn<F: Future + Send + 'static>(task: F) -> JoinHandle
    where
        F::Output: Send + 'static,
    {
        let poll = Box::pin(task).as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll.is_ready());
        JoinHandle(1)
    }

    let cache = due();
    let load = std::pin::pin!(cache.load_async_on(1, spawn, async { Ok::<_, io::Error>(2) }));
    let Poll::Ready(loaded) = load.poll(&mut Context::from_waker(Waker::noop())) else { panic!() };
    assert_eq!((loaded.unwrap(), cache.get(&1)), (1, Some(2)));
}

fn parse(text: &str) -> Result<u64, std::num::ParseIntError> {
    text.parse()
}

#[test]
fn a_failed_load_converts_to_a_boxed_error() {
    fn typed(cache: &Cache<u64, u64>, text: &str) -> Result<u64, BoxError> {
        Ok(cache.load(1, || parse(text))? + cache.load_shared(2, || parse(text))?)
    }
    fn boxed(cache: &Cache<u64, u64>, text: &str) -> Result<u64, BoxError> {
        let read = || -> Result<_, BoxError> { Ok(parse(text)? + parse("1")?) };
        Ok(cache.load(3, read)?)
    }
    fn of_text(cache: &Cache<u64, u64>) -> Result<u64, Box<dyn Error>> {
        Ok(cache.load(4, || Err("the source is down"))?)
    }
    fn in_a_transaction(cache: &Cache<u64, u64>) -> Result<u64, BoxError> {
        let done = cache.transact(|tx| -> Result<_, BoxError> {
            tx.insert(9, 9);
            Ok(parse("no number")?)
        });
        Ok(done?.value)
    }
    let cache = Cache::new();
    let digit = "the loader failed: invalid digit found in string";
    assert_eq!(typed(&cache, "x").unwrap_err().to_string(), digit);
    assert_eq!(boxed(&cache, "x").unwrap_err().to_string(), digit);
    assert_eq!(of_text(&cache).unwrap_err().to_string(), "the loader failed: the source is down");
    assert!(in_a_transaction(&cache).unwrap_err().to_string().contains("invalid digit"));
    assert!(cache.is_empty());
    assert_eq!((typed(&cache, "7").unwrap(), boxed(&cache, "7").unwrap()), (14, 8));
    let error = typed(&Cache::new(), "x").unwrap_err();
    assert!(matches!(
        error.downcast_ref::<LoadError<std::num::ParseIntError>>(),
        Some(LoadError::Failed(_))
    ));
}

#[test]
fn a_failed_load_converts_to_anyhow() {
    use anyhow::Context;
    fn read(cache: &Cache<u64, u64>) -> anyhow::Result<u64> {
        cache.insert(1, cache.load(1, || parse("1"))?);
        let source = || -> anyhow::Result<u64> { parse("x").context("the price") };
        Ok(cache.load(2, source)?)
    }
    let error = read(&Cache::new()).unwrap_err();
    assert_eq!(error.to_string(), "the loader failed: the price");
    let Some(load) = error.downcast_ref::<LoadError<anyhow::Error>>() else { panic!("{error}") };
    assert_eq!(format!("{load:#}"), "the loader failed: the price: invalid digit found in string");
}

#[test]
fn a_failed_load_converts_to_an_error_of_the_users_own() {
    #[derive(Debug, PartialEq)]
    enum AppError {
        Parse(std::num::ParseIntError),
        Load(String),
    }
    impl From<std::num::ParseIntError> for AppError {
        fn from(error: std::num::ParseIntError) -> Self {
            Self::Parse(error)
        }
    }
    impl From<LoadError<Self>> for AppError {
        fn from(error: LoadError<Self>) -> Self {
            match error {
                LoadError::Failed(error) => error,
                other => Self::Load(other.to_string()),
            }
        }
    }
    impl fmt::Display for AppError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{self:?}")
        }
    }
    fn read(cache: &Cache<u64, u64>, text: &str) -> Result<u64, AppError> {
        Ok(cache.load(1, || Ok::<_, AppError>(parse(text)?))?)
    }
    let cache = Cache::new();
    assert_eq!(read(&cache, "x"), Err(AppError::Parse(parse("x").unwrap_err())));
    let circle = cache.load(2, || Ok::<u64, AppError>(cache.load(2, || Ok::<_, AppError>(1))?));
    assert!(matches!(circle, Err(LoadError::Failed(AppError::Load(_)))), "{circle:?}");
    assert_eq!(read(&cache, "7"), Ok(7));
}

#[test]
fn errors_can_be_sent_and_kept() {
    fn check<E: Error + Send + Sync + 'static>() {}
    check::<LoadError<io::Error>>();
    check::<LoadError<BoxError>>();
    check::<LoadError<String>>();
    check::<TransactError<io::Error>>();
    check::<TransactError<BoxError>>();
    check::<coeval::BuildError>();
    check::<coeval::Conflict>();
    check::<coeval::Outdated<u64>>();
    let boxed = LoadError::Failed(BoxError::from(LoadError::Failed(BoxError::from("cause"))));
    assert_eq!(boxed.to_string(), "the loader failed: the loader failed: cause");
}

/// A key that counts how often it is made.
#[derive(PartialEq, Eq, Hash)]
struct Owned(String);

static MADE: AtomicUsize = AtomicUsize::new(0);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Borrowed<'a>(&'a str);

impl Equivalent<Owned> for Borrowed<'_> {
    fn equivalent(&self, key: &Owned) -> bool {
        self.0 == key.0
    }
}

impl ToKey<Owned> for Borrowed<'_> {
    fn to_key(&self) -> Owned {
        MADE.fetch_add(1, Ordering::Relaxed);
        Owned(self.0.to_string())
    }
}

#[test]
fn a_hit_by_a_borrowed_key_makes_no_key() {
    let cache = Cache::<Owned, u64>::new();
    let key = Borrowed("key");
    assert_eq!(cache.get_with_ref(&key, || 1), 1);
    assert_eq!(MADE.load(Ordering::Relaxed), 1);
    for _ in 0..3 {
        assert_eq!(cache.get_with_ref(&key, || unreachable!("it is cached")), 1);
        assert_eq!(cache.try_get_with_ref(&key, || Err(())), Ok(1));
        assert_eq!(cache.load_ref(&key, || Err(())), Ok(1));
    }
    assert_eq!(MADE.load(Ordering::Relaxed), 1);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.loads), (9, 1, 1));

    let large: Cache<String, [u64; 1000]> = Cache::new();
    assert_eq!(large.get_with_ref("key", || [7; 1000])[999], 7);
    assert_eq!(large.get_with_ref("key", || unreachable!("it is cached"))[0], 7);
}

#[test]
fn a_borrowed_key_loads_as_an_owned_one() {
    let clock = ManualClock::new();
    let minute = Duration::from_secs(60);
    let builder = Cache::<String, u64>::builder().refresh_after(minute);
    let cache = builder.manual_clock(&clock).build();
    let failed = catch_unwind(AssertUnwindSafe(|| cache.get_with_ref("key", || panic!("rude"))));
    assert!(failed.is_err() && cache.is_empty());
    assert_eq!(cache.load_ref("key", || Err("down")), Err(LoadError::Failed("down")));
    assert_eq!(cache.try_get_with_ref("key", || Ok::<_, ()>(1)), Ok(1));
    clock.advance(minute);
    assert_eq!(cache.load_ref("key", || Err("down")), Ok(1), "the old value stays");
    assert_eq!(cache.get_with_ref("key", || 2), 2, "it was due");
    assert_eq!(cache.get("key"), Some(2));
}
