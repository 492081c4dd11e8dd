//! Cycles in a strongly connected component, the most telling ones first.
//!
//! A cycle has a name by its anti-dependencies: none, one, or several, and whether two of these
//! follow each other. So a search walks through pairs of a node and a *phase*: what the walk has
//! taken so far. For each name, a breadth-first search begins at an edge that the name asks for,
//! and ends where that edge began: the shortest cycle through that edge.

use crate::finding::{Anomaly, Finding, Timing};
use crate::graph::{Edge, Graph, Label};
use crate::history::{History, Kind};
use crate::story;
use std::collections::VecDeque;

/// The most states that the searches of one name, in one component, may visit.
const MOST_STATES: usize = 4_000_000;
/// The most states that all searches may visit. What is left then is counted only.
const MOST_STATES_IN_ALL: usize = 400_000_000;

const NONE: u32 = u32::MAX;
const PHASES: u32 = 8;
/// The walk has taken a second anti-dependency.
const SEVERAL: u32 = 1;
/// The last edge was an anti-dependency.
const JUST: u32 = 2;
/// Two anti-dependencies followed each other.
const ADJACENT: u32 = 4;

/// A step of a cycle: from a transaction to the next one.
pub(crate) type Link = (u32, Label, u32);

pub(crate) struct Cycles<'g> {
    graph: &'g Graph,
    history: &'g History,
    /// By node: its place in the component.
    local: Vec<u32>,
    visited: usize,
}

/// What a search looks for.
#[derive(Clone, Copy)]
struct Goal {
    anomaly: Anomaly,
    timing: Timing,
}

impl Goal {
    fn is_allowed(self, edge: Edge, phase: u32) -> bool {
        let is_several = matches!(self.anomaly, Anomaly::LongFork | Anomaly::G2Item);
        match edge {
            Edge::Ww => true,
            Edge::Wr => self.anomaly != Anomaly::G0,
            Edge::RwInTime if self.timing != Timing::RealTime => false,
            Edge::Rw | Edge::RwInTime => {
                is_several && (self.anomaly == Anomaly::G2Item || phase & JUST == 0)
            }
            Edge::Process => self.timing != Timing::Values,
            Edge::RealTime => self.timing == Timing::RealTime,
        }
    }

    /// Whether a cycle of this name has such an edge.
    fn begins_with(self, edge: Edge) -> bool {
        match self.anomaly {
            Anomaly::G0 => edge == Edge::Ww,
            Anomaly::G1c => edge == Edge::Wr,
            _ => is_anti(edge) && (edge == Edge::Rw || self.timing == Timing::RealTime),
        }
    }

    /// Whether a walk that comes back in this phase is such a cycle.
    fn is_reached(self, phase: u32) -> bool {
        match self.anomaly {
            Anomaly::LongFork => phase == SEVERAL,
            Anomaly::G2Item => phase & SEVERAL != 0 && phase & (JUST | ADJACENT) != 0,
            _ => true,
        }
    }
}

fn is_anti(edge: Edge) -> bool {
    matches!(edge, Edge::Rw | Edge::RwInTime)
}

fn after(phase: u32, label: Label) -> u32 {
    match label.edge() {
        None => phase,
        Some(edge) if is_anti(edge) => {
            let adjacent = if phase & JUST != 0 { ADJACENT } else { 0 };
            phase | SEVERAL | JUST | adjacent
        }
        Some(_) => phase & !JUST,
    }
}

impl<'g> Cycles<'g> {
    pub fn new(graph: &'g Graph, history: &'g History) -> Self {
        Self { graph, history, local: Vec::new(), visited: 0 }
    }

    /// Whether the searches have taken all the time that they may take.
    pub fn is_spent(&self) -> bool {
        self.visited > MOST_STATES_IN_ALL
    }

    /// A finding for each name of which the component has a cycle, by the least timing for which
    /// there is any.
    pub fn of(&mut self, component: &[u32]) -> Vec<Finding> {
        self.local.resize(self.graph.nodes(), NONE);
        for (place, node) in component.iter().enumerate() {
            self.local[*node as usize] = place as u32;
        }
        let mut search = Search::new(self.graph, &self.local, component);
        let mut found = Vec::new();
        for timing in [Timing::Values, Timing::Process, Timing::RealTime] {
            for anomaly in
                [Anomaly::G0, Anomaly::G1c, Anomaly::GSingle, Anomaly::LongFork, Anomaly::G2Item]
            {
                found.extend(search.cycle(Goal { anomaly, timing }));
            }
            if !found.is_empty() {
                break;
            }
        }
        if found.is_empty() {
            found.extend(search.any());
        }
        self.visited += search.visited_in_all;
        component.iter().for_each(|node| self.local[*node as usize] = NONE);
        let told = found.iter().filter(|cycle| !self.is_lost_update(cycle));
        told.map(|cycle| finding(self.history, cycle)).collect()
    }

    /// Whether it is two transactions that replaced one version of a key, which the inference
    /// has reported by its own name.
    fn is_lost_update(&self, cycle: &[Link]) -> bool {
        let [one, other] = cycle else { return false };
        let read = |link: &Link| {
            let micro = self.history.micros[link.1.micro() as usize];
            (link.1.edge(), micro.kind, micro.key)
        };
        read(one) == read(other)
            && matches!(read(one), (Some(Edge::Rw), Kind::Read | Kind::ReadList, _))
    }
}

