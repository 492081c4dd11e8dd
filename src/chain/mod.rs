//! What a key points to: its record, and below it the chain of its versions, newest first.

mod node;
mod record;

pub use node::{Chain, Link, Linked, Node, Prev};
pub use record::{Head, Record, flags};
