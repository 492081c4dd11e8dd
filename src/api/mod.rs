//! The public types. Each is thin: it checks its arguments, and calls the engine.

mod batch;
mod brief_view;
mod builder;
mod cache;
mod contents;
mod derive;
mod deriver;
mod domain;
mod domain_batch;
mod domain_transaction;
mod domain_view;
mod entry;
mod entry_load;
mod explain;
#[cfg(feature = "metrics")]
mod export;
mod give;
mod hasher;
#[cfg(feature = "serde")]
mod held_groups;
#[cfg(feature = "serde")]
mod intake;
mod introspect;
mod iter;
mod key;
mod keys;
mod lease;
mod lent;
mod load;
#[cfg(feature = "async")]
mod load_async;
#[cfg(feature = "async")]
mod load_async_ref;
mod load_each;
#[cfg(feature = "async")]
mod load_each_async;
#[cfg(feature = "async")]
mod load_future;
mod load_ref;
mod load_shared;
mod loaded;
mod many;
mod monitor;
mod pinned;
mod policy;
mod refresh;
#[cfg(feature = "serde")]
mod restore;
#[cfg(feature = "serde")]
mod restore_report;
#[cfg(feature = "serde")]
mod restoring;
mod retain;
#[cfg(feature = "serde")]
mod save;
mod served;
mod serving;
#[cfg(feature = "async")]
mod serving_async;
mod settings;
mod spread;
mod tagged;
mod transaction;
mod typed;
mod unwind;
mod upkeep;
mod view;
mod weak;

pub use batch::{Batch, BatchMut};
pub use brief_view::BriefView;
pub use builder::Builder;
pub use cache::Cache;
pub use derive::Scope;
pub use deriver::Deriver;
pub use domain::{Domain, DomainBuilder};
pub use domain_batch::{BatchPart, DomainBatch};
pub use domain_transaction::{DomainTransaction, TransactionPart};
pub use domain_view::DomainView;
pub use entry::{CompResult, Entry, KeyEntry, Op};
#[cfg(feature = "metrics")]
pub use export::Exporter;
pub use hasher::RandomState;
pub use iter::{Keys, OwnedIter, OwnedKeys, OwnedValues, Values};
pub use key::ToKey;
pub use keys::KeyList;
pub use lease::Lease;
pub use lent::Lent;
pub use loaded::Loaded;
pub use monitor::{Finding, Monitor, Repair, Report};
pub use pinned::Pinned;
pub use policy::PolicyInfo;
pub use refresh::Job;
#[cfg(feature = "async")]
pub use refresh::Task;
#[cfg(feature = "serde")]
pub use restore_report::{RestoreError, RestoreReport};
#[cfg(feature = "serde")]
pub use restoring::Restoring;
pub use retain::{InParts, RemovalProgress};
#[cfg(feature = "serde")]
pub use save::SaveReport;
pub use served::Served;
pub use serving::Serving;
pub use settings::Settings;
pub use transaction::{Committed, Transaction};
pub use typed::{Kind, Typed};
pub use view::{Iter, View};
pub use weak::WeakCache;
