//! The total of an order, derived from its lines and the prices: `cargo run --example derive`.
//!
//! The program never lists the dependencies of a total. They are the entries that were read to
//! derive it. A change of a price ends the totals of the orders that include it, in the same step,
//! and no others. If a rounded price comes out the same, the change goes no further.

use coeval::{Cache, Scope};
use std::cell::Cell;

#[derive(Clone, Debug, PartialEq)]
enum Entry {
    /// The lines of an order: articles and their quantities.
    Order(Vec<(&'static str, u64)>),
    /// A price, in cents.
    Price(u64),
    /// A rounded price, in whole units.
    Rounded(u64),
    Total(u64),
}

type Shop = Cache<String, Entry>;

/// Derives the price of an article in whole units.
fn round(scope: &mut Scope<String, Entry>, article: &str) -> Entry {
    match scope.get(&format!("price:{article}")) {
        Some(Entry::Price(cents)) => Entry::Rounded(cents.div_ceil(100)),
        _ => Entry::Rounded(0),
    }
}

fn rounded(scope: &mut Scope<String, Entry>, article: &str) -> u64 {
    let made = scope.derive(format!("rounded:{article}"), |scope| round(scope, article));
    if let Entry::Rounded(units) = made { units } else { 0 }
}

/// The total of an order. Counts how often it is computed.
fn total(shop: &Shop, order: &str, computed: &Cell<u64>) -> u64 {
    let made = shop.derive(format!("total:{order}"), |scope| {
        computed.set(computed.get() + 1);
        let Some(Entry::Order(lines)) = scope.get(&format!("order:{order}")) else {
            return Entry::Total(0);
        };
        let price = |(article, number): &(&str, u64)| rounded(scope, article) * number;
        Entry::Total(lines.iter().map(price).sum())
    });
    if let Entry::Total(total) = made { total } else { 0 }
}

fn main() {
    let shop: Shop = Cache::new();
    let computed = Cell::new(0);
    shop.insert("price:tea".into(), Entry::Price(420));
    shop.insert("price:cup".into(), Entry::Price(999));
    shop.insert("order:1".into(), Entry::Order(vec![("tea", 2), ("cup", 1)]));
    shop.insert("order:2".into(), Entry::Order(vec![("cup", 4)]));
    let totals = || (total(&shop, "1", &computed), total(&shop, "2", &computed));

    println!("totals {:?}, computed {} times", totals(), computed.get());
    println!("totals {:?}, computed {} times", totals(), computed.get());
    assert_eq!((totals(), computed.get()), ((20, 40), 2));

    shop.insert("price:tea".into(), Entry::Price(520));
    let [first, second] = shop.get_many(["total:1", "total:2"]);
    println!("tea has another price: {first:?}, {second:?}");
    assert_eq!((first, second), (None, Some(Entry::Total(40))));
    println!("totals {:?}, computed {} times", totals(), computed.get());
    assert_eq!((totals(), computed.get()), ((22, 40), 3));

    shop.insert("price:cup".into(), Entry::Price(950));
    assert_eq!(shop.get_many(["total:1", "total:2"]), [None, None]);
    shop.derive("rounded:cup".into(), |scope| round(scope, "cup"));
    println!("a cup still costs 10: totals {:?}, computed {} times", totals(), computed.get());
    assert_eq!((totals(), computed.get()), ((22, 40), 3));
}
