//! Good histories at random, none of which may be accused; and bad ones, each of which must be
//! found by its name. `COEVAL_CHECK_HISTORIES` sets how many of each (2,000 by default).

use coeval_check::simulate::{Plan, Planted, Random, plant, plant_text};
use coeval_check::{Anomaly, Checker, Edge, History};

fn histories(default: u64) -> u64 {
    match std::env::var("COEVAL_CHECK_HISTORIES") {
        Ok(number) => number.parse().expect("COEVAL_CHECK_HISTORIES is a number"),
        Err(_) => default,
    }
}

#[track_caller]
fn names(history: &History) -> Vec<String> {
    let report = Checker::new().check(history).expect("it is well-formed");
    report.counts().map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn no_good_history_is_accused() {
    let (mut random, mut micros) = (Random::new(1), 0);
    for seed in 0..histories(2_000) {
        let plan = Plan::random(&mut random);
        let history = plan.history(seed);
        micros += history.micro_operations();
        let report = Checker::new().check(&history).expect("it is well-formed");
        assert!(report.is_clean(), "seed {seed}, {plan:?}\n{history}\n{report}");
    }
    assert!(micros > 0);
}

#[test]
fn no_long_good_history_is_accused() {
    for seed in 0..2 {
        let plan = Plan { processes: 32, transactions: 10_000, keys: 60, ..Plan::default() };
        let report = Checker::new().check(&plan.history(seed)).expect("it is well-formed");
        assert!(report.is_clean(), "{report}");
        assert!(report.dependencies() > 4_000);
    }
}

/// A cycle's edges, at random: at most one of time.
fn cycle(random: &mut Random) -> Vec<Edge> {
    let len = 2 + random.below(5) as usize;
    let of_values = [Edge::Ww, Edge::Wr, Edge::Rw];
    // Few kinds, so that each name is frequent.
    let few = [of_values[random.below(3) as usize], of_values[random.below(3) as usize]];
    let mut edges: Vec<Edge> = (0..len).map(|_| few[random.below(2) as usize]).collect();
    let at = random.below(len as u64) as usize;
    match random.below(8) {
        0 => edges[at] = Edge::Process,
        1 | 2 => edges[at] = Edge::RealTime,
        3 => edges[at] = Edge::RwInTime,
        _ => {}
    }
    edges
}

#[test]
fn every_planted_cycle_is_found_by_its_name() {
    let (mut random, mut found) = (Random::new(2), Vec::new());
    for seed in 0..histories(2_000) {
        let good = Plan::random(&mut random).history(seed);
        let edges = cycle(&mut random);
        let Planted { history, anomaly, timing } = plant(&good, &edges, &mut random);
        let report = Checker::new().check(&history).expect("it is well-formed");
        let is_found = |finding: &coeval_check::Finding| {
            (finding.anomaly, finding.timing) == (anomaly, timing)
        };
        let names: Vec<_> = report.counts().collect();
        assert!(
            report.findings.iter().any(is_found) && names.len() == 1,
            "seed {seed}: {edges:?} is {anomaly:?}, {timing:?}; found {names:?}\n{history}"
        );
        found.push(names[0].0.to_owned());
    }
    found.sort();
    found.dedup();
    let names = ["G0", "G1c", "G-single", "long-fork", "G2-item"];
    for name in names {
        for timing in ["", "-process", "-realtime"] {
            let name = format!("{name}{timing}");
            assert!(found.contains(&name), "{name} was never planted: {found:?}");
        }
    }
}

#[test]
fn every_planted_contradiction_is_found_by_its_name() {
    let motifs = [
        (Anomaly::GarbageRead, "0 0..3: r 0 5"),
        (Anomaly::GarbageRead, "0 0..9: a 0 1\n 1 4..6: l 0 5"),
        (Anomaly::DuplicateElement, "0 0..3: a 0 1\n 1 4..6: l 0 1 1"),
        (Anomaly::Internal, "0 0..3: w 0 1; r 0 -"),
        (Anomaly::Internal, "0 0..3: + 0 1; r 1 -; s 0"),
        (Anomaly::G1a, "0 0..3 aborted: w 0 1\n 1 0..6: r 0 1"),
        (Anomaly::G1a, "0 0..3 aborted: + 0 1\n 1 0..6: s 0 1"),
        (Anomaly::G1a, "0 0..3 aborted: a 0 1\n 1 0..6: l 0 1"),
        (Anomaly::G1b, "0 0..3: w 0 1; w 0 2\n 1 0..6: r 0 1"),
        (
            Anomaly::IncompatibleOrder,
            "0 0..3: a 0 1\n 1 0..3: a 0 2\n 2 0..9: l 0 1 2\n 3 0..9: l 0 2",
        ),
        (Anomaly::LostUpdate, "0 0..3: w 0 1\n 1 4..9: cas 0 1 2\n 2 4..9: cas 0 1 3"),
        (Anomaly::LostUpdate, "1 4..9: r 0 -; r 1 -; w 0 2\n 2 4..9: r 0 -; w 0 3"),
    ];
    let mut random = Random::new(3);
    for seed in 0..histories(2_000) {
        let good = Plan::random(&mut random).history(seed);
        let (anomaly, motif) = motifs[random.below(motifs.len() as u64) as usize];
        let history = plant_text(&good, motif, &mut random);
        assert_eq!(names(&history), [anomaly.name()], "seed {seed}, {motif}\n{history}");
    }
}
