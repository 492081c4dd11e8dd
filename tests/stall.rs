//! Promise: a thread that stops for ever, at any step of any operation, prevents no other thread
//! from finishing any operation on any key.
//!
//! Each operation runs once, to find the steps that it visits. Then it is stopped at each of them,
//! alone and together with others, while other threads run all operations on the same keys. Needs
//! `RUSTFLAGS="--cfg coeval_internals"`.
#![cfg(coeval_internals)]

mod common;
#[path = "stall/domain.rs"]
mod domain;
#[path = "stall/full.rs"]
mod full;
#[path = "stall/ice.rs"]
mod ice;
#[path = "stall/operations.rs"]
mod operations;

use coeval::reclaim::Reclaim;
use common::counted::Ledger;
use common::random::{Random, run_seed};
use common::{on_every_reclaimer, stress};
use ice::{Ice, Stop};
use operations::{Case, KINDS, Kind, assert_whole, cases, filled, work};
use std::collections::{BTreeMap, BTreeSet};

/// The steps that an operation visits when it runs alone.
fn steps_of<R: Reclaim>(kind: Kind, (_, case): Case<R>) -> Vec<&'static str> {
    let ledger = Ledger::new();
    let cache = filled::<R>(kind, &ledger);
    let steps = Ice::at(None).run(|| case(&cache, &ledger));
    drop(cache);
    ledger.assert_settled();
    steps
}

/// Stops each of `victims` at its visit, one after another, lets other threads work, and releases
/// the victims in the order of `thaw`. Returns the steps at which they stopped.
fn stop<R: Reclaim>(kind: Kind, victims: &[(Case<R>, Stop)], thaw: &[usize]) -> Vec<&'static str> {
    let ledger = Ledger::new();
    let cache = filled::<R>(kind, &ledger);
    let ices: Vec<_> = victims.iter().map(|(_, stop)| Ice::at(Some(*stop))).collect();
    let mut stopped = Vec::new();
    std::thread::scope(|scope| {
        let (cache, ledger) = (&cache, &ledger);
        for (ice, &((name, case), stop)) in ices.iter().zip(victims) {
            scope.spawn(move || ice.run(|| case(cache, ledger)));
            let what = || format!("{name}, to stop at {stop:?}, beside {stopped:?}");
            let step = ice.wait_stopped(&what);
            stopped.extend(step.map(|step| (name, step)));
        }
        let workers = [Ice::at(None), Ice::at(None)];
        for (who, worker) in workers.iter().cloned().enumerate() {
            scope.spawn(move || worker.run(|| work(cache, who as u64, ledger)));
        }
        for worker in &workers {
            worker.wait_finished(&|| format!("other threads beside {stopped:?}"));
        }
        for &which in thaw {
            let name = victims[which].0.0;
            ices[which].release(&|| format!("{name}, released, of {stopped:?}"));
        }
    });
    assert_whole(&cache, &ledger);
    drop(cache);
    ledger.assert_settled();
    stopped.into_iter().map(|(_, step)| step).collect()
}

/// The first, a middle and the last visit of each step.
fn stops(steps: &[&'static str]) -> Vec<Stop> {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for step in steps {
        *counts.entry(step).or_default() += 1;
    }
    let visits = |n: usize| BTreeSet::from([0, n / 2, n - 1]);
    counts
        .iter()
        .flat_map(|(step, n)| visits(*n).into_iter().map(|at| Stop::Step(step, at)))
        .collect()
}

fn each_step_of_each_operation<R: Reclaim>() {
    ice::install();
    for (kind, case) in
        KINDS.into_iter().flat_map(|k| cases::<R>(k).into_iter().map(move |c| (k, c)))
    {
        let steps = steps_of(kind, case);
        let stops = stops(&steps);
        let missed = stops.iter().filter(|at| stop(kind, &[(case, **at)], &[0]).is_empty()).count();
        println!("{}: {} visits of {:?}", case.0, steps.len(), BTreeSet::from_iter(&steps));
        // A step of the upkeep may be due a little more or less often the next time.
        assert!(missed * 4 <= stops.len(), "{}: {missed} visits were missed", case.0);
    }
}

