//! A near cache over Valkey and Redis: a [coeval](coeval::Cache) cache in each process, in front of
//! a server that many processes share. What one transaction changed on the server is never seen
//! half.
//!
//! ```no_run
//! use coeval_redis::{NearCache, Raw};
//!
//! # async fn example() -> Result<(), coeval_redis::Error> {
//! let near = NearCache::<String>::builder("redis://127.0.0.1:6379")
//!     .codec(Raw)
//!     .key_prefix("app:")
//!     .connect()
//!     .await?;
//!
//! // One MULTI/EXEC. When it returns, no read of this cache shows what it replaced.
//! let (user, profile) = ("Ada".to_owned(), "Ada's page".to_owned());
//! near.multi().set("user:7", &user).set("profile:7", &profile).exec().await?;
//!
//! // From this process, or from the server; several keys as of one state of the server.
//! let values = near.get_many(&["user:7", "profile:7"]).await?;
//! assert_eq!(values, [Some(user), Some(profile)]);
//! # Ok(())
//! # }
//! ```
//!
//! # Promises
//! - **Whole:** whatever one MULTI/EXEC, script, function, MSET or DEL changed is never seen half,
//!   by [`get_many`](NearCache::get_many), by a [`view`](NearCache::view), or by two
//!   [`get`](NearCache::get)s.
//! - **Own writes:** after [`exec`](Multi::exec) no read of this cache shows what it replaced.
//! - **Tags:** [`invalidate_tag`](Multi::invalidate_tag) removes what any process has set with the
//!   tag, as a part of its transaction.
//! - **Bounded age:** nothing is served from this process more than
//!   [`max_staleness`](Builder::max_staleness) after it was changed on the server, whatever the
//!   network does.
//! - **Nothing resurrected:** a reply that was overtaken, by an invalidation of its key, a flush or
//!   a break, is not cached.
//! - **Deadlines** of the server are kept here, too.
//! - **Reconnect:** after a break, the local entries are cleared by one commit before anything that
//!   a new connection brings is read. A server that is down costs a caller a bounded wait, then an
//!   error that says so.
//! - **Failover:** a primary that has become a replica, or that the
//!   [Sentinels](Builder::sentinels) do not name any more, counts as a break.
//!
//! In a [cluster](Builder::cluster), all of that holds for each slot, while slots move and nodes
//! fail, and keys in several slots are refused where one state of the server is promised.
//!
//! `docs/near.md` in the repository has the protocol, the argument why these promises hold, their
//! limits, and a table of what the servers really do.

mod blocking;
mod builder;
mod cache;
mod clock;
mod cluster;
mod codec;
mod core;
mod error;
mod flight;
mod held;
mod link;
mod load;
mod multi;
mod planted;
mod read;
mod routes;
mod send;
mod serving;
mod settings;
mod slots;
mod source;
mod status;
mod supervisor;
mod tags;
#[cfg(test)]
mod tests;
mod topology;
mod view;

pub use blocking::BlockingNearCache;
pub use builder::Builder;
pub use cache::NearCache;
#[cfg(feature = "json")]
pub use codec::Json;
#[cfg(feature = "postcard")]
pub use codec::Postcard;
pub use codec::{Codec, NoCodec, Raw};
pub use error::{CodecError, Error};
pub use held::{Held, Local};
pub use load::LoadError;
pub use multi::Multi;
pub use settings::OnDisconnect;
pub use status::Status;
pub use view::NearView;
