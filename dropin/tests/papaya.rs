//! What papaya's documentation promises of `papaya::HashMap`.

use coeval_dropin::papaya::HashMap;

#[test]
fn references_last_as_long_as_the_pin() {
    let map = HashMap::new();
    let pinned = map.pin();
    assert_eq!(pinned.insert(1, "one".to_string()), None);
    let one = pinned.get(&1);
    assert_eq!(map.pin().insert(1, "uno".to_string()).as_deref(), Some("one"));
    assert_eq!(map.pin().remove(&1).as_deref(), Some("uno"));
    assert_eq!((one.map(String::as_str), pinned.get(&1)), (Some("one"), None));
    assert!(map.is_empty() && pinned.is_empty() && !pinned.contains_key(&1));
}

#[test]
fn an_entry_is_inserted_once_and_updated_atomically() {
    let map = HashMap::with_capacity(100);
    assert_eq!(map.pin().try_insert("a", 1), Ok(()));
    assert_eq!(map.pin().try_insert("a", 2), Err(1));
    assert_eq!((map.pin().get_or_insert("a", 3), map.pin().get_or_insert_with("b", || 4)), (1, 4));
    assert_eq!(map.pin().update("none", |n| n + 1), None);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| _ = map.pin().update("a", |n| n + 1)));
        }
    });
    assert_eq!(map.pin().get("a"), Some(&2_001));
    map.pin().retain(|key, _| *key == "b");
    assert_eq!(map.pin().iter().collect::<Vec<_>>(), [("b", 4)]);
    map.pin().clear();
    assert_eq!((map.pin().get("b"), HashMap::<u8, u8>::default().len()), (None, 0));
}
