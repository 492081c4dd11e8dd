//! Promise: a cache that was saved is restored as of one instant, with versions, times, tags, weights
//! and the order of eviction. Whatever happens to the file, no entry is restored that was not saved.

#[path = "saved/forged.rs"]
mod forged;
#[path = "saved/later.rs"]
mod later;
#[allow(dead_code)]
#[path = "common/random.rs"]
mod random;
#[cfg(coeval_internals)]
#[allow(dead_code)]
#[path = "common/steps.rs"]
mod steps;
#[cfg(coeval_internals)]
#[allow(dead_code)]
#[path = "common/turns.rs"]
mod turns;

use coeval::{Cache, ManualClock, RestoreError, RestoreReport, Tag, Terms};
use random::Random;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

type Texts = Cache<u64, String>;
type Builder = coeval::Builder<u64, String>;

const SECOND: Duration = Duration::from_secs(1);

/// A folder that is removed with this.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("coeval-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("cache")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn saved(cache: &Texts) -> Vec<u8> {
    cache.save_to(Vec::new()).unwrap().0
}

fn restore(builder: Builder, file: &[u8]) -> (Texts, RestoreReport) {
    builder.restore_from(file).unwrap()
}

fn text(key: u64) -> String {
    format!("value {key} {}", "x".repeat(key as usize % 50))
}

#[test]
fn keys_values_and_versions_return() {
    let cache = Texts::new();
    (0..500).for_each(|key| _ = cache.insert(key, text(key)));
    let mut batch = cache.batch_mut();
    (100..110).for_each(|key| _ = batch.insert(key, "one commit".to_owned()));
    let group = batch.commit();
    cache.remove(&7);
    let last = cache.version();
    let (again, report) = restore(Cache::builder(), &saved(&cache));
    assert_eq!((report.restored, report.version, report.is_whole()), (499, last, true));
    for key in 0..500 {
        assert_eq!(again.get_versioned(&key), cache.get_versioned(&key));
    }
    assert_eq!(again.get_versioned(&105).unwrap().1, group);
    assert_eq!((again.version(), again.len()), (last, 499));
    assert!(again.insert(7, text(7)) > last);
    assert!(again.view_at(last).is_none());
}

#[test]
fn times_tags_and_weights_return() {
    let clock = ManualClock::new();
    let builder = || {
        let weigher = |_: &u64, value: &String| value.len() as u32;
        Cache::builder().max_capacity(1_000).weigher(weigher).manual_clock(&clock)
    };
    let cache = builder().build();
    let mut batch = cache.batch_mut();
    batch.insert_with(1, text(1), Terms::new().time_to_live(SECOND * 10).weight(300));
    batch.insert_with(2, text(2), Terms::new().time_to_idle(SECOND * 10).tags(["a", "b"]));
    batch.insert_with(3, text(3), Terms::new().tags([Tag::from(7)]).refresh_after(SECOND * 10));
    batch.insert_with(4, text(4), Terms::new().weight(0));
    batch.commit();
    clock.advance(SECOND * 4);
    cache.get(&2);
    clock.advance(SECOND);
    let file = saved(&cache);
    clock.advance(SECOND * 100); // A manual clock says nothing of the time that has passed.
    let (again, _) = restore(builder(), &file);
    assert_eq!(again.weighted_size(), cache.weighted_size());
    let left = |key| again.time_to_live_left(&key).map(|left| left.as_secs_f64().round());
    assert_eq!((left(1), left(2)), (Some(5.0), Some(9.0)));
    assert_eq!(again.time_to_live_left(&4), Some(Duration::MAX));
    clock.advance(SECOND * 5);
    assert_eq!((again.get(&1), again.get(&2)), (None, Some(text(2))));
    assert_eq!(again.get_with(3, || "again".to_owned()), "again", "it was due after 5 seconds");
    clock.advance(SECOND * 9);
    assert_eq!(again.get(&2), Some(text(2)), "a use keeps it");
    again.invalidate_tag("b");
    assert_eq!((again.get(&2), again.get(&3).as_deref()), (None, Some("again")));
    again.invalidate_tag(7);
    assert_eq!((again.get(&3), again.get(&4)), (None, Some(text(4))));
    // A weight that was given is one after the restart, too.
    again.upsert(4, |_| text(5));
    assert_eq!(again.explain(&4).weight, 0);
}

