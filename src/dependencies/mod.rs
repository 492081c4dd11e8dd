//! Whether a value is valid: its deadline has not passed, none of its tags was invalidated, and the
//! entries that it was derived from are unchanged.

mod bonds_builder;
mod lookup;
mod moment;
mod validity;
mod walk;

pub use bonds_builder::BondsBuilder;
pub use moment::Moment;
pub use walk::{DependencyWalk, WalkOverlay};
