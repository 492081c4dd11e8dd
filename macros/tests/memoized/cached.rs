//! Functions with `#[cached]`.

use super::Count;
use coeval::{Cache, ManualClock, cached};
use std::num::ParseIntError;
use std::sync::LazyLock;
use std::time::Duration;

#[test]
fn a_function_runs_once_for_each_key() {
    static RUNS: Count = Count::new();
    #[cached]
    fn sum(first: u64, second: u64) -> u64 {
        RUNS.up();
        first + second
    }
    assert_eq!((sum(1, 2), sum(1, 2), sum(2, 1)), (3, 3, 3));
    assert_eq!(RUNS.get(), 2);
    assert_eq!(SUM.get(&(1, 2)), Some(3));
    assert_eq!(SUM.name(), Some("SUM"));
}

#[test]
fn arguments_of_every_kind_make_keys() {
    #[cached]
    fn nothing() -> u32 {
        7
    }
    #[cached]
    fn owned(mut text: String) -> String {
        text.push('!');
        text
    }
    #[cached]
    fn borrowed<'a>(text: &'a str, numbers: &'a [u32]) -> usize {
        text.len() + numbers.len()
    }
    #[cached]
    fn in_parts((left, right): (u32, u32), [first, ..]: [u32; 2]) -> u32 {
        left + right + first
    }
    #[cached]
    fn r#match(r#type: u32) -> u32 {
        r#type + 1
    }
    assert_eq!((nothing(), NOTHING.len()), (7, 1));
    assert_eq!((owned("a".into()), OWNED.get("a")), ("a!".into(), Some("a!".into())));
    assert_eq!(borrowed("ab", &[1]), 3);
    assert_eq!(BORROWED.get(&("ab".to_string(), vec![1])), Some(3));
    assert_eq!((in_parts((1, 2), [3, 4]), IN_PARTS.get(&((1, 2), [3, 4]))), (6, Some(6)));
    assert_eq!((r#match(1), MATCH.get(&1)), (2, Some(2)));
}

/// Outside of any function, as a name that the expansion might take for its own.
fn compute(number: u64) -> u64 {
    number + 1
}

#[test]
fn no_name_of_the_function_collides_with_the_expansion() {
    #[cached]
    fn calls_compute(number: u64) -> u64 {
        compute(number)
    }
    #[cached(tags = ["all"])]
    fn tagged(terms: u64, value: u64, error: u64) -> u64 {
        terms + value + error
    }
    #[cached]
    fn argument(compute: u64) -> u64 {
        compute
    }
    #[cached]
    fn itself(cached: u64) -> u64 {
        #![allow(unused_variables)]
        let unused = 1;
        if cached == 0 { 0 } else { itself(cached - 1) + 1 }
    }
    assert_eq!((calls_compute(1), tagged(1, 2, 3), argument(4), itself(5)), (2, 6, 4, 5));
}

#[test]
fn keys_can_be_named() {
    struct User {
        id: u64,
        name: String,
    }
    #[cached(key = "user.id", key_type = "u64", name = "BY_ID")]
    fn greeting(user: &User) -> String {
        format!("hello {}", user.name)
    }
    #[cached(key = (user, page))]
    fn page(user: u64, page: u32, _trace: &mut u32) -> String {
        format!("{user}/{page}")
    }
    #[cached(key = format!("{first}/{second}"))]
    fn path(first: &str, second: &str) -> usize {
        first.len() + second.len()
    }
    let ada = User { id: 7, name: "Ada".into() };
    let renamed = User { id: 7, name: "Bob".into() };
    assert_eq!((greeting(&ada), greeting(&renamed)), ("hello Ada".into(), "hello Ada".into()));
    assert_eq!(BY_ID.get(&7).as_deref(), Some("hello Ada"));
    assert_eq!((page(1, 2, &mut 0), PAGE.contains_key(&(1, 2))), ("1/2".into(), true));
    assert_eq!((path("a", "b"), PATH.get("a/b")), (2, Some(2)));
}

#[test]
fn only_ok_is_cached() {
    static RUNS: Count = Count::new();
    #[cached]
    fn parsed(text: &str) -> Result<u32, ParseIntError> {
        RUNS.up();
        let number: u32 = text.parse()?;
        if number > 100 {
            return Ok(100);
        }
        Ok(number)
    }
    assert_eq!((parsed("7"), parsed("7")), (Ok(7), Ok(7)));
    assert_eq!((parsed("700"), RUNS.get()), (Ok(100), 2));
    assert!(parsed("seven").is_err() && parsed("seven").is_err());
    assert_eq!((RUNS.get(), PARSED.len()), (4, 2));
}

#[test]
fn tags_end_values() {
    #[cached(tags = ["users", "user:{id}", id], ttl = "1h", idle = 60)]
    fn name(id: u64) -> String {
        format!("user {id}")
    }
    #[cached(tags = ["users"])]
    fn checked(id: u64) -> Result<u64, String> {
        if id > 10 { Err(format!("{id} is too large")) } else { Ok(id) }
    }
    (name(7), name(8), name(9)).0.clear();
    assert_eq!((checked(7), checked(11)), (Ok(7), Err("11 is too large".into())));
    assert_eq!((NAME.len(), CHECKED.len()), (3, 1));
    NAME.invalidate_tag("user:7");
    NAME.invalidate_tag(8);
    CHECKED.invalidate_tag("users");
    assert_eq!(NAME.get_many([&7, &8, &9]), [None, None, Some("user 9".into())]);
    assert_eq!(CHECKED.get(&7), None);
    assert_eq!((name(7), checked(7)), ("user 7".into(), Ok(7)));
}

static CLOCK: LazyLock<ManualClock> = LazyLock::new(ManualClock::new);

#[test]
fn settings_are_those_of_a_cache() {
    #[cached(
        max_capacity = 2,
        ttl = Duration::from_secs(20),
        idle = "500ms",
        refresh_after = "10s",
        builder = Cache::builder().manual_clock(&CLOCK).weigher(|_, _| 2),
    )]
    fn double(number: u64) -> u64 {
        2 * number
    }
    assert_eq!((double(1), double(2)), (2, 4));
    let policy = DOUBLE.policy();
    assert_eq!((policy.max_capacity(), DOUBLE.len()), (Some(2), 1));
    assert_eq!(policy.time_to_live(), Some(Duration::from_secs(20)));
    assert_eq!(policy.time_to_idle(), Some(Duration::from_millis(500)));
    CLOCK.advance(Duration::from_secs(1));
    assert_eq!((DOUBLE.get(&1), DOUBLE.get(&2)), (None, None));
}