#[test]
fn a_weight_of_the_weigher_is_no_given_one_after_a_restart() {
    let builder = || {
        let weigher = |_: &u64, value: &String| value.len() as u32;
        Cache::builder().max_capacity(1_000).weigher(weigher)
    };
    let cache = builder().build();
    cache.insert(1, "four".to_owned());
    cache.batch().insert_tagged(2, "four".to_owned(), &["tag".into()]).commit();
    let (again, _) = restore(builder(), &saved(&cache));
    for key in [1, 2] {
        again.upsert(key, |value| format!("{}teen", value.unwrap()));
        assert_eq!(again.explain(&key).weight, 8);
    }
}

#[test]
fn the_time_in_between_counts() {
    let cache = Texts::new();
    cache.insert_with_ttl(1, text(1), Duration::from_millis(30));
    cache.insert_with_ttl(2, text(2), SECOND * 1_000);
    let file = saved(&cache);
    std::thread::sleep(Duration::from_millis(40));
    let (again, report) = restore(Cache::builder(), &file);
    assert_eq!((report.restored, report.expired, again.get(&1)), (1, 1, None));
    let left = again.time_to_live_left(&2).unwrap();
    assert!(left <= SECOND * 1_000 - Duration::from_millis(40), "{left:?}");
    assert!(report.age >= Duration::from_millis(40) && report.is_whole());
}

/// Waits before it reads on.
struct Slow<'f>(&'f [u8], Duration);

impl std::io::Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        std::thread::sleep(self.1);
        self.0.read(buffer)
    }
}

#[test]
fn the_time_that_reading_takes_counts() {
    let cache = Texts::new();
    cache.insert_with_ttl(1, text(1), SECOND / 10);
    cache.insert_with_ttl(2, text(2), SECOND * 60);
    let file = saved(&cache);
    let slow = Slow(&file, SECOND / 5);
    let (restored, report) = Texts::builder().restore_from(slow).unwrap();
    assert_eq!((report.restored, report.expired, restored.len()), (1, 1, 1));
    let left = restored.time_to_live_left(&2).unwrap();
    assert!(left < SECOND * 60 - SECOND / 5, "{left:?}");
}

#[test]
fn the_hottest_return_in_their_order() {
    let cache = Cache::builder().max_capacity(300).build();
    (0..300).for_each(|key| _ = cache.insert(key, text(key)));
    for key in (0..300).step_by(7) {
        (0..key % 4).for_each(|_| _ = cache.get(&key));
    }
    let (file, order) = (saved(&cache), cache.hottest(300));
    let bounded = |bound| restore(Cache::builder().max_capacity(bound), &file);
    assert_eq!(bounded(300).0.hottest(300), order);
    let (small, report) = bounded(40);
    assert_eq!(small.hottest(300), order[..40]);
    assert_eq!((report.restored, report.left_out, small.len()), (40, 260, 40));
    small.insert(1_000, text(1_000));
    assert!(small.len() == 40 && small.peek(&order[0]).is_some());
    assert_eq!(bounded(0).1.left_out, 300);
    // The first ones to leave are those that would have left.
    let (again, _) = bounded(300);
    again.resize(200);
    again.collect();
    assert!(order[..100].iter().all(|key| again.contains_key(key)));
    let (unbounded, report) = restore(Cache::builder(), &file);
    assert_eq!((unbounded.len(), report.left_out), (300, 0));
}

#[test]
fn derived_values_are_derived_again() {
    let cache = Texts::new();
    cache.insert(1, text(1));
    cache.derive(2, |scope| scope.get(&1).unwrap().to_owned() + "!");
    let (file, report) = cache.save_to(Vec::new()).unwrap();
    assert_eq!((report.entries, report.derived, report.bytes), (1, 1, file.len() as u64));
    let (again, report) = restore(Cache::builder(), &file);
    assert_eq!((again.len(), again.get(&2), report.is_whole()), (1, None, true));
}

