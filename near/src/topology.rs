//! What the nodes of a cluster say of its slots.

use crate::slots::SLOTS;
use crate::source::Place;

/// What one node says of itself and of the others: the answer to CLUSTER NODES.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub nodes: Vec<Node>,
    /// The node says that the cluster is whole, as far as it knows (CLUSTER INFO). If not, it
    /// answers no commands for keys, and others may have taken its slots over.
    pub is_whole: bool,
}

/// One line of it.
#[derive(Debug)]
pub(crate) struct Node {
    pub id: String,
    pub place: Option<Place>,
    /// The one that says all of this.
    pub is_myself: bool,
    /// A primary that is not known to have failed.
    pub is_primary: bool,
    /// Of two who claim a slot, the one with the later epoch has it.
    epoch: u64,
    /// Pairs of the first and the last slot.
    slots: Vec<(usize, usize)>,
    /// Slots that it gives away. Only the node itself says so.
    leaving: Vec<usize>,
}

impl Report {
    /// Reads the answer to CLUSTER NODES of a node that is reached at this host, and that to
    /// CLUSTER INFO. What it cannot read, it leaves out.
    pub fn read(nodes: &str, info: &str, host: &str) -> Self {
        Self {
            nodes: nodes.lines().filter_map(|line| Node::read(line, host)).collect(),
            is_whole: info.lines().any(|line| line == "cluster_state:ok"),
        }
    }

    /// Where primaries are.
    pub fn primaries(&self) -> impl Iterator<Item = &Place> {
        let primaries = self.nodes.iter().filter(|node| node.is_primary);
        primaries.filter_map(|node| node.place.as_ref())
    }

    pub fn myself(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| node.is_myself)
    }
}

impl Node {
    /// `id host:port@port,name flags primary ping pong epoch state slot slot-slot [slot->-id]`
    fn read(line: &str, host: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (id, address) = (words.next()?.to_owned(), words.next()?);
        let flags: Vec<&str> = words.next()?.split(',').collect();
        let epoch = words.nth(3)?.parse().ok()?;
        let is = |flag: &str| flags.contains(&flag);
        let mut node = Self {
            id,
            place: place(address, host),
            is_myself: is("myself"),
            is_primary: is("master") && !["fail", "handshake", "noaddr"].iter().any(|it| is(it)),
            epoch,
            slots: Vec::new(),
            leaving: Vec::new(),
        };
        for word in words.skip(1) {
            if let Some(moving) = word.strip_prefix('[') {
                let leaving = moving.split_once("->-").and_then(|it| it.0.parse::<usize>().ok());
                node.leaving.extend(leaving);
                continue;
            }
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            node.slots.push((first, last.min(SLOTS - 1)));
        }
        Some(node)
    }

    fn all_slots(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().flat_map(|(first, last)| *first..=*last)
    }
}

/// The address for clients. A node may not know its own host.
fn place(address: &str, host: &str) -> Option<Place> {
    let (own, port) = address.split('@').next()?.rsplit_once(':')?;
    let host = if own.is_empty() { host } else { own };
    Some((host.to_owned(), port.parse().ok().filter(|port| *port != 0)?))
}

/// Who answers for a slot, by all that the nodes have said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Where the report of the owner stands among the reports; None if it has not reported.
    pub report: Option<usize>,
    /// The owner itself has said so, and has all of the slot's keys.
    pub is_settled: bool,
    /// The epoch by which it has the slot. A node that takes a slot from another one gets a later
    /// one, for all of its slots, unless it had the latest of all.
    pub epoch: u64,
}

