use super::*;

#[test]
fn an_eviction_is_remembered_with_its_time_and_queue() {
    let history = History::new(1000);
    for hash in 0..100 {
        let queue = if hash % 2 == 0 { QueueKind::Small } else { QueueKind::Main };
        history.remember(hash, history.advance_by(1), queue, || 1000);
    }
    let now = history.now();
    for hash in 0..100 {
        let ghost = history.take(hash, now).unwrap();
        assert_eq!(ghost.queue, if hash % 2 == 0 { QueueKind::Small } else { QueueKind::Main });
        assert_eq!(ghost.tick, history.tick(u64::from(hash) + 1));
        assert_eq!(history.take(hash, now), None, "an eviction is taken twice");
    }
}

#[test]
fn older_evictions_are_remembered_more_sparsely() {
    let size = 6000;
    let history = History::new(size);
    let evictions = size as u32 * 20;
    for hash in 0..evictions {
        history.remember(hash, history.advance_by(1), QueueKind::Small, || size);
    }
    let known = |from: f64, to: f64| {
        let at = |ago: f64| evictions - (ago * size as f64) as u32;
        let hashes = at(to)..at(from);
        let all = hashes.len() as f64;
        let now = history.now();
        // This looks without taking evictions out.
        let table = history.table().unwrap();
        let remembered = hashes.filter(|hash| {
            let (bucket, fingerprint) = table.locate(*hash);
            let words = bucket.iter().map(|word| word.load(Ordering::Relaxed));
            let mut slots =
                words.flat_map(|word| (0..3).map(move |at| word >> (at * SLOT_BITS) & SLOT));
            slots.any(|slot| {
                let is_same = slot >> (TIME_BITS + 1) == fingerprint;
                is_same && FingerprintTable::staleness(slot, history.tick(now)) <= table.limit()
            })
        });
        remembered.count() as f64 / all
    };
    let shares = [(0.0, 0.2), (0.8, 1.0), (2.0, 3.0), (6.0, 8.0)].map(|(from, to)| known(from, to));
    assert!(shares[0] > 0.9 && shares.is_sorted_by(|newer, older| newer > older), "{shares:?}");
    assert!(shares[3] > 0.02 && known(17.0, 20.0) < 0.01, "{shares:?}");
}

#[test]
fn the_table_is_made_when_needed_and_grows_with_the_entries() {
    let history = History::new(0);
    assert_eq!((history.bytes(), history.entries()), (0, 1));
    history.remember(1, history.advance_by(1), QueueKind::Main, || 600);
    let small = history.bytes();
    assert_eq!((small, history.entries()), (200 * 16, 600));
    history.remember(2, history.advance_by(1), QueueKind::Main, || 900);
    assert_eq!(history.bytes(), small);
    history.remember(3, history.advance_by(1), QueueKind::Main, || 901);
    assert_eq!(history.entries(), 901);
    assert!(history.take(3, history.now()).is_some());
}

/// An eviction that was under way when the bound grew meets a plan for more entries than there are.
#[test]
fn a_vast_plan_makes_no_vast_table() {
    let history = History::new(1000);
    history.plan(u64::MAX);
    history.remember(1, history.advance_by(1), QueueKind::Main, || 1000);
    assert_eq!(history.entries(), 2000);
    history.remember(2, history.advance_by(1), QueueKind::Main, || 1000);
    history.plan(1 << 40);
    history.remember(3, history.advance_by(1), QueueKind::Main, || 1500);
    assert_eq!(history.entries(), 2000, "the table is large enough");
    assert!(history.take(1, history.now()).is_some() && history.bytes() < 100_000);
}
