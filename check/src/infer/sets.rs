//! Sets that only grow: a read comes after the adding of all that it shows, and before the adding
//! of all that it does not show. The reads are in one row, each showing all of the one before.

use super::{Fan, Inference, MOST_DIRECT};
use crate::graph::Edge;

/// Reads that show the same elements.
struct Class {
    reads: Vec<u32>,
    /// The adds that this class is the first to show.
    adds: Vec<u32>,
}

impl<'a> Inference<'a> {
    /// `writes` are sorted by their values.
    pub(super) fn set(&mut self, group: &[u32], writes: &[(u64, u32)]) {
        let external = self.external(group);
        let mut reads: Vec<(Vec<u64>, u32)> =
            external.map(|at| (self.others_of_set(at), at)).collect();
        reads.sort_by_key(|(set, at)| (set.len(), *at));
        let mut classes: Vec<Class> = Vec::new();
        let (empty, mut shown): (Vec<u64>, Option<&(Vec<u64>, u32)>) = (Vec::new(), None);
        for read in &reads {
            let before = shown.map_or(&empty, |(set, _)| set);
            if shown.is_some() && *before == read.0 {
                classes.last_mut().expect("one was shown").reads.push(read.1);
                continue;
            }
            if let Some(missing) = first_missing(before, &read.0) {
                // The row has a fork. The first element that only one of them shows tells who
                // saw what; the read is in no class.
                let extra = first_missing(&read.0, before);
                self.fork(writes, (shown.expect("it shows more").1, missing), (read.1, extra));
                continue;
            }
            let mut adds = Vec::new();
            for value in read.0.iter().filter(|value| before.binary_search(value).is_err()) {
                let found = writes.binary_search_by_key(value, |write| write.0).ok();
                let add = found.map(|found| writes[found].1);
                if self.judge_read(read.1, *value, add) {
                    adds.extend(add);
                }
            }
            adds.sort_unstable_by_key(|add| self.owner(*add));
            classes.push(Class { reads: vec![read.1], adds });
            shown = Some(read);
        }
        let all = shown.map_or(&empty, |(set, _)| set);
        let unread = writes.iter().filter(|write| all.binary_search(&write.0).is_err());
        let unread: Vec<u32> = unread.map(|write| write.1).filter(|at| self.counts(*at)).collect();
        self.row(&classes, unread);
    }

    /// What others had added to a set that was read.
    fn others_of_set(&self, read: u32) -> Vec<u64> {
        let history = self.history;
        let (key, txn) = (self.micro(read).key, history.txns[self.owner(read) as usize]);
        let before = txn.micros().take_while(|at| *at < read as usize);
        let own = before.map(|at| history.micros[at]).filter(|micro| micro.key == key);
        let own: Vec<u64> = own.map(|micro| micro.value).collect();
        let set = history.read(self.micro(read)).iter().copied();
        set.filter(|value| !own.contains(value)).collect()
    }

    /// The edges of a row of classes, and to what none of them shows.
    fn row(&mut self, classes: &[Class], unread: Vec<u32>) {
        let readers = classes.iter().flat_map(|class| class.reads.iter().map(|at| self.owner(*at)));
        let readers: Vec<u32> = readers.collect();
        let first_reader = self.draft.fan(readers.iter().copied());
        let adders = classes.iter().flat_map(|class| &class.adds).chain(&unread);
        let adders: Vec<u32> = adders.map(|at| self.owner(*at)).collect();
        let first_adder = self.draft.fan(adders.iter().copied());
        let adders = Fan { node: first_adder, txns: adders };
        let (mut reads_before, mut adds_until) = (0, 0);
        for class in classes {
            adds_until += class.adds.len();
            for &add in &class.adds {
                let to = first_reader + reads_before as u32;
                self.draft.edge(self.owner(add), to, Edge::Wr, add);
            }
            for &read in &class.reads {
                self.before_adders(&adders, adds_until, read);
            }
            reads_before += class.reads.len();
        }
    }

    /// The adders are in the order of their classes, so a reader's own adds may be anywhere.
    fn before_adders(&mut self, adders: &Fan, place: usize, read: u32) {
        let reader = self.owner(read);
        let key = self.micro(read).key;
        let txn = self.history.txns[reader as usize];
        let of_key = self.history.micros[txn.micros()].iter().filter(|micro| micro.key == key);
        if of_key.filter(|micro| micro.is_write()).count() == 0 {
            if place < adders.txns.len() {
                self.draft.edge(reader, adders.node + place as u32, Edge::Rw, read);
            }
            return;
        }
        for &txn in adders.txns[place..].iter().take(MOST_DIRECT) {
            self.edge(reader, txn, Edge::Rw, read);
        }
    }

    /// Two reads, each of which shows something that the other does not: each comes after the add
    /// of what it shows, and before that of what it does not show.
    fn fork(&mut self, writes: &[(u64, u32)], left: (u32, u64), right: (u32, Option<u64>)) {
        let Some(extra) = right.1 else { return };
        let add_of = |value: u64| {
            let found = writes.binary_search_by_key(&value, |write| write.0).ok()?;
            Some(writes[found].1)
        };
        for (shows, lacks, value) in [(left.0, right.0, left.1), (right.0, left.0, extra)] {
            let add = add_of(value);
            if self.judge_read(shows, value, add)
                && let Some(add) = add
            {
                self.edge(self.owner(add), self.owner(shows), Edge::Wr, add);
                self.edge(self.owner(lacks), self.owner(add), Edge::Rw, lacks);
            }
        }
    }
}

/// The first element of a sorted set that another one lacks.
fn first_missing(of: &[u64], lacks: &[u64]) -> Option<u64> {
    let mut rest = lacks.iter().peekable();
    of.iter().copied().find(|value| {
        while rest.next_if(|other| *other < value).is_some() {}
        rest.peek() != Some(&value)
    })
}
