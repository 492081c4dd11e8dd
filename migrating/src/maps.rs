//! The rows about papaya and dashmap.

use crate::rows;
use coeval::Op;
use papaya::Operation;

type Papaya = papaya::HashMap<&'static str, u32>;
type Dashmap = dashmap::DashMap<&'static str, u32>;
type Ours = coeval::Cache<&'static str, u32>;

fn papaya() -> Papaya {
    [("a", 1)].into_iter().collect()
}

fn dashmap() -> Dashmap {
    [("a", 1)].into_iter().collect()
}

fn ours() -> Ours {
    [("a", 1)].into_iter().collect()
}

/// Returns what two maps agree on.
#[track_caller]
fn both<T: PartialEq + std::fmt::Debug>(papaya: T, dashmap: T) -> T {
    assert_eq!(papaya, dashmap, "papaya and dashmap");
    papaya
}

rows! { "papaya and dashmap":
    new: "`HashMap::new()`, `DashMap::new()`" gives 0;
    { both(Papaya::new().len(), Dashmap::new().len()) }
    { Ours::new().len() }

    pin: "`map.pin()`" gives true;
    { papaya().pin().contains_key("a") }
    { ours().pin().get("a").is_some() }

    get: "`map.pin().get(&k)`, `map.get(&k)`" gives Some(1);
    { both(papaya().pin().get("a").copied(), dashmap().get("a").map(|value| *value)) }
    {
        let cache = ours();
        both(cache.pin().get("a").copied(), cache.get("a"))
    }

    insert: "`insert(k, v)`" gives Some(2);
    {
        let (papaya, dashmap) = (papaya(), dashmap());
        papaya.pin().insert("a", 2);
        dashmap.insert("a", 2);
        both(papaya.pin().get("a").copied(), dashmap.get("a").map(|value| *value))
    }
    {
        let cache = ours();
        cache.insert("a", 2);
        cache.get("a")
    }

    insert_for_the_old: "`insert`, for the old value" gives Some(1);
    { both(papaya().pin().insert("a", 2).copied(), dashmap().insert("a", 2)) }
    { ours().get_and_update("a", |_| Some(2)) }

    try_insert: "`try_insert(k, v)`" gives [false, true];
    {
        let map = papaya();
        ["a", "b"].map(|key| map.pin().try_insert(key, 2).is_ok())
    }
    {
        let cache = ours();
        ["a", "b"].map(|key| cache.compare_and_set(key, None, 2).is_ok())
    }

    get_or_insert: "`get_or_insert_with(k, f)`" gives [1, 2];
    {
        let map = papaya();
        ["a", "b"].map(|key| *map.pin().get_or_insert_with(key, || 2))
    }
    {
        let (cache, pinned) = (ours(), ours());
        both(
            ["a", "b"].map(|key| cache.entry(key).or_insert_with(|| 2).into_value()),
            ["a", "b"].map(|key| *pinned.pin().get_with(&key, || 2)),
        )
    }

    update: "`update(k, f)`, `alter(&k, f)`" gives [Some(2), None];
    {
        let (papaya, dashmap) = (papaya(), dashmap());
        both(
            ["a", "b"].map(|key| papaya.pin().update(key, |old| old + 1).copied()),
            ["a", "b"].map(|key| {
                dashmap.alter(key, |_, old| old + 1);
                dashmap.get(key).map(|value| *value)
            }),
        )
    }
    {
        let cache = ours();
        ["a", "b"].map(|key| {
            let _ = cache.entry(key).and_compute_with(|entry| match entry {
                Some(entry) => Op::Put(entry.into_value() + 1),
                None => Op::Nop,
            });
            cache.get(key)
        })
    }

    update_or_insert: "`update_or_insert(k, f, v)`" gives [Some(2), Some(7)];
    {
        let map = papaya();
        ["a", "b"].map(|key| Some(*map.pin().update_or_insert(key, |old| old + 1, 7)))
    }
    {
        let cache = ours();
        ["a", "b"].map(|key| {
            cache.upsert(key, |old| old.map_or(7, |old| old + 1));
            cache.get(key)
        })
    }

    compute: "`compute(k, f)` (papaya)" gives [Some(2), Some(1), None];
    {
        let map = Papaya::new();
        map.pin().insert("one", 1);
        map.pin().insert("nine", 9);
        ["one", "none", "nine"].map(|key| {
            map.pin().compute(key, |found| match found {
                Some((_, 9)) => Operation::Remove,
                Some((_, old)) => Operation::<_, ()>::Insert(old + 1),
                None => Operation::Insert(1),
            });
            map.pin().compute(key, |_| Operation::<u32, ()>::Abort(()));
            map.pin().get(key).copied()
        })
    }
    {
        let cache = Ours::from([("one", 1), ("nine", 9)]);
        ["one", "none", "nine"].map(|key| {
            let _ = cache.entry(key).and_compute_with(|found| match found {
                Some(entry) if *entry.value() == 9 => Op::Remove,
                Some(entry) => Op::Put(entry.into_value() + 1),
                None => Op::Put(1),
            });
            let _ = cache.entry(key).and_compute_with(|_| Op::Nop);
            cache.get(key)
        })
    }

    or_insert: "`entry(k).or_insert(v)` (dashmap)" gives [1, 2];
    {
        let map = dashmap();
        ["a", "b"].map(|key| *map.entry(key).or_insert(2))
    }
    {
        let cache = ours();
        ["a", "b"].map(|key| cache.entry(key).or_insert(2).into_value())
    }

    and_modify: "`entry(k).and_modify(f).or_insert(v)`" gives [Some(2), Some(7)];
    {
        let map = dashmap();
        ["a", "b"].map(|key| Some(*map.entry(key).and_modify(|value| *value += 1).or_insert(7)))
    }
    {
        let cache = ours();
        ["a", "b"].map(|key| {
            cache.upsert(key, |old| old.map_or(7, |old| old + 1));
            cache.get(key)
        })
    }

    get_mut: "`get_mut(&k)`" gives Some(2);
    {
        let map = dashmap();
        if let Some(mut value) = map.get_mut("a") {
            *value += 1;
        }
        map.get("a").map(|value| *value)
    }
    {
        let cache = ours();
        cache.upsert("a", |old| old.map_or(0, |old| old + 1));
        cache.get("a")
    }

    remove: "`remove(&k)`" gives [Some(1), None];
    {
        let (papaya, dashmap) = (papaya(), dashmap());
        both(
            ["a", "a"].map(|key| papaya.pin().remove(key).copied()),
            ["a", "a"].map(|key| dashmap.remove(key).map(|(_, value)| value)),
        )
    }
    {
        let cache = ours();
        ["a", "a"].map(|key| cache.remove(key))
    }

    remove_if: "`remove_if(&k, f)`" gives [false, true];
    {
        let (papaya, dashmap) = (papaya(), dashmap());
        both(
            [2, 1].map(|wanted| {
                let pin = papaya.pin();
                matches!(pin.remove_if("a", |_, value| *value == wanted), Ok(Some(_)))
            }),
            [2, 1].map(|wanted| dashmap.remove_if("a", |_, value| *value == wanted).is_some()),
        )
    }
    {
        let cache = ours();
        [2, 1].map(|wanted| {
            let done = cache.entry("a").and_compute_with(|entry| match entry {
                Some(entry) if *entry.value() == wanted => Op::Remove,
                _ => Op::Nop,
            });
            matches!(done, coeval::CompResult::Removed(_))
        })
    }

    retain: "`retain(f)`" gives [None, Some(2)];
    {
        let (papaya, dashmap) = (papaya(), dashmap());
        papaya.pin().insert("b", 2);
        dashmap.insert("b", 2);
        papaya.pin().retain(|_, value| *value > 1);
        dashmap.retain(|_, value| *value > 1);
        both(
            ["a", "b"].map(|key| papaya.pin().get(key).copied()),
            ["a", "b"].map(|key| dashmap.get(key).map(|value| *value)),
        )
    }
    {
        let cache = ours();
        cache.insert("b", 2);
        cache.retain(|_, value| *value > 1);
        ["a", "b"].map(|key| cache.get(key))
    }

    iter: "`iter()`, `keys()`, `values()`" gives (vec![("a", 1)], vec!["a"], vec![1]);
    {
        let (papaya, dashmap) = (papaya(), dashmap());
        let pin = papaya.pin();
        both(
            (
                pin.iter().map(|(key, value)| (*key, *value)).collect(),
                pin.keys().copied().collect(),
                pin.values().copied().collect(),
            ),
            (
                dashmap.iter().map(|entry| (*entry.key(), *entry.value())).collect(),
                dashmap.iter().map(|entry| *entry.key()).collect(),
                dashmap.iter().map(|entry| *entry.value()).collect(),
            ),
        )
    }
    {
        let cache = ours();
        let view = cache.view();
        both(
            (cache.iter().collect(), cache.keys().collect(), cache.values().collect()),
            (
                view.iter().map(|(key, value)| (*key, *value)).collect(),
                view.keys().copied().collect(),
                view.values().copied().collect(),
            ),
        )
    }

    clear: "`clear()`" gives 0;
    {
        let (papaya, dashmap) = (papaya(), dashmap());
        papaya.pin().clear();
        dashmap.clear();
        both(papaya.len(), dashmap.len())
    }
    {
        let cache = ours();
        cache.invalidate_all();
        cache.len()
    }

    sizes: "`len()`, `is_empty()`, `contains_key(&k)`" gives (1, false, true);
    {
        let (papaya, dashmap) = (papaya(), dashmap());
        both(
            (papaya.len(), papaya.is_empty(), papaya.pin().contains_key("a")),
            (dashmap.len(), dashmap.is_empty(), dashmap.contains_key("a")),
        )
    }
    {
        let cache = ours();
        (cache.len(), cache.is_empty(), cache.contains_key("a"))
    }

    collections: "`FromIterator`, `Extend`" gives 3;
    {
        let (papaya, mut dashmap): (Papaya, Dashmap) =
            ([("a", 1)].into_iter().collect(), [("a", 1)].into_iter().collect());
        (&papaya).extend([("b", 2), ("c", 3)]);
        dashmap.extend([("b", 2), ("c", 3)]);
        both(papaya.len(), dashmap.len())
    }
    {
        let mut cache: Ours = [("a", 1)].into_iter().collect();
        cache.extend([("b", 2), ("c", 3)]);
        cache.len()
    }
}