/// The searches in one component.
struct Search<'s> {
    graph: &'s Graph,
    local: &'s [u32],
    component: &'s [u32],
    /// By state: the search that was there last, where it came from, and by which edge.
    seen: Vec<(u32, u32, Label)>,
    round: u32,
    visited: usize,
    visited_in_all: usize,
}

impl<'s> Search<'s> {
    fn new(graph: &'s Graph, local: &'s [u32], component: &'s [u32]) -> Self {
        let seen = vec![(0, NONE, Label::VIA); component.len() * PHASES as usize];
        Self { graph, local, component, seen, round: 0, visited: 0, visited_in_all: 0 }
    }

    fn cycle(&mut self, goal: Goal) -> Option<Vec<Link>> {
        self.visited = 0;
        for &txn in self.component.iter().filter(|node| self.graph.is_txn(**node)) {
            for (to, label) in self.graph.edges(txn) {
                let is_first = label.edge().is_some_and(|edge| goal.begins_with(edge));
                if !is_first || self.local[to as usize] == NONE {
                    continue;
                }
                let cycle =
                    self.walk(txn, (to, label), |edge, phase| goal.is_allowed(edge, phase), {
                        |phase| goal.is_reached(phase)
                    });
                if cycle.is_some() {
                    return cycle;
                }
                if self.visited > MOST_STATES {
                    return None;
                }
            }
        }
        None
    }

    /// Any cycle: there is one in each component.
    fn any(&mut self) -> Option<Vec<Link>> {
        for &txn in self.component.iter().filter(|node| self.graph.is_txn(**node)) {
            for edge in self.graph.edges(txn) {
                if self.local[edge.0 as usize] == NONE {
                    continue;
                }
                let cycle = self.walk(txn, edge, |_, _| true, |_| true);
                if cycle.is_some() {
                    return cycle;
                }
            }
        }
        None
    }

    /// The shortest walk that begins with this edge of a transaction and comes back to it, unless
    /// it meets another transaction twice.
    fn walk(
        &mut self,
        txn: u32,
        (to, label): (u32, Label),
        is_allowed: impl Fn(Edge, u32) -> bool,
        is_reached: impl Fn(u32) -> bool,
    ) -> Option<Vec<Link>> {
        self.round += 1;
        let is_first_anti = label.edge().is_some_and(is_anti);
        let mut queue = VecDeque::new();
        self.enter(&mut queue, to, if is_first_anti { JUST } else { 0 }, (NONE, label));
        while let Some(state) = queue.pop_front() {
            self.visited += 1;
            self.visited_in_all += 1;
            let (node, phase) = (self.component[(state / PHASES) as usize], state % PHASES);
            for (next, label) in self.graph.edges(node) {
                let goes = label.edge().is_none_or(|edge| is_allowed(edge, phase));
                if !goes || self.local[next as usize] == NONE {
                    continue;
                }
                let then = after(phase, label);
                if next == txn {
                    if is_reached(then) {
                        return self.links(txn, state, label);
                    }
                    continue;
                }
                self.enter(&mut queue, next, then, (state, label));
            }
        }
        None
    }

    fn enter(&mut self, queue: &mut VecDeque<u32>, node: u32, phase: u32, from: (u32, Label)) {
        let state = self.local[node as usize] * PHASES + phase;
        let seen = &mut self.seen[state as usize];
        if seen.0 != self.round {
            *seen = (self.round, from.0, from.1);
            queue.push_back(state);
        }
    }

    /// The cycle that ends with this edge of this state; gates and fans are taken out.
    fn links(&self, txn: u32, last: u32, label: Label) -> Option<Vec<Link>> {
        let mut edges = vec![(txn, label)];
        let mut state = last;
        while state != NONE {
            let (_, before, label) = self.seen[state as usize];
            edges.push((self.component[(state / PHASES) as usize], label));
            state = before;
        }
        edges.reverse();
        let (mut links, mut from, mut kind) = (Vec::new(), txn, Label::VIA);
        for (to, label) in edges {
            if label.edge().is_some() {
                kind = label;
            }
            if self.graph.is_txn(to) {
                links.push((from, kind, to));
                from = to;
            }
        }
        let mut txns: Vec<u32> = links.iter().map(|link| link.0).collect();
        txns.sort_unstable();
        txns.windows(2).all(|pair| pair[0] != pair[1]).then_some(links)
    }
}

/// The name of a cycle with these edges.
pub(crate) fn name_of(edges: &[Edge]) -> (Anomaly, Timing) {
    let count = edges.iter().filter(|edge| is_anti(**edge)).count();
    let next = edges.iter().cycle().skip(1);
    let is_adjacent = edges.iter().zip(next).any(|(one, next)| is_anti(*one) && is_anti(*next));
    let anomaly = match count {
        0 if edges.contains(&Edge::Wr) => Anomaly::G1c,
        0 => Anomaly::G0,
        1 => Anomaly::GSingle,
        _ if is_adjacent => Anomaly::G2Item,
        _ => Anomaly::LongFork,
    };
    let timing = edges.iter().map(|edge| match edge {
        Edge::RealTime | Edge::RwInTime => Timing::RealTime,
        Edge::Process => Timing::Process,
        _ => Timing::Values,
    });
    (anomaly, timing.max().unwrap_or(Timing::Values))
}

fn finding(history: &History, cycle: &[Link]) -> Finding {
    let edges: Vec<Edge> = cycle.iter().filter_map(|link| link.1.edge()).collect();
    let (anomaly, timing) = name_of(&edges);
    story::of_cycle(history, anomaly, timing, cycle)
}
