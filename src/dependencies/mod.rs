//! Whether a value that was found is valid: its deadline has not come, none of its tags was
//! invalidated, and what it was derived from is as it was.

mod lookup;
mod moment;
mod ties;
mod validity;
mod walk;

pub use moment::Moment;
pub use ties::BondsBuilder;
pub use walk::{DependencyWalk, WalkOverlay};
