//! Promise: the programs that users write first compile as they are written, and do what they say.

mod batch;
mod building;
mod load_each;
mod loading;
mod many;
mod printed;
mod traits;
mod transactions;
mod typed;
