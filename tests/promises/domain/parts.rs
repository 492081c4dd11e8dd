//! Each way to plan a write in a batch or a transaction of several caches.

use super::*;

#[test]
fn all_writes_of_a_batch() {
    let related = |key: &u64, related: &mut coeval::Related<u64, u64>| {
        if *key < 100 {
            related.invalidate(key + 100);
        }
    };
    let domain = Domain::new();
    let numbers = Cache::builder().related(related).domain(&domain).build();
    for key in [1, 2, 101, 102] {
        numbers.insert(key, 0);
    }
    numbers.insert(101, 1);
    numbers.insert(102, 2);
    let mut batch = domain.batch();
    batch.of(&numbers).unwrap().invalidate(1);
    batch.remove(&numbers, 2).unwrap().insert(&numbers, 3, 3).unwrap();
    let version = batch.commit();
    assert_eq!(numbers.get_many([1, 2, 3].each_ref()), [None, None, Some(3)]);
    assert_eq!(numbers.get(&101), None, "an invalidation follows relations");
    assert_eq!(numbers.get(&102), Some(2), "a removal does not");
    assert_eq!(version, numbers.version());
}

#[test]
fn all_writes_of_a_transaction() {
    let clock = ManualClock::new();
    let second = Duration::from_secs(1);
    let related = |key: &u64, related: &mut coeval::Related<u64, u64>| {
        if *key < 100 {
            related.invalidate(key + 100);
        }
    };
    let domain = Domain::new();
    let builder = Cache::builder().related(related).manual_clock(&clock);
    let numbers = builder.domain(&domain).build();
    for key in [1, 2, 101, 102] {
        numbers.insert(key, key);
    }
    numbers.insert(101, 1);
    let done = domain.transact(|tx| {
        let mut part = tx.of(&numbers)?;
        part.invalidate(1);
        part.remove(102);
        part.insert_with_ttl(3, 3, second);
        part.insert_tagged(4, 4, &["tag".into()]);
        Ok::<_, ForeignCache>(())
    });
    assert!(done.is_ok());
    assert_eq!(numbers.get_many([1, 101, 102, 2].each_ref()), [None, None, None, Some(2)]);
    assert_eq!(numbers.get_many([3, 4].each_ref()), [Some(3), Some(4)]);
    clock.advance(second);
    assert_eq!(numbers.get_many([3, 4].each_ref()), [None, Some(4)]);
    numbers.invalidate_tag("tag");
    assert_eq!(numbers.get(&4), None);
}

/// What it has read is changed during each attempt: it ends with that, and has changed nothing.
#[test]
fn a_transaction_disturbed_each_time_fails() {
    let Pair { domain, numbers, names } = pair::<coeval::reclaim::Asymmetric>();
    numbers.insert(1, 0);
    let mut attempts = 0;
    let done = domain.transact(|tx| {
        attempts += 1;
        let read = tx.of(&numbers)?.get(&1);
        numbers.insert(1, attempts);
        tx.of(&names)?.insert("1".into(), format!("{read:?}").into());
        Ok::<_, ForeignCache>(())
    });
    assert!(matches!(done, Err(TransactError::Conflict)), "{done:?}");
    assert_eq!((attempts, numbers.get(&1), names.get("1")), (64, Some(64), None));
}