/// Who answers for each slot. Of several who claim one, the one with the latest epoch; and the slot
/// is settled only if that one says so itself.
pub(crate) fn owners(reports: &[&Report]) -> Vec<Owner> {
    let mut best: Vec<Option<(u64, &str)>> = vec![None; SLOTS];
    for node in reports.iter().flat_map(|report| &report.nodes).filter(|node| node.is_primary) {
        for slot in node.all_slots() {
            let claim = Some((node.epoch, &*node.id));
            best[slot] = best[slot].max(claim);
        }
    }
    let mut owners = vec![Owner::default(); SLOTS];
    for (at, report) in reports.iter().enumerate() {
        let Some(myself) = report.myself() else { continue };
        let has = |slot: usize| best[slot].is_some_and(|(_, id)| id == myself.id);
        for slot in (0..SLOTS).filter(|slot| has(*slot)) {
            (owners[slot].report, owners[slot].epoch) = (Some(at), best[slot].map_or(0, |it| it.0));
        }
        if myself.is_primary && report.is_whole {
            for slot in myself.all_slots().filter(|slot| has(*slot)) {
                owners[slot].is_settled = !myself.leaving.contains(&slot);
            }
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::{Owner, Report, owners};

    const A: &str = "a 127.0.0.1:1@11 myself,master - 0 5 1 connected 0-5 7 [3->-b] [9-<-b]";
    const B: &str = "b 127.0.0.1:2@12,name master - 0 5 2 connected 8-10";

    fn report(lines: &[&str]) -> Report {
        Report::read(&lines.join("\n"), "cluster_state:ok\r\ncluster_slots_ok:4", "here")
    }

    #[test]
    fn lines_are_read() {
        let report = report(&[
            A,
            B,
            "c :3@13 slave,fail b 0 5 2 connected",
            "d :0@0 master,noaddr - 0 5 3 disconnected 11-12",
            "nonsense",
        ]);
        assert!(report.is_whole);
        let places: Vec<_> = report.nodes.iter().map(|node| node.place.clone()).collect();
        let at = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(places, [at("127.0.0.1", 1), at("127.0.0.1", 2), at("here", 3), None]);
        let primaries: Vec<_> = report.nodes.iter().map(|node| node.is_primary).collect();
        assert_eq!(primaries, [true, true, false, false]);
        let myself = report.myself().unwrap();
        assert_eq!(myself.all_slots().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 7]);
        assert_eq!(myself.leaving, [3]);
    }

    #[test]
    fn a_slot_is_settled_if_its_owner_says_so() {
        let myself = B.replace("master", "myself,master");
        let (a, b) = (report(&[A, B]), report(&[&A.replace("myself,", ""), &myself]));
        let found = owners(&[&a, &b]);
        let owner = |report: Option<usize>, is_settled| {
            let epoch = report.map_or(0, |at| at as u64 + 1);
            Owner { report, is_settled, epoch }
        };
        assert_eq!(found[0], owner(Some(0), true));
        assert_eq!(found[3], owner(Some(0), false), "it gives it away");
        assert_eq!(found[6], Owner::default(), "nobody has it");
        assert_eq!(found[8], owner(Some(1), true));
        // Only A has reported.
        assert_eq!(owners(&[&a])[8], Owner::default());
    }

    #[test]
    fn of_two_claims_the_later_epoch_wins() {
        // B has taken slot 4 over; A does not know.
        let b = report(&[&B.replace("master", "myself,master").replace("8-10", "4 8-10")]);
        assert_eq!(owners(&[&b])[4].report, Some(0));
        let a = report(&[A, B]);
        let owner = owners(&[&a, &b])[4];
        assert_eq!(owner, Owner { report: Some(1), is_settled: true, epoch: 2 });
        // A third one knows that somebody has, who has not reported.
        let c = report(&["c :3@13 myself,master - 0 5 3 connected", "d :4@14 master - 0 5 4 x 4"]);
        assert_eq!(owners(&[&a, &c])[4], Owner::default());
    }

    #[test]
    fn a_node_whose_cluster_is_not_whole_settles_nothing() {
        let mut a = report(&[A]);
        a.is_whole = false;
        assert_eq!(owners(&[&a])[0], Owner { report: Some(0), is_settled: false, epoch: 1 });
    }
}
