//! What the fuzz targets do with their bytes. `ci/fuzz.sh` runs them; the tests of this crate run
//! the committed corpus.

/// The model of the property tests, and the pair of a cache and its model. They take their numbers
/// from `common::random`, which here are the bytes.
#[path = "../../tests/promises/properties"]
#[allow(dead_code)]
mod properties {
    pub mod compare;
    pub mod loads;
    pub mod model;
    pub mod pair;
    pub mod program;
    pub mod state;
    pub mod ties;
    pub mod transact;
}
mod common;

use coeval::reclaim::{Asymmetric, CrossbeamEpoch, Reclaim, Seize};
use coeval_check::{Checker, History};
use common::random::Random;
use properties::pair::Pair;
use properties::program::{Settings, Step};

/// The most steps of a program.
const STEPS: usize = 200;

/// Runs the program that the bytes describe on a cache and on its model, which must agree. The
/// first byte chooses the backend.
pub fn operations(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    match first % 3 {
        0 => agree::<Asymmetric>(bytes),
        1 => agree::<CrossbeamEpoch>(bytes),
        _ => agree::<Seize>(bytes),
    }
}

fn agree<R: Reclaim>(bytes: &[u8]) {
    let mut random = Random::new(bytes);
    let settings = Settings::random(&mut random);
    let mut pair = Pair::<R>::new(&settings);
    for _ in 0..STEPS {
        if random.is_spent() {
            return;
        }
        pair.step(&Step::random(&mut random, &settings));
    }
}

/// Restores a cache from the bytes: as they are, or with the checksums made right, so that what
/// lies behind them is reached. Whatever they are, there is no panic, and what is restored can be
/// saved and restored.
pub fn saved(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let bytes = if first % 2 == 0 { bytes.to_vec() } else { with_right_checksums(bytes) };
    let bounded = || coeval::Cache::<u64, String>::builder().max_capacity(100);
    let Ok((cache, report)) = bounded().restore_from(&bytes[..]) else { return };
    assert!(cache.len() as u64 <= report.restored, "more entries than were restored");
    let input = std::io::Cursor::new(bytes);
    let (again, restoring) = bounded().restore_later_from(input).expect("it was just restored");
    let report = restoring.run().expect("the reader does not fail");
    assert!(again.len() as u64 <= report.restored, "more entries than were restored");
    let (file, _) = cache.save_to(Vec::new()).expect("a vector takes all");
    let (again, report) = bounded().restore_from(&file[..]).expect("it was just saved");
    assert!(report.is_whole(), "{report:?}");
    for (key, value) in cache.view().iter() {
        let found = again.get(key);
        assert!(found.is_none() || found.as_ref() == Some(value), "{key}: {found:?}");
    }
}

/// The file as it would be if its writer had made these bytes (docs/saved-format.md).
fn with_right_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let number = |bytes: &[u8], at: usize| {
        let four = bytes.get(at..at + 4)?;
        Some(u32::from_le_bytes(four.try_into().ok()?) as usize)
    };
    let put = |bytes: &mut Vec<u8>, at: usize, sum: u32| {
        if let Some(place) = bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
    };
    let Some(mut at) = number(&bytes, 12).and_then(|name| name.checked_add(40)) else {
        return bytes;
    };
    if at > bytes.len() {
        return bytes;
    }
    let sum = crc32fast::hash(&bytes[..at]);
    put(&mut bytes, at, sum);
    at += 4;
    while let (Some(length), Some(id)) = (number(&bytes, at + 20), bytes.get(16..24)) {
        let id = id.to_vec();
        let end = (at + 32).saturating_add(length).min(bytes.len());
        let Some(payload) = bytes.get(at + 32..end) else { break };
        let sum = crc32fast::hash(payload);
        bytes[at + 4..at + 12].copy_from_slice(&id);
        put(&mut bytes, at + 24, sum);
        let sum = crc32fast::hash(&bytes[at..at + 28]);
        put(&mut bytes, at + 28, sum);
        at = end;
    }
    bytes
}

/// Parses a history as text, and judges it. Whatever it is, there is no panic, and what can be
/// parsed is told in words and as a picture.
pub fn history(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(history) = text.parse::<History>() else { return };
    let Ok(report) = Checker::new().check(&history) else { return };
    let _ = report.to_string();
    for finding in report.findings.iter().take(4) {
        let _ = (finding.name(), finding.story(), finding.svg());
    }
    let _ = coeval_check::linear::linearizable_keys(&history);
}
