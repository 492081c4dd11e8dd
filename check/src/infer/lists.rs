//! Lists: what was read last tells the order of all versions before it.

use super::{Inference, finding};
use crate::finding::Anomaly;
use crate::graph::Edge;
use crate::observe::mark;

/// The order of one list's versions.
struct Trace<'h> {
    elements: &'h [u64],
    /// The elements and their places, sorted.
    places: Vec<(u64, u32)>,
    /// By place: the append. `None` if nobody made it, or it had no effect.
    appends: Vec<Option<u32>>,
}

impl<'a> Inference<'a> {
    /// `writes` are sorted by their values.
    pub(super) fn list(&mut self, key: u64, group: &[u32], writes: &[(u64, u32)]) {
        let external = self.external(group);
        let mut reads: Vec<(&'a [u64], u32)> = external.map(|at| (self.others(at), at)).collect();
        reads.sort_by_key(|(list, _)| list.len());
        let longest = reads.last().copied();
        self.drop_incompatible(key, &mut reads);
        let elements = longest.map_or(&[][..], |(list, _)| list);
        let trace = self.trace(elements, writes, &reads);
        self.report_duplicates(key, &trace.places, longest.map(|(_, at)| at));
        for same in reads.chunk_by(|left, right| left.0.len() == right.0.len()) {
            let mut both = same.iter().filter(|(_, read)| self.has(*read, mark::THEN_WRITES));
            if let (Some((_, first)), Some((_, second))) = (both.next(), both.next()) {
                self.lost_update(*first, *second);
            }
        }
        let mut last: Option<u32> = None;
        for &append in trace.appends.iter().flatten() {
            if let Some(before) = last.replace(append) {
                self.edge(self.owner(before), self.owner(append), Edge::Ww, before);
            }
        }
        self.unread(writes, &trace, last, &reads);
        for &(list, read) in &reads {
            self.of_read(&trace, list.len(), read);
        }
    }

    /// What others had appended to a list that was read: its own elements are the last ones.
    fn others(&self, read: u32) -> &'a [u64] {
        let history = self.history;
        let (key, txn) = (self.micro(read).key, history.txns[self.owner(read) as usize]);
        let before = txn.micros().take_while(|at| *at < read as usize);
        let own = before.filter(|at| history.micros[*at].key == key).count();
        let list = history.read(self.micro(read));
        &list[..list.len().saturating_sub(own)]
    }

    /// Leaves the reads that are beginnings of the longest one.
    fn drop_incompatible(&mut self, key: u64, reads: &mut Vec<(&[u64], u32)>) {
        let Some(&(longest, last)) = reads.last() else { return };
        let history = self.history;
        let owner = |at: u32| self.observed.owner[at as usize];
        let report = &mut self.report;
        reads.retain(|&(list, read)| {
            let is_beginning = longest.starts_with(list);
            if !is_beginning {
                report.add(Anomaly::IncompatibleOrder, || {
                    let note = format!("Neither list of key {key} is the beginning of the other.");
                    let txns = [owner(read), owner(last)];
                    finding(history, Anomaly::IncompatibleOrder, &txns, key, note)
                });
            }
            is_beginning
        });
    }

    /// Finds the append of each element, and reports elements that should not be there.
    fn trace(
        &mut self,
        elements: &'a [u64],
        writes: &[(u64, u32)],
        reads: &[(&[u64], u32)],
    ) -> Trace<'a> {
        let mut appends = Vec::with_capacity(elements.len());
        for (place, &element) in elements.iter().enumerate() {
            let found = writes.binary_search_by_key(&element, |write| write.0).ok();
            let append = found.map(|found| writes[found].1);
            if append.is_some_and(|append| self.counts(append)) {
                appends.push(append);
                continue;
            }
            let first = reads.partition_point(|(list, _)| list.len() <= place);
            self.judge_read(reads[first].1, element, append);
            appends.push(None);
        }
        let mut places: Vec<(u64, u32)> = elements.iter().copied().zip(0..).collect();
        places.sort_unstable();
        Trace { elements, places, appends }
    }

    fn report_duplicates(&mut self, key: u64, sorted: &[(u64, u32)], read: Option<u32>) {
        let Some(twice) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) else { return };
        let (history, value) = (self.history, twice[0].0);
        let reader = read.map(|read| self.owner(read));
        self.report.add(Anomaly::DuplicateElement, || {
            let note = format!("{value} is in the list of key {key} more than once.");
            finding(history, Anomaly::DuplicateElement, reader.as_slice(), key, note)
        });
    }

    /// Appends that took effect and that no read shows come after all that the reads show.
    fn unread(
        &mut self,
        writes: &[(u64, u32)],
        trace: &Trace<'_>,
        last: Option<u32>,
        reads: &[(&[u64], u32)],
    ) {
        let is_unread =
            |write: &&(u64, u32)| self.counts(write.1) && trace.place(write.0).is_none();
        let unread = writes.iter().filter(is_unread);
        let mut writers: Vec<u32> = unread.map(|write| self.owner(write.1)).collect();
        if writers.is_empty() {
            return;
        }
        writers.sort_unstable();
        writers.dedup();
        let fan = self.fan(writers);
        if let Some(last) = last {
            self.edges_to_fan(&fan, 0, self.owner(last), Edge::Ww, last);
        }
        let whole = reads.iter().rev().take_while(|(list, _)| list.len() == trace.elements.len());
        for &(_, read) in whole {
            self.edges_to_fan(&fan, 0, self.owner(read), Edge::Rw, read);
        }
    }

    fn of_read(&mut self, trace: &Trace<'_>, len: usize, read: u32) {
        let reader = self.owner(read);
        let (before, after) = trace.appends.split_at(len);
        if let Some(write) = before.iter().rev().flatten().next() {
            self.edge(self.owner(*write), reader, Edge::Wr, *write);
        }
        if let Some(Some(write)) = before.last() {
            self.judge_intermediate(read, trace.elements[len - 1], *write);
        }
        let next = after.iter().flatten().find(|append| self.owner(**append) != reader);
        if let Some(write) = next {
            self.edge(reader, self.owner(*write), Edge::Rw, read);
        }
        if self.has(read, mark::THEN_WRITES) {
            self.judge_own(trace, len, read);
        }
    }

    /// Reports a list that shows what its reader only appends later.
    fn judge_own(&mut self, trace: &Trace<'_>, len: usize, read: u32) {
        let (history, reader) = (self.history, self.owner(read));
        let key = self.micro(read).key;
        for micro in history.txns[reader as usize].micros().map(|at| history.micros[at]) {
            let is_own = micro.key == key && micro.is_write();
            let place = trace.place(micro.value).filter(|place| (*place as usize) < len);
            let append = place.and_then(|place| trace.appends[place as usize]);
            if is_own && append.is_some() {
                self.judge_read(read, micro.value, append);
                return;
            }
        }
    }
}

impl Trace<'_> {
    fn place(&self, element: u64) -> Option<u32> {
        let found = self.places.binary_search_by_key(&element, |place| place.0).ok()?;
        Some(self.places[found].1)
    }
}