#[test]
fn functions_can_share_a_cache() {
    static CLOCK: LazyLock<ManualClock> = LazyLock::new(ManualClock::new);
    static BOTH: LazyLock<Cache<(&str, u64), u64>> =
        LazyLock::new(|| Cache::builder().manual_clock(&CLOCK).build());
    #[cached(cache = BOTH, key = ("double", number), ttl = 10)]
    fn double(number: u64) -> u64 {
        2 * number
    }
    #[cached(cache = BOTH, key = ("half", number))]
    fn half(number: u64) -> Result<u64, &'static str> {
        if number.is_multiple_of(2) { Ok(number / 2) } else { Err("odd") }
    }
    assert_eq!((double(4), half(4), half(5)), (8, Ok(2), Err("odd")));
    CLOCK.advance(Duration::from_secs(10));
    assert_eq!(BOTH.get_many([&("double", 4), &("half", 4)]), [None, Some(2)]);
}

#[test]
fn a_function_may_call_itself() {
    static RUNS: Count = Count::new();
    #[cached]
    fn fibonacci(n: u64) -> u64 {
        RUNS.up();
        if n < 2 { n } else { fibonacci(n - 1) + fibonacci(n - 2) }
    }
    assert_eq!((fibonacci(40), RUNS.get()), (102_334_155, 41));
}

#[test]
fn a_function_that_needs_itself_panics() {
    #[cached]
    fn plain(n: u64) -> u64 {
        plain(n)
    }
    #[cached]
    fn failing(n: u64) -> Result<u64, String> {
        failing(n)
    }
    #[cached(tags = ["all"])]
    fn tagged(n: u64) -> u64 {
        tagged(n)
    }
    for run in [|| plain(1), || failing(1).unwrap_or(0), || tagged(1)] {
        assert!(std::panic::catch_unwind(run).is_err());
    }
}

#[test]
fn callers_of_one_key_share_one_run() {
    static RUNS: Count = Count::new();
    #[cached]
    fn slow(id: u64) -> u64 {
        RUNS.up();
        std::thread::sleep(Duration::from_millis(50));
        id
    }
    std::thread::scope(|scope| {
        (0..4).for_each(|_| _ = scope.spawn(|| assert_eq!(slow(7), 7)));
    });
    assert_eq!(RUNS.get(), 1);
}

mod elsewhere {
    /// A function that others see, and so is its cache.
    #[coeval::cached]
    pub fn shared(id: u64) -> u64 {
        id
    }
}

#[test]
fn the_cache_is_as_visible_as_the_function() {
    elsewhere::shared(1);
    assert_eq!(elsewhere::SHARED.get(&1), Some(1));
}
