//! A cache is saved to a file, as of one instant.

use super::builder::Builder;
use super::cache::Cache;
use crate::chain::Weight;
use crate::engine::{SavedTerms, ToRestore, ToSave};
use crate::policy::Rank;
use crate::reclaim::Reclaim;
use crate::relation::Tag;
use crate::saved::{self, EarlyFile, Groups, LONGEST_SCHEMA, Writer, random_id};
use crate::version::Version;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hash};
use std::io::{self, BufWriter, Write};
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// How many bytes go to the system at a time: with large parts, it takes less for each page.
const AT_ONCE: usize = 1 << 20;

/// What was saved; the result of [`Cache::save`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SaveReport {
    /// The version that the file shows.
    pub version: Version,
    /// The entries in the file.
    pub entries: u64,
    /// Derived values, which are not saved.
    pub derived: u64,
    /// The bytes of the file.
    pub bytes: u64,
}

impl<K, V, S, R> Builder<K, V, S, R> {
    /// Names the types of keys and values, for the files to which the cache is
    /// [saved](Cache::save). A cache [restores](Self::restore) only files with its own name. Change
    /// the name whenever you change one of the types, because the file itself does not describe
    /// them. Without this setting, the name is empty.
    ///
    /// # Panics
    /// Panics if the name has more than 4,096 bytes.
    #[must_use]
    pub fn schema(mut self, name: &str) -> Self {
        assert!(name.len() <= LONGEST_SCHEMA, "the name of a schema has at most 4,096 bytes");
        self.settings.schema = name.into();
        self
    }
}

/// # Saving
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Saves all entries to a file, from which [`Builder::restore`] makes a cache that is warm at
    /// once. The file shows one instant: a [view](Self::view) is open meanwhile, and no other
    /// operation waits or is delayed.
    ///
    /// The file has the keys, the values and their versions, the remaining times, the tags, the
    /// weights, and the order in which the entries would be evicted. It does not have
    /// [derived](Self::derive) values. `docs/saved-format.md` specifies the format.
    ///
    /// The data goes to a temporary file beside `path`, which is flushed to the disk and then takes
    /// the name `path`. So a file of this name is always whole, whenever the program or the machine
    /// stops. A stop in the middle may leave the temporary file, `.NAME.NUMBER.tmp`, which nothing
    /// uses or removes later. Several threads may save to one `path`: the last one to finish wins.
    ///
    /// O(n). For each entry, it needs about 45 bytes of memory while it runs. In a cache with a
    /// [bound](Builder::max_capacity) it first visits all entries under one guard, during which no
    /// thread reclaims memory. As long as the view is open, it keeps what it shows.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = std::env::temp_dir().join(format!("coeval-doc-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// # let path = folder.join("users.cache");
    /// use coeval::Cache;
    ///
    /// let builder = || Cache::<u64, String>::builder().max_capacity(1_000).schema("users 1");
    /// let cache = builder().build();
    /// let version = cache.insert(7, "Ada".to_string());
    /// let saved = cache.save(&path)?;
    /// assert_eq!((saved.entries, saved.version), (1, version));
    ///
    /// let (cache, report) = builder().restore(&path)?;
    /// assert_eq!(cache.get_versioned(&7), Some(("Ada".to_string(), version)));
    /// assert!(report.is_whole());
    /// # std::fs::remove_dir_all(&folder)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of the file system, and those of `Serialize` (as [`io::ErrorKind::InvalidData`]). The
    /// former file of this name is unchanged then.
    ///
    /// # Panics
    /// Panics if `Serialize` does. The former file is unchanged then.
    #[track_caller]
    pub fn save(&self, path: impl AsRef<Path>) -> io::Result<SaveReport>
    where
        K: Serialize,
        V: Serialize,
    {
        let path = path.as_ref();
        let temporary = Temporary::beside(path)?;
        let out = BufWriter::with_capacity(AT_ONCE, EarlyFile::new(&temporary.file));
        let (out, report) = self.save_to(out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        temporary.rename(path)?;
        Ok(report)
    }

    /// Writes what [`save`](Self::save) puts into a file, and returns the writer.
    ///
    /// # Errors
    /// Those of the writer, and those of `Serialize`.
    ///
    /// # Panics
    /// Panics if `Serialize` does.
    #[track_caller]
    pub fn save_to<W: Write>(&self, out: W) -> io::Result<(W, SaveReport)>
    where
        K: Serialize,
        V: Serialize,
    {
        let engine = self.engine();
        let view = engine.open_view();
        let snapshot = view.snapshot();
        snapshot.opened_by(Location::caller());
        let (version, mut derived) = (Version::from_u64(snapshot.version()), 0);
        let header = saved::Header {
            id: random_id(),
            version: version.get(),
            saved_at: nanos_since_1970(),
            schema: engine.schema().to_owned(),
        };
        let mut writer = Writer::new(out, &header)?;
        let keys = engine.keys_by_heat(snapshot);
        writer.groups(&Groups::among(keys.iter().map(|(.., version)| version.get()).collect()))?;
        for (at, (key, ..)) in keys.iter().enumerate() {
            match engine.to_save(snapshot, &keys, at) {
                ToSave::Value(value, terms) => {
                    writer.entry(|block| encode(block, *key, value, &terms))?
                }
                ToSave::Derived => derived += 1,
                ToSave::Absent => {}
            }
        }
        let (out, entries, bytes) = writer.finish()?;
        Ok((out, SaveReport { version, entries, derived, bytes }))
    }
}

