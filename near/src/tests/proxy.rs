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
    /// Does so with what the server sends.
    WithholdsReplies,
    /// Takes what the server sends, and delivers each byte by itself, some of them late.
    SplitsReplies,
    /// Takes what the server sends, and delivers a part of it late.
    DelaysParts,
    /// Takes what the server sends, and delivers it after `DELAY`.
    DelaysReplies,
}

pub const DELAY: Duration = Duration::from_millis(500);

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
            loop {
                let Ok((client, _)) = listener.accept().await else { return };
                let modes = Arc::clone(&modes);
                tokio::spawn(connect(client, to, modes));
            }
        });
        Self { port, mode, task }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
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
    tokio::spawn(pump(from_client, to_server, Arc::clone(&mode), false));
    tokio::spawn(pump(from_server, to_client, mode, true));
}

async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mode: Arc<AtomicU8>,
    are_replies: bool,
) {
    let is = |wanted: Network| mode.load(Ordering::Relaxed) == wanted as u8;
    let mut buffer = [0; 4096];
    let mut sent = 0u32;
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        while is(Network::Withholds) || are_replies && is(Network::WithholdsReplies) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if are_replies && is(Network::DelaysReplies) {
            tokio::time::sleep(DELAY).await;
        }
        let step = match are_replies {
            true if is(Network::SplitsReplies) => 1,
            true if is(Network::DelaysParts) => (read * (sent % 8 + 1) as usize).div_ceil(9),
            _ => read,
        };
        for bytes in buffer[..read].chunks(step) {
            if to.write_all(bytes).await.is_err() {
                return;
            }
            sent = sent.wrapping_add(1);
            if step < read && (step > 1 || sent.is_multiple_of(16)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            } else if step == 1 {
                tokio::task::yield_now().await;
            }
        }
    }
}
