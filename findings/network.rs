//! What is between a reader and a server, for one connection. While it is slow, all that the server
//! says is on its way; then it arrives, in order.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

pub struct Network {
    /// Where the reader connects.
    pub port: u16,
    way: Arc<Mutex<Option<Way>>>,
}

/// The way from the server to the reader.
struct Way {
    reader: TcpStream,
    is_slow: bool,
    on_its_way: Vec<u8>,
}

impl Way {
    fn arrive(&mut self) {
        let bytes = std::mem::take(&mut self.on_its_way);
        self.reader.write_all(&bytes).unwrap();
    }

    /// Passes on what the server says, until it says nothing more.
    fn pass_on(way: &Mutex<Option<Self>>, mut server: TcpStream) {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = server.read(&mut bytes) {
            let mut way = way.lock().unwrap();
            let way = way.as_mut().unwrap();
            way.on_its_way.extend_from_slice(&bytes[..count]);
            if !way.is_slow {
                way.arrive();
            }
        }
    }
}

impl Network {
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Mutex::new(None));
        let way = Arc::clone(&shared);
        thread::spawn(move || {
            let (reader, _) = listener.accept().unwrap();
            let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
            let (mut from, mut to) = (reader.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut from, &mut to));
            *way.lock().unwrap() = Some(Way { reader, is_slow: false, on_its_way: Vec::new() });
            Way::pass_on(&way, server);
        });
        Self { port, way: shared }
    }

    pub fn slow(&self) {
        self.way.lock().unwrap().as_mut().unwrap().is_slow = true;
    }

    pub fn on_its_way(&self, what: &str) -> bool {
        let way = self.way.lock().unwrap();
        let bytes = &way.as_ref().unwrap().on_its_way;
        bytes.windows(what.len()).any(|part| part == what.as_bytes())
    }

    /// Has all that is on its way arrive, and what comes later, at once.
    pub fn arrive(&self) {
        let mut way = self.way.lock().unwrap();
        let way = way.as_mut().unwrap();
        way.is_slow = false;
        way.arrive();
    }
}
