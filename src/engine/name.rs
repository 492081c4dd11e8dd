//! The name of a key in messages: its `Debug` output if known, otherwise its hash.

use super::terms::EntryRules;
use std::any::{Any, type_name};
use std::fmt::Debug;
use std::sync::Arc;

/// Returns the name of the key, if the key has one of these types.
macro_rules! name_of_any {
    ($key:expr, $($type:ty),+) => {
        $(if let Some(key) = $key.downcast_ref::<$type>() {
            return Some(name_of(key));
        })+
    };
}

/// Returns the `Debug` output of the key.
pub fn name_of<K: Debug>(key: &K) -> Box<str> {
    format!("{key:?}").into()
}

/// Returns the name of a key whose type is known to have `Debug`. Generic code cannot ask whether a
/// type has it.
fn known(key: &dyn Any) -> Option<Box<str>> {
    name_of_any!(key, String, &'static str, Box<str>, Arc<str>, bool, char);
    name_of_any!(key, u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);
    name_of_any!(key, (u32, u32), (u64, u64), (usize, usize), (i32, i32), (i64, i64));
    name_of_any!(
        key,
        (String, String),
        (String, u64),
        (u64, String),
        Vec<u8>,
        Box<[u8]>,
        Arc<[u8]>
    );
    None
}

impl<K: 'static, V> EntryRules<K, V> {
    /// Returns the name of a key with this hash.
    pub(super) fn name(&self, key: &K, hash: u32) -> Box<str> {
        let given = self.name.map(|name| name(key));
        given.or_else(|| known(key)).unwrap_or_else(|| {
            format!("of type {} with the hash {hash:#010x}", type_name::<K>()).into()
        })
    }
}
