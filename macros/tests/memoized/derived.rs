//! Functions with `#[derived]`.

use super::Count;
use coeval::{Cache, Scope, derived};
use std::sync::LazyLock;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Rate(u64),
    Forward(u64),
    Price(u64),
    Report,
}

static FORWARDS: Count = Count::new();
static PRICES: Count = Count::new();

#[derived(key = Key::Forward(number))]
fn forward(scope: &mut Scope<Key, u64>, number: u64) -> u64 {
    FORWARDS.up();
    scope.get(&Key::Rate(number)).unwrap_or(0) / 100
}

#[derived(key = Key::Price(number))]
fn price(scope: &mut Scope<'_, Key, u64>, number: u64) -> u64 {
    PRICES.up();
    forward(scope, number % 2) * number
}

/// Passes its scope on several times: in calls, in a closure, in a macro, in a method's argument.
#[derived(key = Key::Report)]
fn report(scope: &mut Scope<Key, u64>) -> u64 {
    let prices = [price(scope, 1), price(scope, 2)];
    let more: u64 = (3..5).map(|number| price(scope, number)).sum();
    let last = format!("{} {}", price(scope, 5), price(scope, 6));
    let last = last.split(' ').map(|price| price.parse::<u64>().unwrap());
    prices.iter().sum::<u64>().wrapping_add(price(scope, 7)) + more + last.sum::<u64>()
}

#[test]
fn what_a_function_reads_is_an_input() {
    let book: Cache<Key, u64> = Cache::new();
    book.batch().insert(Key::Rate(0), 1000).insert(Key::Rate(1), 500).commit();
    let odd = 1 + 3 + 5 + 7;
    let even = 2 + 4 + 6;
    assert_eq!(report(&book), 5 * odd + 10 * even);
    assert_eq!((FORWARDS.get(), PRICES.get()), (2, 7));
    assert_eq!(book.get(&Key::Price(3)), Some(15));

    book.insert(Key::Rate(1), 700);
    let keys = [&Key::Report, &Key::Price(3), &Key::Price(2), &Key::Forward(1)];
    assert_eq!(book.get_many(keys), [None, None, Some(20), None]);
    assert_eq!(report(&book), 7 * odd + 10 * even);
    assert_eq!((FORWARDS.get(), PRICES.get()), (3, 11));

    // A forward that comes out as before ends no price.
    book.insert(Key::Rate(1), 710);
    assert_eq!((forward(&book, 1), price(&book, 3), book.get(&Key::Price(1))), (7, 21, Some(7)));
    assert_eq!((FORWARDS.get(), PRICES.get()), (4, 11));
}

#[test]
fn the_arguments_are_the_key_if_none_is_named() {
    #[derived]
    fn twice(scope: &mut Scope<(String, u8), u64>, name: &str, _level: u8) -> u64 {
        2 * scope.get(&(name.to_string(), 0)).unwrap_or(0)
    }
    static CACHE: LazyLock<Cache<(String, u8), u64>> = LazyLock::new(Cache::new);
    CACHE.insert(("a".to_string(), 0), 4);
    assert_eq!(twice(&CACHE, "a", 1), 8);
    assert_eq!(CACHE.get(&("a".to_string(), 1)), Some(8));
}

#[test]
fn a_result_is_a_value_that_ends_with_its_inputs() {
    type Found = Result<u64, String>;
    #[derived(key = ("sum"))]
    fn sum(scope: &mut Scope<&'static str, Found>) -> Found {
        let mut part = |key| scope.get(&key).unwrap_or_else(|| Err(format!("no {key}")));
        Ok(part("a")? + part("b")?)
    }
    let cache: Cache<&'static str, Found> = Cache::new();
    cache.insert("a", Ok(1));
    assert_eq!(sum(&cache), Err("no b".into()));
    assert_eq!(cache.get("sum"), Some(Err("no b".into())));
    cache.insert("b", Ok(2));
    assert_eq!((cache.get("sum"), sum(&cache)), (None, Ok(3)));
}

fn compute(number: u64) -> u64 {
    number + 1
}

#[test]
fn a_derived_function_keeps_the_names_that_it_uses() {
    #[derived(key = Key::Price(number))]
    fn next(scope: &mut Scope<Key, u64>, number: u64) -> u64 {
        #![allow(unused_variables)]
        let unused = 1;
        compute(number)
    }
    #[derived(key = Key::Forward(number))]
    fn shadowed(scope: &mut Scope<Key, u64>, number: u64) -> u64 {
        let first = next(scope, number);
        let scope = next(scope, number + 1);
        first + compute(scope)
    }
    let book: Cache<Key, u64> = Cache::new();
    assert_eq!((next(&book, 1), shadowed(&book, 2)), (2, 3 + 5));
}
