//! A cache in front of PostgreSQL: a [coeval](coeval::Cache) cache whose entries end as the
//! transactions commit that change what they were read from. Each transaction is one commit in the
//! cache, so no reader finds what one of them changed half old and half new.
//!
//! ```no_run
//! use coeval_postgres::{FENCE, Fence, PgCache, ReplicationConfig};
//!
//! # struct Transaction;
//! # impl Transaction {
//! #     async fn text(&self, _: &str) -> Result<String, Error> { unimplemented!() }
//! # }
//! # type Error = Box<dyn std::error::Error>;
//! # async fn begin_repeatable_read() -> Result<Transaction, Error> { unimplemented!() }
//! # async fn example() -> Result<(), Error> {
//! // CREATE PUBLICATION app FOR TABLE users, profiles;
//! let config = ReplicationConfig::new("localhost", "app", "secret", "app", "coeval", "app");
//! let cache = PgCache::<(&str, u64), String>::builder(config)
//!     .keys(|row, keys| {
//!         let (table, column) = match row.table() {
//!             "users" => ("user", "id"),
//!             "profiles" => ("profile", "user_id"),
//!             _ => return Ok(()),
//!         };
//!         if let Some(Ok(id)) = row.get(column)?.map(str::parse) {
//!             keys.push((table, id));
//!         }
//!         Ok(())
//!     })
//!     .connect(coeval::Cache::builder().max_capacity(100_000).build())
//!     .await?;
//!
//! // From the cache, or by one transaction of any client, whose first statement is FENCE.
//! let [user, profile] = cache
//!     .get_many([("user", 7), ("profile", 7)], async {
//!         let transaction = begin_repeatable_read().await?;
//!         let fence: Fence = transaction.text(FENCE).await?.parse()?;
//!         let user = transaction.text("SELECT name FROM users WHERE id = 7").await?;
//!         let profile = transaction.text("SELECT text FROM profiles WHERE user_id = 7").await?;
//!         Ok::<_, Error>((fence, [user, profile]))
//!     })
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Promises
//! - **Whole:** whatever one transaction changed is never seen half, by
//!   [`get_many`](PgCache::get_many), by a [`view`](PgCache::view), or by two reads: who has seen
//!   what a transaction wrote finds nothing that it replaced.
//! - **Own writes:** after [`wait_for`](PgCache::wait_for) with the position of a commit, no read
//!   shows what the commit replaced.
//! - **Bounded age:** nothing is served from the cache more than
//!   [`max_staleness`](Builder::max_staleness) after a commit that changed it, whatever the network
//!   does.
//! - **Nothing resurrected:** what was read before a change is not cached after it.
//! - **Breaks:** when the stream breaks, the cache is cleared by one commit before the next read.
//!   Until there is a new stream, reads go past it.
//!
//! `docs/postgres.md` in the repository has the protocol, the argument why these promises hold,
//! their limits, and a table of what the server really does.

mod builder;
mod cache;
// The near cache over Redis has the same.
#[path = "../../near/src/clock.rs"]
mod clock;
mod control;
mod core;
mod error;
mod fence;
mod pgoutput;
mod planted;
mod progress;
mod recent;
mod row;
mod source;
mod status;
mod stream;
mod supervisor;
#[cfg(test)]
mod tests;

pub use builder::Builder;
pub use cache::PgCache;
pub use error::Error;
pub use fence::{FENCE, Fence, NoFence};
pub use pgwire_replication::config::TlsConfig;
pub use pgwire_replication::{Lsn, PgWireError, ReplicationConfig};
pub use row::{Row, Unsent};
pub use source::PgStream;
pub use status::Status;
pub use stream::{CommitStream, Event, Mark, follow};
