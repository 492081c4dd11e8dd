//! Tests of the policy with a cache that is only a table of entries.

mod concurrent;
mod decisions;
mod model;
mod support;
