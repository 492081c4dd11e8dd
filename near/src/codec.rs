//! From values to the bytes that the server keeps, and back.

use crate::error::CodecError;

/// Writes values as bytes and reads them back. Implement it for a format of your own.
///
/// [`compare_and_set`](crate::NearCache::compare_and_set) compares bytes. It needs a codec that
/// writes equal values as equal bytes.
pub trait Codec<V>: Send + Sync + 'static {
    /// Returns the bytes of a value.
    ///
    /// # Errors
    /// Whatever the format cannot write.
    fn encode(&self, value: &V) -> Result<Vec<u8>, CodecError>;

    /// Returns the value of these bytes, which anybody may have written.
    ///
    /// # Errors
    /// Whatever the format cannot read.
    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError>;
}

/// The bytes as they are, for values of type `Vec<u8>`, and text in UTF-8, for `String`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Codec<Vec<u8>> for Raw {
    fn encode(&self, value: &Vec<u8>) -> Result<Vec<u8>, CodecError> {
        Ok(value.clone())
    }

    fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
        Ok(bytes.to_vec())
    }
}

impl Codec<String> for Raw {
    fn encode(&self, value: &String) -> Result<Vec<u8>, CodecError> {
        Ok(value.clone().into_bytes())
    }

    fn decode(&self, bytes: &[u8]) -> Result<String, CodecError> {
        Ok(std::str::from_utf8(bytes)?.to_owned())
    }
}

/// serde's data model in postcard's format: compact, and without names of fields (feature
/// `postcard`, on by default).
#[cfg(feature = "postcard")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Postcard;

#[cfg(feature = "postcard")]
impl<V: serde::Serialize + serde::de::DeserializeOwned> Codec<V> for Postcard {
    fn encode(&self, value: &V) -> Result<Vec<u8>, CodecError> {
        Ok(postcard::to_stdvec(value)?)
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError> {
        Ok(postcard::from_bytes(bytes)?)
    }
}

/// serde's data model as JSON (feature `json`).
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

#[cfg(feature = "json")]
impl<V: serde::Serialize + serde::de::DeserializeOwned> Codec<V> for Json {
    fn encode(&self, value: &V) -> Result<Vec<u8>, CodecError> {
        Ok(serde_json::to_vec(value)?)
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// The place of a codec that is yet to be chosen; see [`Builder::codec`](crate::Builder::codec).
#[derive(Clone, Copy, Debug)]
pub enum NoCodec {}

#[cfg(test)]
mod tests {
    use super::{Codec, Raw};

    #[test]
    fn text_that_is_none_is_an_error() {
        assert!(Codec::<String>::decode(&Raw, b"\xff").is_err());
        assert_eq!(Codec::<String>::decode(&Raw, "für".as_bytes()).unwrap(), "für");
        assert_eq!(Codec::<Vec<u8>>::decode(&Raw, b"\xff").unwrap(), b"\xff");
    }

    #[cfg(all(feature = "postcard", feature = "json"))]
    #[test]
    fn serde_values_come_back() {
        let value = (7u64, "seven".to_owned());
        let bytes = super::Postcard.encode(&value).unwrap();
        let read: (u64, String) = super::Postcard.decode(&bytes).unwrap();
        assert_eq!(read, value);
        let bytes = super::Json.encode(&value).unwrap();
        assert_eq!(bytes, br#"[7,"seven"]"#);
        let read: (u64, String) = super::Json.decode(&bytes).unwrap();
        assert_eq!(read, value);
        let wrong: Result<(u64, String), _> = super::Json.decode(b"[");
        assert!(wrong.is_err());
    }
}