#[test]
fn another_schema_is_refused_by_name() {
    let cache = Cache::builder().schema("users 1").build();
    cache.insert(1, text(1));
    let file = saved(&cache);
    let with = |schema: &str| Builder::default().schema(schema).restore_from(&file[..]);
    assert_eq!(with("users 1").unwrap().0.len(), 1);
    let error = with("users 2").unwrap_err();
    let message = r#"the saved cache has the schema "users 1", not "users 2""#;
    assert_eq!(error.to_string(), message);
    assert!(matches!(with(""), Err(RestoreError::Schema { .. })));
    let other = |file: &[u8]| Builder::default().restore_from(file).unwrap_err();
    assert!(matches!(other(b""), RestoreError::NotSaved));
    assert!(matches!(other(b"{\"json\": [1, 2, 3]}"), RestoreError::NotSaved));
    let newer = [&file[..8], &[4, 0, 0, 0], &file[12..]].concat();
    assert!(matches!(other(&newer), RestoreError::Format(4)));
}

/// A small file of several blocks, and the cache that it shows.
fn small() -> (Texts, Vec<u8>) {
    let cache = Texts::new();
    for key in 0..40 {
        // About 10 KiB each, so that a block has a few.
        cache.insert(key, text(key) + &"y".repeat(10 << 10));
    }
    cache.insert_tagged(40, text(40), &["tag".into()]);
    cache.insert_with_ttl(41, text(41), SECOND * 10_000);
    let file = saved(&cache);
    (cache, file)
}

/// Checks that all that was restored is true. Returns the report, if anything was.
fn check(cache: &Texts, file: &[u8]) -> Option<RestoreReport> {
    let (again, report) = Builder::default().restore_from(file).ok()?;
    assert_eq!(again.len() as u64, report.restored);
    for (key, value) in &again {
        assert_eq!(cache.get(&key), Some(value));
        assert_eq!(cache.get_versioned(&key).unwrap().1, again.get_versioned(&key).unwrap().1);
    }
    Some(report)
}

#[test]
fn a_file_that_is_cut_off_is_restored_as_far_as_it_goes() {
    let cache = Texts::new();
    (0..8).for_each(|key| _ = cache.insert(key, text(key)));
    let file = saved(&cache);
    for length in 0..file.len() {
        if let Some(report) = check(&cache, &file[..length]) {
            assert!(!report.is_whole() && report.lost.is_none());
        }
    }
    assert!(check(&cache, &file).unwrap().is_whole());
    let (cache, file) = small();
    let report = check(&cache, &file[..file.len() / 2]).unwrap();
    assert!(report.restored > 10 && report.lost.is_none(), "{report}");
}

#[test]
fn a_flipped_bit_loses_one_block() {
    let cache = Texts::new();
    (0..8).for_each(|key| _ = cache.insert(key, text(key)));
    let file = saved(&cache);
    for bit in 0..file.len() * 8 {
        let mut broken = file.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        if let Some(report) = check(&cache, &broken) {
            assert!(!report.is_whole() && report.broken_blocks <= 1, "{report}");
        }
    }
    let (cache, file) = small();
    let mut broken = file.clone();
    broken[file.len() / 2] ^= 4;
    let report = check(&cache, &broken).unwrap();
    assert_eq!((report.broken_blocks, report.lost), (1, Some(42 - report.restored)));
    assert!(report.restored >= 30, "{report}");
}

/// One way to mutilate a file.
fn mutilate(file: &mut Vec<u8>, random: &mut Random) {
    let length = file.len() as u64;
    let at = random.below(length) as usize;
    let some = random.below(1 + (length - at as u64).min(3_000)) as usize;
    match random.below(7) {
        0 => file[at] ^= 1 << random.below(8),
        1 => file[at] = random.below(256) as u8,
        2 => file.truncate(at),
        3 => _ = file.drain(at..at + some),
        4 => file[at..at + some].fill(random.below(256) as u8),
        5 => {
            let part = file[at..at + some].to_vec();
            let to = random.below(length) as usize;
            file.splice(to..to, part);
        }
        _ => {
            let part = file[at..at + some].to_vec();
            let to = random.below(length - some as u64) as usize;
            file[to..to + some].copy_from_slice(&part);
        }
    }
}

