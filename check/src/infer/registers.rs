//! Registers: each value was written once, so each read tells whose version it saw. The order of
//! two versions is known if one was written by a transaction that had read the other, or if one
//! write had ended when the other began, or if one is the absence at the beginning.

use super::{Fan, Inference};
use crate::graph::Edge;
use crate::history::Kind;
use crate::observe::mark;

/// The reads of one version.
struct Version<'r> {
    /// The write; `None` for the absence at the beginning.
    write: Option<u32>,
    reads: &'r [(Option<u64>, u32)],
}

impl Inference<'_> {
    /// `writes` are sorted by their values.
    pub(super) fn register(&mut self, group: &[u32], writes: &[(u64, u32)]) {
        let external = self.external(group);
        let mut reads: Vec<(Option<u64>, u32)> =
            external.map(|at| (self.micro(at).register(), at)).collect();
        reads.sort_unstable();
        let is_write = |at: &u32| self.micro(*at).kind == Kind::Write;
        let has_removals = group.iter().any(|at| is_write(at) && self.micro(*at).len == 0);
        let knows_absence = !has_removals && self.checker.absences_tell;

        let (mut versions, mut next, mut has_fork) = (Vec::new(), 0, false);
        for reads in reads.chunk_by(|left, right| left.0 == right.0) {
            let Some(value) = reads[0].0 else {
                if knows_absence {
                    has_fork |= self.successors(reads).nth(1).is_some();
                    versions.push(Version { write: None, reads });
                }
                continue;
            };
            while next < writes.len() && writes[next].0 < value {
                next += 1;
            }
            let found = writes.get(next).filter(|write| write.0 == value).map(|write| write.1);
            let mut is_one = true;
            for &(_, read) in reads {
                is_one &= self.judge_read(read, value, found);
            }
            let Some(write) = found.filter(|_| is_one) else { continue };
            reads.iter().for_each(|(_, read)| self.judge_intermediate(*read, value, write));
            has_fork |= self.successors(reads).nth(1).is_some();
            versions.push(Version { write: Some(write), reads });
        }

        let fan = self.fan_if_unordered(writes, &versions, has_fork);
        for version in &versions {
            self.of_version(version, fan.as_ref());
        }
    }

    /// The reads whose transactions then wrote the next version.
    fn successors<'r>(
        &self,
        reads: &'r [(Option<u64>, u32)],
    ) -> impl Iterator<Item = u32> + use<'_, 'r> {
        reads.iter().map(|(_, read)| *read).filter(|read| self.has(*read, mark::THEN_WRITES))
    }

    /// All writers, unless each is known to have replaced the version of another one: then their
    /// order is known without the fan.
    fn fan_if_unordered(
        &mut self,
        writes: &[(u64, u32)],
        versions: &[Version<'_>],
        has_fork: bool,
    ) -> Option<Fan> {
        let is_final = |at: &u32| self.has(*at, mark::FINAL) && self.counts(*at);
        let writers = writes.iter().map(|write| write.1).filter(is_final);
        let mut writers: Vec<u32> = writers.map(|at| self.owner(at)).collect();
        let followers: usize = versions.iter().map(|of| self.successors(of.reads).count()).sum();
        if writers.is_empty() || (followers == writers.len() && !has_fork) {
            return None;
        }
        writers.sort_unstable();
        Some(self.fan(writers))
    }

    fn of_version(&mut self, version: &Version<'_>, fan: Option<&Fan>) {
        let successors: Vec<u32> = self.successors(version.reads).collect();
        if let Some(write) = version.write {
            let writer = self.owner(write);
            for &(_, read) in version.reads {
                self.edge(writer, self.owner(read), Edge::Wr, write);
            }
            for &next in &successors {
                self.edge(writer, self.owner(next), Edge::Ww, write);
            }
        }
        for &(_, read) in version.reads {
            for &next in &successors {
                self.edge(self.owner(read), self.owner(next), Edge::Rw, read);
            }
        }
        if let [first, second, ..] = successors[..] {
            self.lost_update(first, second);
        }
        if let Some(fan) = fan {
            self.before_later_writers(version, fan);
        }
    }

    /// A reader of a version comes before all writers that began when that version was there.
    fn before_later_writers(&mut self, version: &Version<'_>, fan: &Fan) {
        let (place, edge) = match version.write {
            None => (0, Edge::Rw),
            Some(write) => {
                let writer = self.history.txns[self.owner(write) as usize];
                if !self.checker.real_time || !writer.has_ended() {
                    return;
                }
                let began = |txn: &u32| self.history.txns[*txn as usize].start <= writer.end;
                (fan.txns.partition_point(began), Edge::RwInTime)
            }
        };
        for &(_, read) in version.reads {
            self.edges_to_fan(fan, place, self.owner(read), edge, read);
        }
    }
}
