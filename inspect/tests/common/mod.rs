//! A minimal HTTP client.
#![allow(dead_code)] // Each program uses a part of it.

use serde_json::Value;
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// What a server answered.
pub struct Answer {
    pub status: u16,
    pub headers: String,
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        serde_json::from_str(&self.body).expect("the body is JSON")
    }
}

/// Sends the head of a request, and reads the head of the answer.
pub async fn begin(
    to: SocketAddr,
    line: &str,
    headers: &[&str],
    body: &str,
) -> (u16, String, BufReader<TcpStream>) {
    let mut stream = BufReader::new(TcpStream::connect(to).await.expect("it listens"));
    let host = match headers.iter().any(|header| header.starts_with("host:")) {
        true => String::new(),
        false => format!("host: {to}\r\n"),
    };
    let more: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\n{host}{more}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).await.expect("an answer"), 0, "{head}");
    }
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, head.to_ascii_lowercase(), stream)
}

/// Sends a request.
pub async fn request(to: SocketAddr, line: &str, headers: &[&str], body: &str) -> Answer {
    let (status, headers, mut stream) = begin(to, line, headers, body).await;
    let mut body = Vec::new();
    // Not every server ends the connection.
    match headers.lines().find_map(|line| line.strip_prefix("content-length:")) {
        Some(length) => {
            body.resize(length.trim().parse().expect("a length"), 0);
            stream.read_exact(&mut body).await.expect("a body");
        }
        None => _ = stream.read_to_end(&mut body).await.expect("a body"),
    }
    Answer { status, headers, body: String::from_utf8(body).expect("UTF-8") }
}
