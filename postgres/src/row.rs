//! A changed row, as the function sees it that says which keys it concerns.

use crate::pgoutput::{Column, Old, Relation, Tuple, Value};
use std::fmt;

/// The server does not send this column with this row, or the table has no such column.
///
/// An old row has the columns of the table's replica identity only, by default those of its primary
/// key. If keys of the cache depend on other columns, give the table another one: `ALTER TABLE …
/// REPLICA IDENTITY FULL`, or `USING INDEX …`. Of a partitioned table, give it to each partition:
/// they do not inherit it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unsent {
    table: String,
    column: String,
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, column } = self;
        write!(f, "the server does not send the column {column:?} of a changed row of {table:?}")
    }
}

impl std::error::Error for Unsent {}

/// A row that a transaction has changed: as it was before, or as it is after it.
#[derive(Debug)]
pub struct Row<'r> {
    relation: &'r Relation,
    /// As long as the columns of the relation. None: not sent.
    values: Vec<Option<Option<&'r str>>>,
}

impl<'r> Row<'r> {
    /// Returns the name of the schema.
    pub fn schema(&self) -> &'r str {
        &self.relation.schema
    }

    /// Returns the name of the table, without the schema. A partition has its own name, unless the
    /// publication has `publish_via_partition_root`.
    pub fn table(&self) -> &'r str {
        &self.relation.table
    }

    /// Returns the value of a column in PostgreSQL's text form, or `None` for NULL.
    ///
    /// The form of dates, intervals, floats and `bytea` depends on settings of the stream's session
    /// (`DateStyle`, `TimeZone`, `IntervalStyle`, `extra_float_digits`, `bytea_output`), which the
    /// `options` of the [`ReplicationConfig`](crate::ReplicationConfig) can fix. `char(n)` comes
    /// with its blanks, a `uuid` in lower case, a `numeric` with the zeros that it was stored with.
    /// Where the database takes two texts for equal (`citext`, `1.0` and `1.00`), make one key.
    ///
    /// # Errors
    /// [`Unsent`]. Return it: all entries are then ended with the transaction, as nobody knows
    /// which key the row had.
    pub fn get(&self, column: &str) -> Result<Option<&'r str>, Unsent> {
        let at = self.relation.columns.iter().position(|it| it.name == column);
        at.and_then(|at| self.values.get(at).copied().flatten())
            .ok_or_else(|| Unsent { table: self.relation.table.clone(), column: column.to_owned() })
    }

    /// A row as it is now.
    pub(crate) fn new(relation: &'r Relation, new: &Tuple<'r>, old: &Old<'r>) -> Self {
        let before = |at: usize| match old {
            Old::Full(old) => old.get(at).and_then(sent),
            Old::Same | Old::Identity(_) => None,
        };
        let value = |(at, value): (usize, &Value<'r>)| match value {
            // What an update has left as it was, stands in the old row, if that was sent. It is
            // large, so no null.
            Value::Unchanged => before(at).filter(Option::is_some),
            value => sent(value),
        };
        Self { relation, values: new.iter().enumerate().map(value).collect() }
    }

    /// A row as it was. `new`: the row as it is, if it still exists.
    pub(crate) fn old(relation: &'r Relation, old: &Old<'r>, new: Option<&Tuple<'r>>) -> Self {
        let nothing = Vec::new();
        // Columns of an identity are never null, unless it is FULL.
        let (tuple, identity_only, has_nulls) = match old {
            Old::Full(tuple) => (tuple, false, !relation.null_is_doubtful),
            Old::Identity(tuple) => (tuple, true, false),
            Old::Same if relation.is_full => (&nothing, true, false),
            Old::Same => (new.unwrap_or(&nothing), true, false),
        };
        let value = |(column, value): (&Column, &Value<'r>)| {
            let is_sent = (column.is_identity || !identity_only)
                && (has_nulls || !matches!(value, Value::Null));
            if is_sent { sent(value) } else { None }
        };
        Self { relation, values: relation.columns.iter().zip(tuple).map(value).collect() }
    }
}

fn sent<'r>(value: &Value<'r>) -> Option<Option<&'r str>> {
    match value {
        Value::Null => Some(None),
        Value::Text(text) => Some(Some(text)),
        Value::Unchanged | Value::Unreadable => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Row;
    use crate::pgoutput::{Column, Old, Relation, Value};

    fn table() -> Relation {
        let column = |name: &str, is_identity| Column { name: name.to_owned(), is_identity };
        Relation {
            oid: 1,
            schema: "public".to_owned(),
            table: "posts".to_owned(),
            columns: vec![column("id", true), column("user_id", false), column("text", false)],
            is_full: false,
            null_is_doubtful: false,
        }
    }

    #[test]
    fn an_old_row_has_its_identity_only() {
        let table = table();
        let new = vec![Value::Text("1"), Value::Text("7"), Value::Null];
        for old in [Old::Same, Old::Identity(vec![Value::Text("1"), Value::Null, Value::Null])] {
            let row = Row::old(&table, &old, Some(&new));
            assert_eq!(row.get("id"), Ok(Some("1")));
            assert!(row.get("user_id").is_err(), "nobody knows what it was");
        }
        let full = Old::Full(vec![Value::Text("1"), Value::Text("6"), Value::Null]);
        let row = Row::old(&table, &full, Some(&new));
        assert_eq!((row.get("user_id"), row.get("text")), (Ok(Some("6")), Ok(None)));
    }

    #[test]
    fn a_partition_s_old_row_may_lack_what_its_parent_s_would_have() {
        let mut table = table();
        let old = Old::Full(vec![Value::Text("1"), Value::Null, Value::Null]);
        assert_eq!(Row::old(&table, &old, None).get("user_id"), Ok(None));
        table.null_is_doubtful = true;
        assert!(Row::old(&table, &old, None).get("user_id").is_err());
        assert_eq!(Row::old(&table, &old, None).get("id"), Ok(Some("1")));
        // An index of the partition is its identity, and another one that of the parent.
        let old = Old::Identity(vec![Value::Null, Value::Text("7"), Value::Null]);
        assert!(Row::old(&table, &old, None).get("id").is_err());
        table.is_full = true;
        let new = vec![Value::Text("1"), Value::Text("7"), Value::Null];
        assert!(Row::old(&table, &Old::Same, Some(&new)).get("id").is_err());
    }

    #[test]
    fn an_unchanged_large_value_is_that_of_the_old_row() {
        let table = table();
        let new = vec![Value::Text("1"), Value::Text("7"), Value::Unchanged];
        let row = Row::new(&table, &new, &Old::Same);
        assert_eq!(row.get("user_id"), Ok(Some("7")));
        assert!(row.get("text").is_err());
        let full = Old::Full(vec![Value::Text("1"), Value::Text("6"), Value::Text("large")]);
        assert_eq!(Row::new(&table, &new, &full).get("text"), Ok(Some("large")));
    }

    #[test]
    fn an_error_names_the_column() {
        let error = Row::new(&table(), &vec![], &Old::Same).get("age").unwrap_err().to_string();
        assert!(error.contains("\"age\"") && error.contains("\"posts\""), "{error}");
    }
}
