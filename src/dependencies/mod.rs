//! Whether a value is valid: its deadline has not passed, none of its tags was invalidated, and the
//! entries that it was derived from are unchanged.

mod lookup;
mod moment;
mod ties;
mod validity;
mod walk;

pub use moment::Moment;
pub use ties::BondsBuilder;
pub use walk::{DependencyWalk, WalkOverlay};