/// A bit beside the number of a rank: a caller has given the weight.
const GIVEN: u8 = 1 << 7;

/// The terms of an entry in a file.
type Encoded<T> = (u64, u8, u32, Option<u64>, Option<u64>, u64, Option<u64>, Vec<Result<u64, T>>);

fn encode<K: Serialize, V: Serialize>(
    block: Vec<u8>,
    key: &K,
    value: &V,
    terms: &SavedTerms,
) -> io::Result<Vec<u8>> {
    let SavedTerms { version, rank, weight, left, end, idle, refresh, ref tags } = *terms;
    let tags = tags.iter().map(Tag::name).collect();
    let rank = rank.number() | if weight.is_given { GIVEN } else { 0 };
    let terms: Encoded<&str> = (version.get(), rank, weight.amount, left, end, idle, refresh, tags);
    let error = |error: postcard::Error| io::Error::new(io::ErrorKind::InvalidData, error);
    let block = postcard::to_extend(&terms, block).map_err(error)?;
    let block = postcard::to_extend(key, block).map_err(error)?;
    postcard::to_extend(value, block).map_err(error)
}

/// The last terms of an entry that has no others than a version, a rank and a weight.
const PLAIN: [u8; 5] = [0; 5];

/// Returns the entry in these bytes, unless they are none.
#[inline]
pub(super) fn decode<K, V>(bytes: &[u8]) -> Option<ToRestore<K, V>>
where
    K: DeserializeOwned,
    V: DeserializeOwned,
{
    let (first, rest) = postcard::take_from_bytes::<(u64, u8, u32)>(bytes).ok()?;
    let (version, (rank, weight)) = (Version::from_u64(first.0), decode_rank(first.1, first.2));
    let (terms, rest) = match rest.strip_prefix(&PLAIN) {
        Some(rest) => (None, rest),
        None => decode_terms(bytes)?,
    };
    let (key, rest) = postcard::take_from_bytes(rest).ok()?;
    let (value, rest) = postcard::take_from_bytes(rest).ok()?;
    let entry = ToRestore { key, value, version, rank, weight, terms };
    rest.is_empty().then_some(entry)
}

/// Returns the rank, and the weight, which is marked beside the rank if a caller has given it.
fn decode_rank(rank: u8, amount: u32) -> (Rank, Weight) {
    (Rank::from_number(rank & !GIVEN), Weight { amount, is_given: rank & GIVEN != 0 })
}

/// Returns the terms at the beginning of these bytes, and the rest.
#[inline(never)]
fn decode_terms(bytes: &[u8]) -> Option<(Option<Box<SavedTerms>>, &[u8])> {
    let (terms, rest) = postcard::take_from_bytes::<Encoded<String>>(bytes).ok()?;
    let (version, rank, weight, left, end, idle, refresh, tags) = terms;
    let tags = tags.into_iter().map(|tag| tag.map_or_else(Tag::from, Tag::from)).collect();
    let (version, (rank, weight)) = (Version::from_u64(version), decode_rank(rank, weight));
    let terms = SavedTerms { version, rank, weight, left, end, idle, refresh, tags };
    Some((Some(Box::new(terms)), rest))
}

pub(super) fn nanos_since_1970() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A new file beside another one. It is removed unless it is renamed.
struct Temporary {
    file: File,
    path: PathBuf,
    is_kept: bool,
}

impl Temporary {
    fn beside(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{:016x}.tmp", random_id()));
        let path = path.with_file_name(temporary);
        Ok(Self { file: File::create_new(&path)?, path, is_kept: false })
    }

    /// Gives the file, which was flushed to the disk, its final name.
    fn rename(mut self, to: &Path) -> io::Result<()> {
        fs::rename(&self.path, to)?;
        self.is_kept = true;
        // The name itself must reach the disk, too. Systems that cannot open folders need no call.
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
        match File::open(folder.unwrap_or(Path::new("."))) {
            Ok(folder) if cfg!(unix) => folder.sync_all(),
            _ => Ok(()),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}