#[test]
fn no_mutilated_file_restores_a_wrong_value() {
    let mut random = Random::new(20);
    let cache = Texts::new();
    (0..60).for_each(|key| _ = cache.insert(key, text(key)));
    // So that there is more than one block.
    cache.insert(60, "q".repeat(64 << 10));
    (61..120).for_each(|key| _ = cache.insert(key, text(key)));
    let whole = saved(&cache);
    let (mut broken, mut lost) = (0, 0);
    let least = std::env::var("COEVAL_STRESS").is_ok_and(|stress| stress == "least");
    let files = if least { 1_000 } else { 10_000 };
    for _ in 0..files {
        let mut file = whole.clone();
        for _ in 0..1 + random.below(3) {
            if !file.is_empty() {
                mutilate(&mut file, &mut random);
            }
        }
        match check(&cache, &file) {
            Some(report) => broken += u64::from(!report.is_whole()),
            None => lost += 1,
        }
    }
    assert!(broken > files / 2 && lost < files / 3, "{broken} broken, {lost} lost");
}

#[test]
fn a_save_among_writers_is_one_instant() {
    let folder = Folder::new("instant");
    let (cache, stop) = (Cache::<u64, String>::new(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                let mut batch = cache.batch_mut();
                (0..64).for_each(|key| _ = batch.insert(key, format!("{round}")));
                batch.commit();
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        for _ in 0..20 {
            let report = cache.save(folder.file()).unwrap();
            let (again, restored) = Builder::default().restore(folder.file()).unwrap();
            assert_eq!((restored.version, restored.restored), (report.version, report.entries));
            let first = again.get_versioned(&0);
            assert!((0..64).all(|key| again.get_versioned(&key) == first));
        }
        stop.store(true, Ordering::Relaxed);
    });
    // Nothing else is left beside the file.
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
    assert!(cache.save(folder.0.join("no such folder").join("file")).is_err());
}

/// A value that cannot be serialized.
struct Refuses;

impl serde::Serialize for Refuses {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it refuses"))
    }
}

