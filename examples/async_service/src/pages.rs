//! The pages, through the cache.

use crate::database::{Database, Trouble};
use crate::rows::{Id, Key, Page, Row, User};
use crate::settings::Settings;
use coeval::{Builder, Cache, LoadError, Served};
use std::time::Duration;

/// The entries for which there is room.
const ENTRIES: u64 = 100_000;

#[derive(Clone)]
pub struct Pages {
    pub cache: Cache<Key, Row>,
    database: Database,
    soft_timeout: Duration,
}

/// The settings of the cache. A saved cache is restored with them, too.
pub fn builder(settings: &Settings) -> Builder<Key, Row> {
    Cache::<Key, Row>::builder()
        .name("pages")
        .schema("user, profile and feed, 1")
        .max_capacity(ENTRIES)
        // A value is fresh for a while, and is then loaded anew. If that fails, it is served as it
        // is, and the database is left alone for a time that grows from failure to failure.
        .refresh_after(settings.fresh)
        .time_to_live(settings.fail_safe)
        .refresh_pause(settings.fresh / 8)
        .refresh_pause_up_to(longest_pause(settings.fresh))
        .jitter(0.1)
        // Whoever invalidates a user ends the profile and the feed in the same commit.
        .related(|key, related| {
            if let Key::User(id) = key {
                related.invalidate(Key::Profile(*id)).invalidate(Key::Feed(*id));
            }
        })
}

/// The longest time for which a database that failed is left alone.
pub fn longest_pause(fresh: Duration) -> Duration {
    fresh * 2
}

impl Pages {
    pub fn new(cache: Cache<Key, Row>, database: Database, settings: &Settings) -> Self {
        Self { cache, database, soft_timeout: settings.soft_timeout }
    }

    /// Returns a page, whose three parts are always of one age. If the database is down or slow,
    /// that may be an old one, and the result says so.
    pub async fn page(&self, id: Id) -> Result<Served<Page, Trouble>, Trouble> {
        let database = self.database.clone();
        let load = async move { database.page(id).await.map(Page::into_rows) };
        let time_is_up = tokio::time::sleep(self.soft_timeout);
        let serving = self.cache.serving();
        let served =
            serving.load_many_async_on(Page::keys(id), tokio::spawn, time_is_up, load).await;
        match served {
            // That there is no such user any more is an answer, not a failure.
            Ok(Served::Stale { cause: Some(Trouble::NoSuchUser), .. }) => {
                self.cache.invalidate(&Key::User(id));
                Err(Trouble::NoSuchUser)
            }
            Ok(served) => Ok(served.map(Page::from_rows)),
            Err(LoadError::Failed(trouble)) => Err(trouble),
            Err(error) => Err(Trouble::Database(error.to_string())),
        }
    }

    /// Renames a user, and returns the new page. All requests that begin after that see it.
    pub async fn rename(&self, id: Id, name: String) -> Result<Page, Trouble> {
        let page = self.database.rename(id, name).await?;
        // First the database, then the cache, by one commit. The page is written, not just
        // invalidated, so that there is a page to serve if the database stops now.
        let written = self.cache.atomically(|cache| {
            match cache.typed::<User>().get(&Key::User(id)) {
                // Another request was faster with a later change.
                Some(user) if user.revision >= page.user.revision => {}
                Some(_) => {
                    for (key, row) in Page::keys(id).into_iter().zip(page.clone().into_rows()) {
                        cache.insert(key, row);
                    }
                }
                // It is not known whether this change is the latest. A load that has read the page
                // before this change is refused, and the next request loads.
                None => cache.invalidate(Key::User(id)),
            }
        });
        written.map_err(|error| Trouble::Database(error.to_string()))?;
        Ok(page)
    }
}
