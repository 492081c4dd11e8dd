//! A record (a key and the chain of its versions, newest first) and a version in memory.

mod bonds;
mod kept;
mod node;
mod parcel;
mod policy_terms;
mod record;

pub use bonds::{Bonds, Dependencies, Dependency, Derived, FEW};
pub use kept::{HeldRecord, Live, NodeRef, RecordRef, Tied, Visible};
pub use node::{Chain, Conditional, EntryTerms, Link, Linked, Node, Prev};
pub use parcel::{Parcel, clone_to_heap, write_on_heap};
pub use record::{Head, Record, flags};
