//! What the load test knows of the database, with which it compares what the service answers.

use crate::rows::Id;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is known of each user.
pub struct Known(Vec<Mutex<History>>);

#[derive(Default)]
struct History {
    /// The newest revision that the service has told to a client that made a change.
    told: i64,
    /// The changes that another program made, and when.
    changes: Vec<(i64, Instant)>,
}

impl Known {
    pub fn new(users: Id) -> Self {
        Self((0..users).map(|_| Mutex::default()).collect())
    }

    pub fn users(&self) -> Id {
        self.0.len() as Id
    }

    fn of(&self, id: Id) -> MutexGuard<'_, History> {
        self.0[id as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the service has answered a change, which made this revision.
    pub fn tell(&self, id: Id, revision: i64) {
        let mut history = self.of(id);
        history.told = history.told.max(revision);
    }

    /// A request that begins now gets this revision or a newer one.
    pub fn told(&self, id: Id) -> i64 {
        self.of(id).told
    }

    /// Notes a change of which the service hears nothing.
    pub fn changed(&self, id: Id, revision: i64) {
        self.of(id).changes.push((revision, Instant::now()));
    }

    /// Returns for how long there had been a newer revision in the database at this time.
    pub fn age(&self, id: Id, revision: i64, at: Instant) -> Duration {
        let history = self.of(id);
        let newer = history.changes.iter().find(|(newer, _)| *newer > revision);
        newer.map_or(Duration::ZERO, |(_, changed)| at.saturating_duration_since(*changed))
    }
}
