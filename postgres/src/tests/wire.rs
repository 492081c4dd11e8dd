//! What a server sends, in words.

use super::{config, server::Server};
use crate::pgoutput::{Message, Old, Relation, Tuple, Value};
use crate::source::{Session, chance};
use pgwire_replication::{Lsn, ReplicationEvent};
use std::collections::HashMap;
use std::time::Duration;

/// A stream, and what it has said of tables.
pub struct Wire {
    session: Session,
    relations: HashMap<u32, Relation>,
    /// The position of each event that was told: of a change its own, of a transaction its end.
    pub positions: Vec<Lsn>,
    /// The number of the last transaction that began.
    pub transaction: u32,
}

impl Wire {
    pub async fn start(server: &Server) -> Self {
        Self::of(server, "app").await
    }

    pub async fn of(server: &Server, publication: &str) -> Self {
        let mut config = config(server.port());
        config.slot = format!("wire_{:016x}", chance());
        config.publication = publication.into();
        let mut session = Session::connect(&config).await.unwrap();
        let create = format!("CREATE_REPLICATION_SLOT {} TEMPORARY LOGICAL pgoutput", config.slot);
        session.0.simple_query(&create).await.unwrap();
        session.0.start().await.unwrap();
        session.0.wait_started().await.unwrap();
        Self { session, relations: HashMap::new(), positions: Vec::new(), transaction: 0 }
    }

    /// The next event in words, and its position.
    pub async fn next(&mut self) -> Result<(String, Lsn), crate::PgWireError> {
        let event = self.session.0.recv().await?.expect("the stream goes on");
        Ok(match event {
            ReplicationEvent::Begin { final_lsn, xid, .. } => {
                self.transaction = xid;
                ("begin".to_owned(), final_lsn)
            }
            ReplicationEvent::Commit { end_lsn, .. } => ("commit".to_owned(), end_lsn),
            ReplicationEvent::KeepAlive { wal_end, .. } => ("reached".to_owned(), wal_end),
            ReplicationEvent::Message { lsn, .. } => ("message".to_owned(), lsn),
            ReplicationEvent::XLogData { data, wal_end, .. } => (self.words(&data), wal_end),
            ReplicationEvent::StoppedAt { reached } => ("stopped".to_owned(), reached),
        })
    }

    /// What has come within this time.
    pub async fn within(&mut self, time: Duration) -> Vec<String> {
        let mut told = Vec::new();
        let all = async {
            while let Ok((words, position)) = self.next().await {
                if words != "reached" {
                    told.push(words);
                    self.positions.push(position);
                }
            }
        };
        let _ = tokio::time::timeout(time, all).await;
        told
    }

    /// What comes before a message that is committed now.
    pub async fn told(&mut self, server: &Server) -> Vec<String> {
        server.tell("SELECT pg_logical_emit_message(true, 'fence', '')").await;
        self.positions.clear();
        let mut told = Vec::new();
        loop {
            let (words, position) = self.next().await.unwrap();
            match &*words {
                "reached" => continue,
                "message" => {
                    // And its own begin.
                    assert_eq!(told.pop().as_deref(), Some("begin"));
                    self.positions.pop();
                    while self.next().await.unwrap().0 != "commit" {}
                    return told;
                }
                _ => {}
            }
            told.push(words);
            self.positions.push(position);
        }
    }

    /// Waits until all up to this position is sent.
    pub async fn reach(&mut self, position: Lsn) {
        while self.next().await.unwrap().1 < position {}
    }

    fn words(&mut self, message: &[u8]) -> String {
        let name = |relation: &u32| self.relations[relation].table.clone();
        match Message::parse(message).unwrap() {
            Message::Relation(relation) => {
                let words = format!("table {}", relation.table);
                self.relations.insert(relation.oid, relation);
                words
            }
            Message::Insert { relation, new } => {
                format!("insert {} {}", name(&relation), row(&new))
            }
            Message::Update { relation, old, new } => {
                format!("update {} {}{}", name(&relation), before(&old), row(&new))
            }
            Message::Delete { relation, old } => {
                format!("delete {} {}", name(&relation), before(&old)).trim_end().to_owned()
            }
            Message::Truncate => "truncate".to_owned(),
            Message::Other => "other".to_owned(),
        }
    }
}

fn before(old: &Old<'_>) -> String {
    match old {
        Old::Same => String::new(),
        Old::Identity(tuple) => format!("identity {} ", row(tuple)),
        Old::Full(tuple) => format!("full {} ", row(tuple)),
    }
}

fn row(tuple: &Tuple<'_>) -> String {
    let word = |value: &Value<'_>| match value {
        Value::Null => "null".to_owned(),
        Value::Unchanged => "unchanged".to_owned(),
        Value::Unreadable => "unreadable".to_owned(),
        Value::Text(text) if text.len() > 20 => format!("{} bytes", text.len()),
        Value::Text(text) => (*text).to_owned(),
    };
    format!("({})", tuple.iter().map(word).collect::<Vec<_>>().join(", "))
}
