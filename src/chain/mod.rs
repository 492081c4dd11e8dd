//! A record (a key and the chain of its versions, newest first) and a version in memory.

mod bonds;
mod kept;
mod node;
mod record;
mod terms;

pub use bonds::{Bonds, Dependencies, Dependency, Derived, FEW};
pub use kept::{HeldRecord, Live, NodeRef, RecordRef, Tied, Visible};
pub use node::{
    Chain, Conditional, Link, Linked, Node, Parcel, Prev, clone_to_heap, write_on_heap,
};
pub use record::{Head, Record, flags};
pub use terms::{EntryTerms, Weight};
