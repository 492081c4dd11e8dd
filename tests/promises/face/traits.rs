//! The traits that users expect of each public type. Most of this is checked by the compiler.

use coeval::*;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::panic::{RefUnwindSafe, UnwindSafe};

const fn send<T: Send>() {}
const fn sync<T: Sync>() {}
const fn both<T: Send + Sync + Unpin>() {}
const fn unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}
const fn debug<T: Debug>() {}
const fn value<T: Clone + Debug + PartialEq + Eq + Hash>() {}
const fn ordered<T: Copy + Ord + Debug + Hash>() {}
const fn shown<T: Display>() {}
const fn default<T: Default>() {}
const fn error<T: std::error::Error + Send + Sync + 'static>() {}

type C = Cache<u64, String>;
/// Not `Debug`, not `Clone`.
#[allow(dead_code)]
struct Plain;

const _: () = {
    // Threads and tasks share a cache, and pass on what refers to it.
    both::<C>();
    both::<WeakCache<u64, String>>();
    both::<View<u64, String>>();
    both::<Lease<u64, String>>();
    both::<Timeline>();
    send::<Monitor<u64, String>>();
    send::<Builder<u64, String>>();
    send::<Batch<'_, u64, String>>();
    send::<BatchMut<'_, u64, String>>();
    sync::<Batch<'_, u64, String>>();
    both::<Domain>();
    both::<DomainView>();
    send::<DomainBatch<'_>>();
    send::<DomainTransaction<'_>>();
    both::<ForeignCache<String>>();
    both::<Stats>();
    both::<Event>();
    both::<Version>();
    both::<Tag>();
    both::<Terms>();
    both::<Report>();
    both::<ManualClock>();
    both::<Conflict>();
    both::<Outdated<String>>();
    both::<Committed<String>>();
    both::<RemovalCause>();
    send::<Job>();
    #[cfg(feature = "async")]
    send::<Task>();

    unwind_safe::<C>();
    unwind_safe::<View<u64, String>>();
    unwind_safe::<Domain>();
    unwind_safe::<DomainView>();

    // Whatever keys and values are, all types can be printed.
    debug::<Cache<u64, Plain>>();
    debug::<View<u64, Plain>>();
    debug::<Pinned<'_, u64, Plain, RandomState, reclaim::Asymmetric>>();
    debug::<Batch<'_, u64, Plain>>();
    debug::<BatchMut<'_, u64, Plain>>();
    debug::<Builder<u64, Plain>>();
    debug::<Iter<'_, u64, Plain>>();
    debug::<Lease<u64, Plain>>();
    debug::<Monitor<u64, Plain>>();
    debug::<Related<u64, Plain>>();
    debug::<Scope<'_, u64, Plain>>();
    debug::<Settings<u64, Plain>>();
    debug::<Transaction<'_, u64, Plain>>();
    debug::<WeakCache<u64, Plain>>();
    debug::<Outdated<Plain>>();
    debug::<Conflict>();
    debug::<Timeline>();
    debug::<ManualClock>();
    debug::<RandomState>();

    value::<BuildError>();
    value::<Committed<u64>>();
    value::<Event>();
    value::<EventKind>();
    value::<Finding<'_, u64>>();
    value::<LoadError<String>>();
    value::<Removals>();
    value::<Repair>();
    value::<Report>();
    value::<Stats>();
    value::<Tag>();
    value::<Terms>();
    value::<TransactError<String>>();
    ordered::<EventKind>();
    ordered::<RemovalCause>();
    ordered::<Version>();

    shown::<BuildError>();
    shown::<Conflict>();
    shown::<Event>();
    shown::<EventKind>();
    shown::<Finding<'_, u64>>();
    shown::<LoadError<String>>();
    shown::<Outdated<Plain>>();
    shown::<RemovalCause>();
    shown::<Report>();
    shown::<Stats>();
    shown::<Tag>();
    shown::<Timeline>();
    shown::<TransactError<String>>();
    shown::<Version>();

    default::<C>();
    default::<Builder<u64, Plain>>();
    default::<ManualClock>();
    default::<RandomState>();
    default::<Removals>();
    default::<Report>();
    default::<Stats>();
    default::<Terms>();
    default::<Version>();
    default::<WeakCache<u64, Plain>>();

    error::<ForeignCache<(u64, String)>>();
    error::<BuildError>();
    error::<Conflict>();
    error::<LoadError<std::io::Error>>();
    error::<Outdated<String>>();
    error::<TransactError<std::io::Error>>();
};

#[test]
fn a_cache_is_made_of_what_it_is_to_hold() {
    let cache = Cache::from([("a", 1), ("b", 2), ("a", 3)]);
    assert_eq!(cache.get_many(["a", "b"]), [Some(3), Some(2)]);
    let map = HashMap::from([(1, "one"), (2, "two")]);
    let mut cache: Cache<i32, &str> = map.into_iter().collect();
    cache.extend(BTreeMap::from([(2, "dos"), (3, "tres")]));
    assert_eq!(cache.get_many(1..=3), [Some("one"), Some("dos"), Some("tres")]);
    let none: Cache<u64, u64> = Cache::from([]);
    assert!(none.is_empty());
    let built: C = Builder::default().max_capacity(1).build();
    built.insert(1, "one".to_string());
    assert_eq!(built.len(), 1);
}

#[test]
fn contents_are_printed() {
    let cache = Cache::from([(7, vec!["a", "b"])]);
    assert_eq!(format!("{:?}", cache.contents()), r#"{7: ["a", "b"]}"#);
    let view = cache.view();
    cache.invalidate_all();
    assert_eq!(format!("{:?} {:?}", view.contents(), cache.contents()), r#"{7: ["a", "b"]} {}"#);
    assert!(format!("{cache:?}").contains("len: 0"));
}

#[test]
fn values_are_compared_and_counted() {
    let cache = Cache::from([(1, 1)]);
    assert_eq!(cache.stats(), cache.stats());
    assert_ne!(cache.stats(), Stats::default());
    assert_eq!(HashSet::from([cache.stats(), cache.stats()]).len(), 1);
    let (first, second) = (cache.version(), cache.insert(1, 2));
    assert!(Version::default() < first && first < second);
    assert_eq!(u64::from(second), second.get());
    let mut causes = BTreeMap::new();
    *causes.entry(RemovalCause::Explicit).or_insert(0) += 1;
    assert_eq!(causes[&RemovalCause::Explicit], 1);
    let text = String::from("a");
    let tags =
        [Tag::from(&text), Tag::from("a"), Tag::from(text.as_str()), Tag::from(Box::from("a"))];
    assert_eq!(HashSet::from(tags).len(), 1);
    assert_eq!(Tag::from(std::borrow::Cow::Borrowed("a")), Tag::from(text));
}
