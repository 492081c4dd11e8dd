//! A client that shows what comes over the wire, frame by frame.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

pub struct Wire {
    stream: BufReader<TcpStream>,
}

impl Wire {
    /// A connection that speaks this version of the protocol.
    pub fn connect(port: u16, protocol: u8) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut wire = Self { stream: BufReader::new(stream) };
        wire.ask(&format!("HELLO {protocol}"));
        wire
    }

    /// A connection with default tracking, by RESP3.
    pub fn tracking(port: u16) -> Self {
        let mut wire = Self::connect(port, 3);
        assert_eq!(wire.ask("CLIENT TRACKING ON"), ["+OK"]);
        wire
    }

    /// Sends commands, separated by semicolons, in one packet. Words in quotes are one word.
    pub fn say(&mut self, commands: &str) {
        let mut bytes = Vec::new();
        for command in commands.split(';') {
            let words: Vec<&str> = command
                .split('"')
                .enumerate()
                .flat_map(|(at, part)| match at % 2 {
                    0 => part.split_whitespace().collect(),
                    _ => vec![part],
                })
                .collect();
            write!(bytes, "*{}\r\n", words.len()).unwrap();
            for word in words {
                write!(bytes, "${}\r\n{word}\r\n", word.len()).unwrap();
            }
        }
        self.stream.get_mut().write_all(&bytes).unwrap();
    }

    /// The frames that have come by now. A PING asks for a last one: what the server sent before it
    /// executed that is before its reply.
    pub fn hear(&mut self) -> Vec<String> {
        self.ask_and_hear("PING")
    }

    /// Sends commands, and returns all that comes with their replies.
    pub fn ask(&mut self, commands: &str) -> Vec<String> {
        self.ask_and_hear(&format!("{commands};PING"))
    }

    fn ask_and_hear(&mut self, commands: &str) -> Vec<String> {
        self.say(commands);
        let mut pings = commands.split(';').filter(|command| *command == "PING").count();
        let mut frames = Vec::new();
        loop {
            let frame = self.next();
            pings -= usize::from(frame == "+PONG");
            if pings == 0 {
                return frames;
            }
            frames.push(frame);
        }
    }

    /// The next frame, in short: `+OK`, `:1`, `-ERR ...`, `$text`, `nil`, `[a b]`, `>[invalidate
    /// [k]]`.
    pub fn next(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let line = line.trim_end();
        let (kind, rest) = line.split_at(1);
        let count = || rest.parse::<usize>().unwrap();
        match kind {
            "_" => "nil".to_owned(),
            "$" | "*" if rest == "-1" => "nil".to_owned(),
            "$" => {
                let mut text = vec![0; count() + 2];
                self.stream.read_exact(&mut text).unwrap();
                text.truncate(count());
                format!("${}", String::from_utf8_lossy(&text))
            }
            "*" | ">" => {
                let items: Vec<String> = (0..count()).map(|_| self.next()).collect();
                let sign = if kind == ">" { ">" } else { "" };
                format!("{sign}[{}]", items.join(" "))
            }
            "%" => {
                let items: Vec<String> = (0..2 * count()).map(|_| self.next()).collect();
                format!("%[{}]", items.join(" "))
            }
            _ => line.to_owned(),
        }
    }
}

/// The push for a key.
pub fn push(key: &str) -> String {
    format!(">[$invalidate [${key}]]")
}

/// The push for all keys.
pub fn push_all() -> String {
    ">[$invalidate nil]".to_owned()
}
