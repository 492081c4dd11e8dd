//! The public types. Each is thin: it checks its arguments, and calls the engine.

mod batch;
mod builder;
mod cache;
mod derive;
mod give;
mod hasher;
mod key;
mod lease;
mod load;
#[cfg(feature = "async")]
mod load_async;
#[cfg(feature = "async")]
mod load_future;
mod load_shared;
mod monitor;
mod pinned;
mod refresh;
mod settings;
mod tagged;
mod transaction;
mod unwind;
mod view;
mod weak;

pub use batch::Batch;
pub use builder::Builder;
pub use cache::Cache;
pub use derive::Scope;
pub use hasher::RandomState;
pub use key::ToKey;
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
