//! Defects that the tests of this crate plant, to show that they would be found. Outside those
//! tests there are none, and none can be switched on.

/// A rule of the protocol that is broken.
#[cfg_attr(not(test), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// A reply is installed although a push has marked its key meanwhile.
    NoMarks,
    /// `get_many` does not ask whether its hits are still there when the reply comes.
    HitsUnchecked,
    /// `exec` returns without having dropped the entries once more.
    NoSecondDrop,
    /// A hit is served however long ago the server was last heard of.
    NoBound,
    /// What a server says of itself at a heartbeat does not matter.
    RoleIgnored,
    /// What Sentinels say at a heartbeat does not matter.
    SentinelsIgnored,
    /// Any reply counts as one to a heartbeat.
    ReadsConfirm,
    /// A break leaves the L1 as it is, and its entries in use.
    BreakIgnored,
    /// What the nodes of a cluster say at a heartbeat of its slots does not matter.
    SlotsIgnored,
    /// A slot's entries stay in use although another node has answered for it.
    RedirectIgnored,
    /// An answer by a route whose term has ended is like any other.
    OldRouteIgnored,
    /// A hit is served although its deadline on the server has come.
    DeadlineIgnored,
}

/// Which defect a cache has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Planted {
    #[cfg(test)]
    pub defect: Option<Defect>,
}

impl Planted {
    #[cfg(test)]
    pub fn has(self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    #[cfg(not(test))]
    #[inline]
    pub const fn has(self, _: Defect) -> bool {
        false
    }
}
