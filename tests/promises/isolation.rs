//! Promise: all operations together are strictly serializable, in the order of their versions.

#[cfg(coeval_internals)]
mod steps;

use crate::common::random::{Random, run_seed};
use crate::common::{disturb, on_every_reclaimer, stress};
use crate::history::check::check;
use crate::history::record::{Large, Payload, Plan, related, run};
use coeval::reclaim::Reclaim;

/// Records and checks `rounds` histories, each on a fresh cache.
fn rounds<V: Payload, R: Reclaim>(rounds: u64, plan: impl Fn(&mut Random) -> Plan) {
    disturb();
    let mut seeds = Random::new(run_seed());
    for round in 0..rounds {
        let seed = seeds.next();
        let plan = plan(&mut Random::new(seed));
        let mut builder = coeval::Cache::builder().reclaimer::<R>();
        if plan.relations {
            builder = builder.related(|key, found| {
                if let Some(key) = related(*key) {
                    found.invalidate(key);
                }
            });
        }
        let cache = builder.build();
        let history = run::<V, R>(&cache, plan, seed);
        if let Err(why) = check(&history) {
            panic!("not strictly serializable (round {round}, {plan:?}, seed {seed}): {why}");
        }
    }
}

fn a_plan(random: &mut Random) -> Plan {
    Plan {
        threads: 2 + random.below(7) as usize,
        ops: 50 << random.below(6),
        keys: 1 + random.below(8) as u32,
        relations: false,
        growth: false,
    }
}

fn many_short_histories<R: Reclaim>() {
    rounds::<u64, R>(stress(60, 1_500, 50_000), a_plan);
}

fn values_that_own_memory<R: Reclaim>() {
    rounds::<Large, R>(stress(25, 500, 20_000), a_plan);
}

fn many_keys_and_threads<R: Reclaim>() {
    rounds::<u64, R>(stress(4, 80, 2_000), |random| Plan {
        threads: 8 + random.below(25) as usize,
        ops: 500,
        keys: 64,
        relations: false,
        growth: false,
    });
}

fn while_the_table_grows<R: Reclaim>() {
    rounds::<u64, R>(stress(4, 80, 2_000), |random| Plan {
        threads: 2 + random.below(7) as usize,
        ops: 1_000,
        keys: 16,
        relations: false,
        growth: true,
    });
}

fn with_relations<R: Reclaim>() {
    rounds::<u64, R>(stress(25, 500, 20_000), |random| Plan { relations: true, ..a_plan(random) });
}

on_every_reclaimer!(
    many_short_histories,
    values_that_own_memory,
    many_keys_and_threads,
    while_the_table_grows,
    with_relations,
);
