//! Recorded traces: a zstd stream of little-endian `u64` keys, one per request, in order.

use std::{
    fmt, fs, io,
    io::Read,
    path::{Path, PathBuf},
};

use ruzstd::decoding::StreamingDecoder;

/// A trace with more requests than this is refused, because a damaged length field must not fill
/// the memory.
const MOST_REQUESTS: u64 = 1 << 27;

/// Why a trace could not be read. Prints as one line that names the file.
#[derive(Debug)]
pub struct TraceError {
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Unreadable(io::Error),
    Empty,
    NotZstd(String),
    Broken(String),
    Checksum,
    PartOfAKey(usize),
    TooLong,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trace {}: ", self.path.display())?;
        match &self.problem {
            Problem::Unreadable(error) => write!(f, "cannot be read: {error}"),
            Problem::Empty => write!(f, "holds no keys"),
            Problem::NotZstd(why) => write!(f, "is not a zstd stream: {why}"),
            Problem::Broken(why) => write!(f, "is truncated or damaged: {why}"),
            Problem::Checksum => write!(f, "is damaged: its checksum does not match its content"),
            Problem::PartOfAKey(rest) => {
                write!(f, "is truncated: {rest} bytes are left over after the last 8-byte key")
            }
            Problem::TooLong => write!(f, "holds more than {MOST_REQUESTS} requests"),
        }
    }
}

impl std::error::Error for TraceError {}

/// Reads all keys of the trace at `path`.
pub fn read_keys(path: &Path) -> Result<Vec<u64>, TraceError> {
    let fail = |problem| TraceError { path: path.to_owned(), problem };
    let compressed = fs::read(path).map_err(|error| fail(Problem::Unreadable(error)))?;
    decode(&compressed).map_err(fail)
}

/// Decodes every frame of `compressed` and splits the content into keys.
fn decode(compressed: &[u8]) -> Result<Vec<u64>, Problem> {
    if compressed.is_empty() {
        return Err(Problem::Empty);
    }
    let mut bytes = Vec::new();
    let mut rest = compressed;
    while !rest.is_empty() {
        decode_frame(&mut rest, &mut bytes)?;
    }
    let (keys, left_over) = bytes.as_chunks::<8>();
    match (keys.len(), left_over.len()) {
        (0, 0) => Err(Problem::Empty),
        (_, 0) => Ok(keys.iter().map(|key| u64::from_le_bytes(*key)).collect()),
        (_, rest) => Err(Problem::PartOfAKey(rest)),
    }
}

/// Decodes one frame, and moves `source` past its end.
fn decode_frame(source: &mut &[u8], bytes: &mut Vec<u8>) -> Result<(), Problem> {
    let mut frame =
        StreamingDecoder::new(source).map_err(|error| Problem::NotZstd(error.to_string()))?;
    let room = (MOST_REQUESTS * 8).saturating_sub(bytes.len() as u64);
    let read = (&mut frame).take(room + 1).read_to_end(bytes);
    let read = read.map_err(|error| Problem::Broken(error.to_string()))?;
    if read as u64 > room {
        return Err(Problem::TooLong);
    }
    let stated = frame.decoder.get_checksum_from_data();
    if stated.is_some() && stated != frame.decoder.get_calculated_checksum() {
        return Err(Problem::Checksum);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    fn packed(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    fn keys(n: u64) -> Vec<u8> {
        (0..n).flat_map(u64::to_le_bytes).collect()
    }

    fn problem_of(compressed: &[u8]) -> String {
        let problem = decode(compressed).unwrap_err();
        TraceError { path: "t.keys.zst".into(), problem }.to_string()
    }

    #[test]
    fn keys_come_back_in_order() {
        assert_eq!(decode(&packed(&keys(5000))).unwrap(), (0..5000).collect::<Vec<_>>());
    }

    #[test]
    fn frames_are_read_one_after_the_other() {
        let two = [packed(&keys(3)), packed(&keys(2))].concat();
        assert_eq!(decode(&two).unwrap(), [0, 1, 2, 0, 1]);
    }

    #[test]
    fn an_empty_file_and_an_empty_stream_hold_no_keys() {
        assert!(problem_of(&[]).contains("holds no keys"));
        assert!(problem_of(&packed(&[])).contains("holds no keys"));
    }

    #[test]
    fn text_is_not_a_zstd_stream() {
        assert!(problem_of(b"key,value\n1,2\n").contains("not a zstd stream"));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let whole = packed(&keys(300));
        for cut in 1..whole.len() {
            decode(&whole[..cut]).expect_err("a truncated stream was accepted");
        }
    }

    #[test]
    fn a_part_of_a_key_is_reported() {
        assert!(problem_of(&packed(&keys(3)[..21])).contains("5 bytes are left over"));
    }

    #[test]
    fn bytes_after_the_stream_are_not_ignored() {
        let mut followed = packed(&keys(3));
        followed.extend(b"rubbish!");
        assert!(problem_of(&followed).contains("not a zstd stream"));
    }
}
