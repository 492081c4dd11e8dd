//! The public types. Each is thin: it checks its arguments, and calls the engine.

mod batch;
mod builder;
mod cache;
mod contents;
mod derive;
mod hasher;
mod key;
mod keys;
mod lease;
mod load;
#[cfg(feature = "async")]
mod load_async;
mod load_each;
#[cfg(feature = "async")]
mod load_future;
mod load_ref;
mod load_shared;
mod many;
mod monitor;
mod pinned;
mod refresh;
mod settings;
mod tagged;
mod transaction;
mod unwind;
mod view;
mod weak;

pub use batch::{Batch, BatchMut};
pub use builder::Builder;
pub use cache::Cache;
pub use derive::Scope;
pub use hasher::RandomState;
pub use key::ToKey;
pub use keys::Keys;
pub use lease::Lease;
pub use monitor::{Finding, Monitor, Repair, Report};
pub use pinned::Pinned;
pub use refresh::Job;
#[cfg(feature = "async")]
pub use refresh::Task;
pub use settings::Settings;
pub use transaction::{Committed, Transaction};
pub use view::{Iter, View};
pub use weak::WeakCache;
