//! A small JSON writer. The race prints one document, and a library would make it slow to compile.

use std::fmt::{self, Write};

/// A value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Json {
    Null,
    Whole(u64),
    /// Null if the number is infinite or not a number.
    Real(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

impl From<u64> for Json {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<usize> for Json {
    fn from(number: usize) -> Self {
        Self::Whole(number as u64)
    }
}

impl From<f64> for Json {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Self>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<Self>> FromIterator<T> for Json {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

impl Json {
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        match self {
            Self::Whole(number) => write!(f, "{number}"),
            // Debug, unlike Display, marks a whole number as real.
            Self::Real(number) if number.is_finite() => write!(f, "{number:?}"),
            Self::Null | Self::Real(_) => f.write_str("null"),
            Self::Text(text) => quote(f, text),
            Self::List(values) => {
                lines(f, depth, ['[', ']'], values, |f, value| value.write(f, depth + 1))
            }
            Self::Object(fields) => lines(f, depth, ['{', '}'], fields, |f, (name, value)| {
                quote(f, name)?;
                f.write_str(": ")?;
                value.write(f, depth + 1)
            }),
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

/// Writes one indented line for each item.
fn lines<T>(
    f: &mut fmt::Formatter<'_>,
    depth: usize,
    [open, close]: [char; 2],
    values: &[T],
    each: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    f.write_char(open)?;
    for (i, value) in values.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        write!(f, "{comma}\n{:1$}", "", 2 * (depth + 1))?;
        each(f, value)?;
    }
    if !values.is_empty() {
        write!(f, "\n{:1$}", "", 2 * depth)?;
    }
    f.write_char(close)
}

fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_parser_reads_the_output() {
        let value = Json::Object(vec![
            ("text", "a \"quoted\" \\ line\nµ".into()),
            ("numbers", [1.0, 0.5, 1e-9, 1e300].into_iter().collect()),
            ("whole", u64::MAX.into()),
            ("none", None::<u64>.into()),
            ("nan", f64::NAN.into()),
            ("empty", Json::List(Vec::new())),
        ]);
        let read: serde_json::Value = serde_json::from_str(&value.to_string()).unwrap();
        assert_eq!(read["text"], "a \"quoted\" \\ line\nµ");
        assert_eq!(read["numbers"][2], 1e-9);
        assert_eq!(read["whole"], u64::MAX);
        assert!(read["none"].is_null() && read["nan"].is_null());
        assert_eq!(read["empty"].as_array().unwrap().len(), 0);
    }
}