/// Two or three operations stop at once. The later ones may stop while they help the earlier ones.
fn several_at_once<R: Reclaim>() {
    ice::install();
    let kinds = KINDS.map(|kind| {
        let cases = cases::<R>(kind);
        let steps: Vec<_> = cases.iter().map(|case| steps_of(kind, *case)).collect();
        (kind, cases, steps)
    });
    let mut seeds = Random::new(run_seed());
    for _ in 0..stress(150, 3_000, 100_000) {
        let seed = seeds.next();
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let (kind, cases, steps) = &kinds[random.below(2) as usize];
        let mut victims = Vec::new();
        for _ in 0..2 + random.below(2) {
            let which = random.below(cases.len() as u64) as usize;
            // Helping visits more steps than the operation alone.
            let visit = match random.one_in(2) {
                true => random.below(steps[which].len() as u64 + 12) as usize,
                false => random.below(20.min(steps[which].len() as u64 + 12)) as usize,
            };
            victims.push((cases[which], Stop::Visit(visit)));
        }
        let mut thaw: Vec<_> = (0..victims.len()).collect();
        thaw.rotate_left(random.below(victims.len() as u64) as usize);
        stop(*kind, &victims, &thaw);
    }
}

on_every_reclaimer!(each_step_of_each_operation, several_at_once);

/// Some operation of this test visits every step that the sources name, alone or beside another
/// stopped operation.
#[test]
fn all_named_steps_are_visited() {
    ice::install();
    type Default = coeval::reclaim::Asymmetric;
    let mut visited = BTreeSet::new();
    for kind in KINDS {
        for case in cases::<Default>(kind) {
            let steps = steps_of(kind, case);
            // A visit somewhere in the middle: which steps another operation meets depends on how
            // far the first one has come. And where all caches of a domain have their versions.
            let installed = Stop::Step("joint.before_ready", 0);
            let is_joint = steps.contains(&"joint.before_ready");
            let middle = [6, 8, 10, 12, 14].map(Stop::Visit);
            for stop in middle.into_iter().chain(is_joint.then_some(installed)) {
                let ledger = Ledger::new();
                let cache = filled::<Default>(kind, &ledger);
                let first = Ice::at(Some(stop));
                visited.extend(std::thread::scope(|scope| {
                    scope.spawn(|| first.run(|| case.1(&cache, &ledger)));
                    first.wait_stopped(&|| "the first".into());
                    let other = Ice::at(None).run(|| work(&cache, 0, &ledger));
                    first.release(&|| "the first".into());
                    other
                }));
            }
            visited.extend(steps);
        }
    }
    let named = named_steps(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
    assert!(!named.is_empty());
    let forgotten: Vec<_> = named.iter().filter(|step| !visited.contains(step.as_str())).collect();
    assert!(forgotten.is_empty(), "no operation here visits {forgotten:?}");
}

/// The names in all calls of `step` below a folder. Some steps in `loading` are those of callers
/// that wait for a load, and steps of a restore are met by restores only; their own tests and models
/// cover them.
fn named_steps(folder: &std::path::Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("the sources exist") {
        let path = entry.expect("readable").path();
        if path.ends_with("loading") {
            continue;
        } else if path.is_dir() {
            names.append(&mut named_steps(&path));
        } else if !path.ends_with("tests.rs") {
            let text = std::fs::read_to_string(&path).expect("readable");
            let calls = text.split("step(\"").skip(1);
            let steps = calls.filter_map(|call| call.split('"').next());
            names.extend(steps.filter(|step| !step.starts_with("restore.")).map(String::from));
        }
    }
    names
}
