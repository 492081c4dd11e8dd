//! What dashmap's documentation promises of `dashmap::DashMap`.

use coeval_dropin::dashmap::DashMap;

#[test]
fn it_is_a_concurrent_map() {
    let map = DashMap::new();
    assert_eq!(map.insert("a", 1), None);
    assert_eq!((map.insert("a", 2), map.get("a"), map.len()), (Some(1), Some(2), 1));
    assert_eq!(map.view("a", |value| value * 10), Some(20));
    assert_eq!((map.remove(&"a"), map.remove(&"a"), map.is_empty()), (Some(("a", 2)), None, true));
    map.insert("b", 3);
    assert_eq!(map.remove_if(&"b", |value| *value > 3), None);
    assert_eq!(map.remove_if(&"b", |value| *value == 3), Some(3));
    map.insert("c", 4);
    map.insert("d", 5);
    map.retain(|_, value| *value > 4);
    assert_eq!(map.iter().collect::<Vec<_>>(), [("d", 5)]);
    map.clear();
    assert!(!map.contains_key("d") && DashMap::<u8, u8>::default().is_empty());
}

#[test]
fn alterations_of_one_key_are_atomic() {
    let map = DashMap::new();
    map.insert("count", 0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| map.alter(&"count", |_, n| n + 1)));
        }
    });
    assert_eq!(map.get("count"), Some(2_000));
    assert_eq!(map.entry("count").and_modify(|n| *n += 1).or_insert(7), 2_001);
    assert_eq!(map.entry("new").and_modify(|n| *n += 1).or_insert(7), 7);
    assert_eq!((map.entry("made").or_insert_with(|| 8), map.entry("zero").or_default()), (8, 0));
    assert_eq!(map.entry("new").insert(9).into_value(), 9);
}
