//! The messages of PostgreSQL's output plugin `pgoutput`, protocol version 1, as far as a cache
//! needs them.

use std::fmt;

/// A message makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message of pgoutput makes no sense")
    }
}

/// A table, as the server described it before its first change and after each change of its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relation {
    pub oid: u32,
    pub schema: String,
    pub table: String,
    pub columns: Vec<Column>,
    /// REPLICA IDENTITY FULL. Then an UPDATE that comes without the old row is of a partition whose
    /// own identity is another one, and was published under its parent's name.
    pub is_full: bool,
    /// A null in an old row may stand for a column that was not sent: likewise of a partition.
    pub null_is_doubtful: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub name: String,
    /// The column is part of the replica identity, so an old row carries it.
    pub is_identity: bool,
}

/// What a message says of one column of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'m> {
    Null,
    /// A large value, stored apart (TOAST), that an UPDATE has left as it was.
    Unchanged,
    Text(&'m str),
    /// Of a form that this crate does not ask for.
    Unreadable,
}

pub(crate) type Tuple<'m> = Vec<Value<'m>>;

/// The row as it was before, as far as the server sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Old<'m> {
    /// The columns of the replica identity are as they are in the new row.
    Same,
    /// Only the columns of the replica identity mean something.
    Identity(Tuple<'m>),
    /// REPLICA IDENTITY FULL.
    Full(Tuple<'m>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message<'m> {
    Relation(Relation),
    Insert {
        relation: u32,
        new: Tuple<'m>,
    },
    Update {
        relation: u32,
        old: Old<'m>,
        new: Tuple<'m>,
    },
    Delete {
        relation: u32,
        old: Old<'m>,
    },
    Truncate,
    /// A type, or an origin.
    Other,
}

impl<'m> Message<'m> {
    pub fn parse(bytes: &'m [u8]) -> Result<Self, Malformed> {
        let mut rest = Rest(bytes);
        Ok(match rest.u8()? {
            b'R' => Self::Relation(rest.relation()?),
            b'I' => {
                let relation = rest.u32()?;
                rest.tag(b'N')?;
                Self::Insert { relation, new: rest.tuple()? }
            }
            b'U' => {
                let relation = rest.u32()?;
                let old = match rest.u8()? {
                    b'N' => Old::Same,
                    tag => rest.old(tag)?,
                };
                if old != Old::Same {
                    rest.tag(b'N')?;
                }
                Self::Update { relation, old, new: rest.tuple()? }
            }
            b'D' => {
                let relation = rest.u32()?;
                let tag = rest.u8()?;
                Self::Delete { relation, old: rest.old(tag)? }
            }
            b'T' => Self::Truncate,
            b'Y' | b'O' => Self::Other,
            // What this crate does not know, it has not asked for.
            _ => return Err(Malformed),
        })
    }
}

/// What is left of a message.
struct Rest<'m>(&'m [u8]);

impl<'m> Rest<'m> {
    fn take(&mut self, bytes: usize) -> Result<&'m [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    fn tag(&mut self, expected: u8) -> Result<(), Malformed> {
        if self.u8()? == expected { Ok(()) } else { Err(Malformed) }
    }

    /// A text that ends by a zero.
    fn text(&mut self) -> Result<String, Malformed> {
        let end = self.0.iter().position(|&byte| byte == 0).ok_or(Malformed)?;
        let text = std::str::from_utf8(self.take(end)?).map_err(|_| Malformed)?;
        self.tag(0)?;
        Ok(text.to_owned())
    }

    fn relation(&mut self) -> Result<Relation, Malformed> {
        let oid = self.u32()?;
        let (schema, table) = (self.text()?, self.text()?);
        let is_full = self.u8()? == b'f';
        let columns = (0..self.u16()?).map(|_| self.column()).collect::<Result<_, _>>()?;
        // An empty name stands for pg_catalog.
        let schema = if schema.is_empty() { "pg_catalog".to_owned() } else { schema };
        Ok(Relation { oid, schema, table, columns, is_full, null_is_doubtful: false })
    }

    fn column(&mut self) -> Result<Column, Malformed> {
        let flags = self.u8()?;
        let name = self.text()?;
        let (_type, _modifier) = (self.u32()?, self.u32()?);
        Ok(Column { name, is_identity: flags & 1 != 0 })
    }

    fn old(&mut self, tag: u8) -> Result<Old<'m>, Malformed> {
        match tag {
            b'K' => Ok(Old::Identity(self.tuple()?)),
            b'O' => Ok(Old::Full(self.tuple()?)),
            _ => Err(Malformed),
        }
    }

    fn tuple(&mut self) -> Result<Tuple<'m>, Malformed> {
        (0..self.u16()?).map(|_| self.value()).collect()
    }

    fn value(&mut self) -> Result<Value<'m>, Malformed> {
        Ok(match self.u8()? {
            b'n' => Value::Null,
            b'u' => Value::Unchanged,
            b't' => {
                let bytes = self.sized()?;
                std::str::from_utf8(bytes).map_or(Value::Unreadable, Value::Text)
            }
            b'b' => {
                self.sized()?;
                Value::Unreadable
            }
            _ => return Err(Malformed),
        })
    }

    fn sized(&mut self) -> Result<&'m [u8], Malformed> {
        let length = self.u32()?;
        self.take(usize::try_from(length).map_err(|_| Malformed)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{Malformed, Message, Old, Value};

    /// An UPDATE of relation 7 with an old key, and a new row of a text, a null, and a large value.
    const UPDATE: &[u8] = b"U\0\0\0\x07K\0\x01t\0\0\0\x011N\0\x03t\0\0\0\x02abnu";

    #[test]
    fn an_update_is_read() {
        let old = Old::Identity(vec![Value::Text("1")]);
        let new = vec![Value::Text("ab"), Value::Null, Value::Unchanged];
        assert_eq!(Message::parse(UPDATE), Ok(Message::Update { relation: 7, old, new }));
    }

    #[test]
    fn each_shorter_message_is_malformed() {
        for length in 0..UPDATE.len() {
            assert_eq!(Message::parse(&UPDATE[..length]), Err(Malformed), "{length}");
        }
    }
}
