//! Files that no cache of the same types has written: two of their keys are one key to the reader, or
//! entries cannot be read.

use super::{Builder, SECOND, Texts, saved, text};
use coeval::{Cache, ManualClock, RestoreError, Terms};
use std::hash::{Hash, Hasher};
use std::io::{self, Cursor};
use std::time::Duration;

/// Keys that are equal if they differ in the last digit only.
#[derive(Clone, Debug)]
struct Tens(u64);

impl<'de> serde::Deserialize<'de> for Tens {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self)
    }
}

impl PartialEq for Tens {
    fn eq(&self, other: &Self) -> bool {
        self.0 / 10 == other.0 / 10
    }
}

impl Eq for Tens {}

impl Hash for Tens {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0 / 10).hash(state);
    }
}

/// The newest version of a key is restored, whichever the file has first, and with whatever terms.
#[test]
fn of_equal_keys_the_newest_is_restored() {
    let lasting = || Terms::new().time_to_live(SECOND * 1_000);
    for hottest in 0..3 {
        for has_terms in [false, true] {
            let cache: Texts = Cache::builder().max_capacity(100).build();
            for key in 0..300 {
                // Of ten keys, the one that ends with 7 is written last.
                let key = key / 10 * 10 + (key % 10 + 8) % 10;
                if key >= 30 {
                    continue;
                }
                match has_terms && key % 2 == 0 {
                    true => _ = cache.batch().insert_with(key, text(key), lasting()).commit(),
                    false => _ = cache.insert(key, text(key)),
                }
            }
            for key in 0..30 {
                (0..key * hottest % 4).for_each(|_| _ = cache.get(&key));
            }
            let file = saved(&cache);
            let builder = Cache::<Tens, String>::builder().max_capacity(100);
            let (again, report) = builder.restore_from(Cursor::new(file)).unwrap();
            assert!(report.is_whole());
            assert_eq!(again.len(), 3);
            for ten in 0..3 {
                let newest = ten * 10 + 7;
                let found = again.get_versioned(&Tens(ten * 10));
                assert_eq!(found, cache.get_versioned(&newest), "hottest {hottest}");
            }
        }
    }
}

/// As in the whole form: what has expired is left out, and what cannot be read is counted.
#[test]
fn entries_that_cannot_be_read_are_counted_while_in_use() {
    let clock = ManualClock::new();
    let numbers = Cache::<u64, u64>::builder().manual_clock(&clock).build();
    (0..10).for_each(|key| _ = numbers.insert(key, key));
    let file = numbers.save_to(Vec::new()).unwrap().0;
    let builder: Builder = Cache::builder();
    let (again, restoring) = builder.restore_later_from(Cursor::new(file)).unwrap();
    let report = restoring.run().unwrap();
    assert_eq!((report.restored, report.unreadable, report.is_whole()), (1, 9, false));
    assert_eq!(again.get(&0), Some(String::new()));
    let words = report.to_string();
    assert!(words.starts_with("1 entries restored of v10, saved "), "{words}");
    assert!(
        words.ends_with("; 0 expired, 0 left out; 9 unreadable, 0 broken blocks with 0 entries")
    );
}

/// Large groups that lack a member are restored at the end, each as a whole, in several steps.
#[test]
fn large_groups_that_lack_a_member_take_several_steps() {
    const SIZE: u64 = 2_000;
    let cache = Texts::new();
    for group in 0..2 {
        let mut batch = cache.batch_mut();
        for key in group * SIZE..(group + 1) * SIZE {
            batch.insert(key, text(key) + &"y".repeat(200));
        }
        batch.commit();
    }
    let mut file = saved(&cache);
    for quarter in [1, 3] {
        let middle = file.len() / 4 * quarter;
        file[middle] ^= 1;
    }
    let (again, mut restoring) = Texts::builder().restore_later_from(Cursor::new(file)).unwrap();
    let mut lengths = vec![0];
    while restoring.step().unwrap() {
        lengths.push(again.len());
    }
    lengths.dedup();
    let report = *restoring.report();
    assert_eq!((lengths.len(), report.broken_blocks), (3, 2), "{lengths:?}, {report}");
    assert!(lengths[1] > 1_024 && lengths[2] - lengths[1] > 1_024, "{lengths:?}");
    assert_eq!(report.restored + report.lost.unwrap(), 2 * SIZE);
    for group in 0..2 {
        let versions =
            (group * SIZE..(group + 1) * SIZE).filter_map(|key| again.get_versioned(&key));
        let mut versions: Vec<_> = versions.map(|(_, version)| version).collect();
        versions.dedup();
        assert_eq!(versions.len(), 1, "group {group}");
    }
    assert!(again.iter().all(|(key, value)| cache.get(&key) == Some(value)));
}

/// Why a file cannot be restored, in words and with its source.
#[test]
fn refusals_say_why() {
    use std::error::Error;
    struct Broken;
    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is broken"))
        }
    }
    let refused = Texts::builder().restore_from(Broken).map(drop).unwrap_err();
    assert_eq!(refused.to_string(), "the saved cache cannot be read: the disk is broken");
    assert_eq!(refused.source().unwrap().to_string(), "the disk is broken");
    let builder = Texts::builder().time_to_live(Duration::ZERO);
    let refused = builder.restore_from(io::empty()).map(drop).unwrap_err();
    assert!(matches!(refused, RestoreError::Build(_)), "{refused}");
    assert_eq!(refused.to_string(), refused.source().unwrap().to_string());
    let refused = Texts::builder().restore_from(io::empty()).map(drop).unwrap_err();
    assert!(refused.source().is_none(), "{refused}");

    let folder = super::Folder::new("refused");
    let (cache, restored) = Texts::builder().restore_or_empty(folder.file());
    let RestoreError::Io(error) = restored.unwrap_err() else { panic!("there is no file") };
    assert_eq!((error.kind(), cache.len()), (io::ErrorKind::NotFound, 0));
    cache.insert(1, text(1));
    cache.save(folder.file()).unwrap();
    let (again, restored) = Texts::builder().restore_or_empty(folder.file());
    assert_eq!((restored.unwrap().restored, again.get(&1)), (1, Some(text(1))));
}
