//! A pool whose slots hold values of one type.

use super::{Pool, Shape};
use std::marker::PhantomData;
use std::ops::Deref;

/// What a pool may hold in slots of a shape of its own.
pub trait Pooled {
    /// The shape of the slots.
    const SHAPE: Shape;
}

/// A pool of slots for values of type `T`. It owns the memory, not the values.
pub struct PoolOf<T> {
    pool: Pool,
    slots_for: PhantomData<fn() -> T>,
}

impl<T: Pooled> PoolOf<T> {
    /// Creates a pool with this number of homes.
    pub fn with_homes(homes: usize) -> Self {
        let pool = if homes > 0 { Pool::with_homes(T::SHAPE, homes) } else { Pool::new(T::SHAPE) };
        Self { pool, slots_for: PhantomData }
    }
}

impl<T> Deref for PoolOf<T> {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.pool
    }
}
