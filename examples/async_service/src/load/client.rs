//! A minimal HTTP client.

use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A connection that serves many requests, one after the other.
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Returns the status and the body of the answer.
    pub async fn get(&mut self, path: &str) -> io::Result<(u16, String)> {
        self.request("GET", path, "").await
    }

    pub async fn put(&mut self, path: &str, body: &str) -> io::Result<(u16, String)> {
        self.request("PUT", path, body).await
    }

    async fn request(&mut self, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.0.write_all(request.as_bytes()).await?;
        let malformed = || io::Error::from(io::ErrorKind::InvalidData);
        let status = self.line().await?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut length = 0;
        loop {
            let line = self.line().await?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(|_| malformed())?;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        let body = String::from_utf8(body).map_err(|_| malformed())?;
        Ok((status.ok_or_else(malformed)?, body))
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}
