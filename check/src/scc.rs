//! Strongly connected components (Tarjan 1972), without recursion.

use crate::graph::Graph;

const UNSEEN: u32 = u32::MAX;
const DONE: u32 = u32::MAX - 1;

/// The components of more than one node.
pub(crate) fn components(graph: &Graph) -> Vec<Vec<u32>> {
    let mut search = Search {
        graph,
        low: vec![UNSEEN; graph.nodes()],
        next: 0,
        stack: Vec::new(),
        found: Vec::new(),
    };
    for node in 0..graph.nodes() as u32 {
        if search.low[node as usize] == UNSEEN {
            search.from(node);
        }
    }
    search.found
}

struct Search<'g> {
    graph: &'g Graph,
    /// By node: the lowest number that it is known to reach, while it is on the stack.
    low: Vec<u32>,
    next: u32,
    stack: Vec<u32>,
    found: Vec<Vec<u32>>,
}

/// A node whose edges are being followed.
struct Visit {
    node: u32,
    edge: u32,
    number: u32,
}

impl Search<'_> {
    fn from(&mut self, root: u32) {
        let mut visits = vec![self.enter(root)];
        while let Some(visit) = visits.last_mut() {
            let Some((to, _)) = self.graph.edge(visit.node, visit.edge) else {
                let visit = visits.pop().expect("one was seen");
                let low = self.leave(&visit);
                if let Some(above) = visits.last() {
                    let of_above = &mut self.low[above.node as usize];
                    *of_above = low.min(*of_above);
                }
                continue;
            };
            visit.edge += 1;
            match self.low[to as usize] {
                UNSEEN => {
                    let entered = self.enter(to);
                    visits.push(entered);
                }
                DONE => {}
                // On the stack. Its low instead of its number: the roots come out the same.
                low => {
                    let own = &mut self.low[visit.node as usize];
                    *own = low.min(*own);
                }
            }
        }
    }

    fn enter(&mut self, node: u32) -> Visit {
        let number = self.next;
        self.next += 1;
        self.low[node as usize] = number;
        self.stack.push(node);
        Visit { node, edge: 0, number }
    }

    /// Returns what the node above may reach through this one.
    fn leave(&mut self, visit: &Visit) -> u32 {
        let low = self.low[visit.node as usize];
        if low < visit.number {
            return low;
        }
        if self.stack.last() == Some(&visit.node) {
            // Nearly all: not worth a vector.
            self.stack.pop();
            self.low[visit.node as usize] = DONE;
            return UNSEEN;
        }
        let from = self.stack.iter().rposition(|node| *node == visit.node).expect("it is there");
        let component = self.stack.split_off(from);
        component.iter().for_each(|node| self.low[*node as usize] = DONE);
        self.found.push(component);
        UNSEEN
    }
}
