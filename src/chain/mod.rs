//! A record (a key and the chain of its versions, newest first) and a version in memory.

mod bonds;
mod kept;
mod node;
mod policy_terms;
mod record;

pub use bonds::{Bonds, Dependencies, Dependency, Derived, FEW};
pub use kept::{HeldRecord, Live, NodeRef, RecordRef, Tied, Visible};
pub use node::{Chain, Conditional, EntryTerms, Link, Linked, Node, Prev};
pub use record::{Head, Record, flags};
