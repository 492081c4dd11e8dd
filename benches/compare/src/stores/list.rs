//! All stores by name, in the order of the tables.

use coeval::reclaim::{Asymmetric, CrossbeamEpoch, Seize};

use super::{Family, Promises, Visit};

macro_rules! stores {
    ($($name:literal => $family:ty,)*) => {
        /// All names, in the order of the tables.
        pub const NAMES: &[&str] = &[$($name),*];

        /// Visits the store with this name.
        pub fn visit<V: Visit>(name: &str, visitor: V) -> Option<V::Output> {
            match name {
                $($name => Some(visitor.visit::<$family>()),)*
                _ => None,
            }
        }
    };
}

stores! {
    "coeval" => super::coeval::Coeval<Asymmetric>,
    "coeval-epoch" => super::coeval::Coeval<CrossbeamEpoch>,
    "coeval-seize" => super::coeval::Coeval<Seize>,
    "coeval-bounded" => super::coeval::Bounded,
    "coeval-view" => super::coeval::Viewed,
    "papaya" => super::papaya::Papaya,
    "papaya-entry" => super::papaya_entry::PapayaEntry,
    "flurry" => super::flurry::Flurry,
    "scc" => super::scc::Scc,
    "dashmap" => super::dashmap::Dash,
    "sharded" => super::sharded::Sharded,
    "rwlock" => super::rwlock::Locked,
    "arcswap-imbl" => super::arcswap::ArcSwapImbl,
    "evmap" => super::evmap::Evmap,
    "concread" => super::concread::Concread,
    "concread-arc" => super::concread_arc::ConcreadArc,
    "moka" => super::moka::Moka,
    "mini-moka" => super::mini_moka::MiniMoka,
    "quick_cache" => super::quick_cache::Quick,
    "foyer" => super::foyer::Foyer,
    "stretto" => super::stretto::Stretto,
    "scc-cache" => super::scc_cache::SccCache,
    "std" => super::std_map::Unsynchronised,
}

/// The promises of the store with this name.
pub fn promises(name: &str) -> Option<Promises> {
    struct Ask;
    impl Visit for Ask {
        type Output = Promises;
        fn visit<F: Family>(self) -> Promises {
            F::PROMISES
        }
    }
    visit(name, Ask)
}
