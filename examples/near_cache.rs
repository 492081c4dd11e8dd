//! A near cache: each process keeps what it read from a server, and the server says what has
//! changed: `cargo run --example near_cache`.
//!
//! The server and its messages are objects of this process. The point is the race in each such
//! design: a process reads a value, the value changes, the message comes, and only then does the
//! process cache what it has read. Here such a value is not cached.

use coeval::Cache;
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Keys = Vec<&'static str>;

/// Stands for a server.
#[derive(Default)]
struct Server(Mutex<State>);

#[derive(Default)]
struct State {
    values: HashMap<&'static str, u64>,
    /// On each, the server announces what has changed.
    connections: Vec<Sender<Keys>>,
}

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self) -> Receiver<Keys> {
        let (sender, changes) = channel();
        self.state().connections.push(sender);
        changes
    }

    fn read(&self, keys: &[&'static str]) -> Vec<u64> {
        let values = &self.state().values;
        keys.iter().map(|key| values.get(key).copied().unwrap_or(0)).collect()
    }

    /// Writes values that belong together, and announces them by one message.
    fn write(&self, values: &[(&'static str, u64)]) {
        let mut state = self.state();
        state.values.extend(values.iter().copied());
        let keys: Keys = values.iter().map(|(key, _)| *key).collect();
        state.connections.retain(|connection| connection.send(keys.clone()).is_ok());
    }
}

/// The cache of one process.
struct Near {
    server: Arc<Server>,
    cache: Cache<&'static str, u64>,
    changes: Receiver<Keys>,
}

impl Near {
    fn connect(server: &Arc<Server>) -> Self {
        Self { server: server.clone(), cache: Cache::new(), changes: server.connect() }
    }

    /// What is absent is read by one request.
    fn get(&self, keys: &[&'static str]) -> Vec<u64> {
        self.cache.get_each_with(keys, |missing| self.server.read(missing))
    }

    /// Takes in the messages. Each is one commit, so that what belongs together ends together.
    fn follow(&self) {
        for keys in self.changes.try_iter() {
            self.cache.invalidate_many(keys);
        }
    }

    /// After a connection was lost, nothing is known of what has changed. One commit ends all.
    fn reconnect(&mut self) {
        self.changes = self.server.connect();
        self.cache.invalidate_all();
    }
}

fn main() {
    let server = Arc::new(Server::default());
    let (mut one, two) = (Near::connect(&server), Near::connect(&server));
    server.write(&[("net", 100), ("tax", 19)]);
    assert_eq!((one.get(&["net", "tax"]), two.get(&["tax"])), (vec![100, 19], vec![19]));

    server.write(&[("net", 200), ("tax", 38)]);
    assert_eq!(one.get(&["net", "tax"]), [100, 19], "the message is on its way");
    one.follow();
    assert_eq!(one.cache.get_many([&"net", &"tax"]), [None, None]);
    assert_eq!(one.get(&["net", "tax"]), [200, 38]);

    // The race: the value changes, and the message comes, while the old one is read.
    two.follow();
    let read = two.cache.get_with("net", || {
        let read = two.server.read(&["net"])[0];
        server.write(&[("net", 300)]);
        two.follow();
        read
    });
    assert_eq!((read, two.cache.get(&"net")), (200, None), "it is not cached");
    assert_eq!(two.get(&["net"]), [300]);

    one.reconnect();
    assert_eq!(one.get(&["net", "tax"]), [300, 38]);
    println!("no near cache kept a value past its change");
}
