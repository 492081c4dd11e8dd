//! Promise: whatever the order in which threads take their steps, the cache is whole at rest, its
//! bound is kept, and nothing is lost or dropped twice.
//!
//! A failure names the seed of its order. `COEVAL_ORDER` runs that order alone, which usually brings
//! the failure back: an order is the same each time, except where a thread waited for another one.
//! Needs `RUSTFLAGS="--cfg coeval_internals"`.
#![cfg(coeval_internals)]

mod common;
#[path = "stall/domain.rs"]
mod domain;
#[path = "stall/full.rs"]
mod full;
#[path = "stall/operations.rs"]
mod operations;
#[path = "turns/tight.rs"]
mod tight;

use coeval::reclaim::Reclaim;
use common::counted::Ledger;
use common::random::{Random, run_seed};
use common::turns::in_turns;
use common::{alone, on_every_reclaimer, stress};
use operations::{KINDS, assert_whole, cases, filled};

/// The seeds of so many orders, or of the one that is asked for.
fn orders(count: u64) -> impl Iterator<Item = u64> {
    let asked = std::env::var("COEVAL_ORDER").ok();
    let asked = asked.map(|seed| seed.parse().expect("COEVAL_ORDER is a number"));
    let mut seeds = Random::new(run_seed());
    let count = if asked.is_some() { 1 } else { count };
    (0..count).map(move |_| asked.unwrap_or_else(|| seeds.next()))
}

/// Two or three operations of a stalled thread's list, in the order of their steps that this seed
/// makes.
fn one_order<R: Reclaim>(seed: u64) {
    let mut random = Random::new(seed);
    let kind = KINDS[random.below(2) as usize];
    let all = cases::<R>(kind);
    let chosen: Vec<_> = (0..2 + random.below(2))
        .map(|_| all[random.below(all.len() as u64) as usize])
        .filter(|(name, _)| *name != "records come and go") // It takes long.
        .collect();
    let names: Vec<_> = chosen.iter().map(|(name, _)| *name).collect();
    println!("seed {seed}: {kind:?}, {names:?}");
    let ledger = Ledger::new();
    let cache = filled::<R>(kind, &ledger);
    if !chosen.is_empty() {
        in_turns(random, chosen.len(), |own| chosen[own].1(&cache, &ledger));
    }
    if kind == operations::Kind::Full {
        assert!(cache.weighted_size() <= full::CAPACITY, "above the bound at rest");
    }
    assert_whole(&cache, &ledger);
    drop(cache);
    ledger.assert_settled();
}

fn operations_in_turns<R: Reclaim>() {
    let _alone = alone();
    orders(stress(400, 10_000, 1_000_000)).for_each(one_order::<R>);
}

on_every_reclaimer!(operations_in_turns);
