//! A `max_capacity` near `u64::MAX` once overflowed in the computation of the size of the policy's
//! queues.

#[test]
fn any_capacity_is_accepted() {
    for capacity in [u64::MAX, u64::MAX - 1, u64::MAX / 2, 1 << 60] {
        let count = coeval::Cache::builder().max_capacity(capacity).build();
        let weigh = coeval::Cache::builder().max_capacity(capacity).weigher(|_, _| 3).build();
        for cache in [count, weigh] {
            for round in 0..3 {
                (0..2_000).for_each(|key| assert!(cache.insert(key, round).get() > 0));
                (0..2_000).step_by(3).for_each(|key| assert_eq!(cache.remove(&key), Some(round)));
            }
            assert_eq!(cache.get(&1), Some(2));
            assert_eq!(cache.len(), 1_333);
        }
    }
}