#[test]
fn a_save_that_fails_leaves_the_former_file() {
    let folder = Folder::new("fails");
    std::fs::write(folder.file(), "the former file").unwrap();
    let cache = Cache::new();
    cache.insert(1, Refuses);
    let error = cache.save(folder.file()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert_eq!(std::fs::read(folder.file()).unwrap(), b"the former file");
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
    assert_eq!(cache.stats().views, 0);
}

#[test]
fn an_entry_of_other_types_is_unreadable() {
    let numbers = Cache::<u64, u64>::new();
    (0..10).for_each(|key| _ = numbers.insert(key, key));
    let file = numbers.save_to(Vec::new()).unwrap().0;
    // The value 0 is an empty text; all others are texts that end too early.
    let (again, report) = restore(Cache::builder(), &file);
    assert_eq!((report.restored, report.unreadable, report.is_whole()), (1, 9, false));
    assert_eq!(again.get(&0), Some(String::new()));
}

fn golden(format: u32) -> PathBuf {
    let name = format!("tests/common/saved-{format}.cache");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A file that an earlier build wrote is read for ever.
#[test]
fn the_golden_files_are_read() {
    (1..=3).for_each(check_golden);
}

fn check_golden(format: u32) {
    let clock = ManualClock::new();
    let builder = Cache::builder().max_capacity(100).weigher(|_: &u64, _: &String| 1);
    let builder = builder.schema("golden").manual_clock(&clock);
    let (cache, report) = builder.restore(golden(format)).unwrap();
    assert_eq!((report.restored, report.version.get(), report.is_whole()), (4, 5, true));
    let version = |key| cache.get_versioned(&key).unwrap().1.get();
    assert_eq!((version(1), version(2), version(3), version(4)), (4, 2, 2, 5));
    assert_eq!(cache.peek(&1).as_deref(), Some("one"));
    assert_eq!((cache.weighted_size(), cache.hottest(1)), (1 + 1 + 7 + 1, vec![3]));
    assert_eq!(cache.time_to_live_left(&2), Some(SECOND * 60));
    cache.invalidate_tag("tenant:7");
    assert_eq!((cache.peek(&3), cache.peek(&4).as_deref()), (None, Some("four")));
    cache.invalidate_tag(7);
    assert!(!cache.contains_key(&4));
}

/// A file of a cache that was written today.
fn golden_of_today() -> Vec<u8> {
    let clock = ManualClock::new();
    let builder = Cache::builder().max_capacity(100).weigher(|_: &u64, _: &String| 1);
    let cache = builder.schema("golden").manual_clock(&clock).build();
    cache.insert(1, "former".to_owned());
    let mut batch = cache.batch_mut();
    batch.insert_with(2, "two".to_owned(), Terms::new().time_to_live(SECOND * 60));
    batch.insert_with(3, "three".to_owned(), Terms::new().tags(["tenant:7"]).weight(7));
    batch.commit();
    cache.invalidate(&9);
    cache.insert(1, "one".to_owned());
    cache.insert_tagged(4, "four".to_owned(), &[7.into()]);
    (0..3).for_each(|_| _ = cache.get(&3));
    saved(&cache)
}

/// What is written today is the golden file, except for what differs in each file: its number, its
/// time, and the checksums over them. A new format gets a golden file of its own.
#[test]
fn the_golden_file_is_what_is_written() {
    let differ = [16..24, 32..40, 46..50, 54..62, 78..82, 88..96, 112..116, 215..223, 239..243];
    let masked = |mut file: Vec<u8>| {
        differ.iter().for_each(|range| file[range.clone()].fill(0));
        file
    };
    assert_eq!(masked(golden_of_today()), masked(std::fs::read(golden(3)).unwrap()));
}

/// A figure of docs/benchmarks.md. `dd` writes the same bytes to the same disk: to a new file, which
/// then takes the name of the former copy, as a save does; or over the former copy, whose place on
/// the disk is used again.
#[test]
#[ignore = "a figure: writes some gigabytes; takes minutes, in optimized code, and needs dd"]
fn saving_is_as_fast_as_the_disk() {
    const ENTRIES: u64 = 1 << 20;
    let (folder, cache) = (Folder::new("rate"), Texts::new());
    let text = |key: u64| format!("{key:016x}").repeat(64);
    (0..ENTRIES).for_each(|key| _ = cache.insert(key, text(key)));
    let (saved, copied) = (folder.file(), folder.0.join("copy"));
    let save = || {
        let begin = std::time::Instant::now();
        let bytes = cache.save(&saved).unwrap().bytes;
        (bytes, begin.elapsed().as_secs_f64())
    };
    let copy = |is_new: bool| {
        let to = if is_new { folder.0.join("new") } else { copied.clone() };
        let mut dd = std::process::Command::new("dd");
        dd.arg(format!("if={}", saved.display())).arg(format!("of={}", to.display()));
        let begin = std::time::Instant::now();
        let status = dd.args(["bs=1M", "conv=fsync", "status=none"]).status().unwrap();
        std::fs::rename(to, &copied).unwrap();
        assert!(status.success());
        begin.elapsed().as_secs_f64()
    };
    save();
    copy(true);
    let mut ratios = [Vec::new(), Vec::new()];
    for round in 0..16 {
        let is_new = round % 4 < 2;
        let (first, (bytes, saving)) = (if round % 2 == 0 { copy(is_new) } else { 0.0 }, save());
        let copying = if round % 2 == 0 { first } else { copy(is_new) };
        let to = if is_new { "a new file" } else { "the same file" };
        println!("{bytes} bytes: saved in {saving:.2} s, copied by dd to {to} in {copying:.2} s");
        ratios[usize::from(!is_new)].push(copying / saving);
    }
    for (mut ratios, to) in ratios.into_iter().zip(["new files", "the same file"]) {
        ratios.sort_by(f64::total_cmp);
        let (least, median, most) = (ratios[0], (ratios[3] + ratios[4]) / 2.0, ratios[7]);
        println!("the rate of save, by that of dd to {to}: {median:.2} ({least:.2} to {most:.2})");
    }
}
