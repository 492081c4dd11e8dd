//! Defects that the tests of this crate plant, to show that they would be found. Outside those
//! tests there are none, and none can be switched on.

/// A rule of the protocol that is broken.
#[cfg_attr(not(test), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// Each change is applied as it comes, by a commit of its own.
    RowByRow,
    /// What was read is installed although the stream is behind the read.
    NoWait,
    /// What was read is installed although the read is behind the stream.
    HiddenIgnored,
    /// What was read is installed although a change has overtaken it.
    NoLease,
    /// A hit is served however long ago the stream was last known to be up to date.
    NoBound,
    /// A break leaves the cache as it is.
    BreakIgnored,
    /// A stream that stays behind is not flushed.
    NoFlush,
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
