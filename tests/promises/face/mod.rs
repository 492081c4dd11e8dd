//! Promise: the programs that users write first compile as they are written, and do what they say.

mod batch;
mod building;
mod loading;
mod many;
mod traits;
mod transactions;
