//! Another program that uses the same database. It changes rows, of which the service hears nothing,
//! and it can have the whole database for itself.

use super::crowd::next_random;
use super::known::Known;
use crate::database;
use rusqlite::Connection;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The time between two changes.
const PERIOD: Duration = Duration::from_millis(25);

pub struct Outsider {
    connection: Connection,
    known: Arc<Known>,
    random: u64,
}

/// An outsider that changes one user after the other.
pub struct AtWork {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Outsider>>,
}

impl Outsider {
    pub fn new(tables: &Path, known: Arc<Known>) -> io::Result<Self> {
        // It waits as long as it takes while the service has the database locked.
        let connection = database::connect(tables, Duration::from_secs(30));
        Ok(Self { connection: connection.map_err(io::Error::other)?, known, random: 1 })
    }

    /// Changes any user.
    pub fn change(&mut self) -> io::Result<()> {
        self.random = next_random(self.random);
        let id = (self.random >> 33) as i64 % self.known.users();
        let name = format!("user {id} as of {}", self.random % 1_000);
        let page = database::rename(&mut self.connection, id, &name);
        let page = page.map_err(|trouble| io::Error::other(trouble.to_string()))?;
        self.known.changed(id, page.user.revision);
        Ok(())
    }

    /// Locks the database: nobody else can read or write it. For the service it is down.
    pub fn lock(&mut self) -> io::Result<()> {
        self.connection.execute_batch("BEGIN EXCLUSIVE").map_err(io::Error::other)
    }

    pub fn unlock(&mut self) -> io::Result<()> {
        self.connection.execute_batch("ROLLBACK").map_err(io::Error::other)
    }

    /// Changes users until it is stopped.
    pub fn go(mut self) -> AtWork {
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = stop.clone();
        let thread = thread::spawn(move || {
            while !is_over.load(Relaxed) {
                self.change()?;
                thread::sleep(PERIOD);
            }
            Ok(self)
        });
        AtWork { stop, thread }
    }
}

impl AtWork {
    pub fn stop(self) -> io::Result<Outsider> {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")))
    }
}
