//! A network between a cache and its server that does what networks do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the network does with bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Network {
    Passes,
    /// Takes them, and delivers them to nobody, until it passes again: then it delivers them.
    Withholds,
    /// Closes its connections, and accepts no more.
    Cut,
    /// Delivers what the server sends byte by byte.
    Splits,
}

/// A network that runs, until this is dropped.
pub struct Proxy {
    port: u16,
    mode: Arc<AtomicU8>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(AtomicU8::new(Network::Passes as u8));
        let modes = Arc::clone(&mode);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if modes.load(Ordering::Relaxed) != Network::Cut as u8 {
                    tokio::spawn(connect(client, to, Arc::clone(&modes)));
                }
            }
        });
        Self { port, mode, task }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn set(&self, mode: Network) {
        self.mode.store(mode as u8, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connect(client: TcpStream, to: u16, mode: Arc<AtomicU8>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(from_client, to_server, Arc::clone(&mode), false) => {}
        () = pump(from_server, to_client, Arc::clone(&mode), true) => {}
        () = cut(mode) => {}
    }
}

async fn cut(mode: Arc<AtomicU8>) {
    while mode.load(Ordering::Relaxed) != Network::Cut as u8 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mode: Arc<AtomicU8>,
    is_from_server: bool,
) {
    let is = |wanted: Network| mode.load(Ordering::Relaxed) == wanted as u8;
    let mut buffer = [0; 4096];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        while is(Network::Withholds) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let step = if is_from_server && is(Network::Splits) { 1 } else { read };
        for bytes in buffer[..read].chunks(step) {
            if to.write_all(bytes).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}
