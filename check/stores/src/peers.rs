//! Stores that others made.

use crate::{Held, Step, Store, note, pause, random};
use coeval_check::Open;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// A map behind one lock, which a transaction holds.
#[derive(Default)]
pub struct Locked(Mutex<HashMap<u64, Held>>);

impl Store for Locked {
    fn name(&self) -> &'static str {
        "Mutex<HashMap>, locked for each transaction"
    }

    fn run(&self, steps: &[Step], mut tx: Open<'_, '_>) {
        let mut random = random(steps);
        let mut map = self.0.lock().unwrap();
        for &step in steps {
            pause(&mut random);
            let found = match step {
                Step::Read(key) | Step::List(key) => map.get(&key).cloned(),
                Step::Write(key, value) => map.insert(key, Arc::new(vec![value])),
                Step::Append(key, element) => {
                    Arc::make_mut(map.entry(key).or_default()).push(element);
                    None
                }
            };
            note(&mut tx, step, found.as_ref());
        }
        drop(map);
        tx.commit();
    }
}

/// dashmap, key by key.
#[derive(Default)]
pub struct Dash(dashmap::DashMap<u64, Held>);

impl Store for Dash {
    fn name(&self) -> &'static str {
        "dashmap, key by key"
    }

    fn run(&self, steps: &[Step], mut tx: Open<'_, '_>) {
        let mut random = random(steps);
        for &step in steps {
            pause(&mut random);
            let found = match step {
                Step::Read(key) | Step::List(key) => self.0.get(&key).map(|held| held.clone()),
                Step::Write(key, value) => self.0.insert(key, Arc::new(vec![value])),
                Step::Append(key, element) => {
                    Arc::make_mut(&mut self.0.entry(key).or_default()).push(element);
                    None
                }
            };
            note(&mut tx, step, found.as_ref());
        }
        tx.commit();
    }
}

/// moka, key by key.
pub struct Moka(moka::sync::Cache<u64, Held>);

impl Default for Moka {
    fn default() -> Self {
        Self(moka::sync::Cache::builder().build())
    }
}

impl Store for Moka {
    fn name(&self) -> &'static str {
        "moka, key by key"
    }

    fn run(&self, steps: &[Step], mut tx: Open<'_, '_>) {
        let mut random = random(steps);
        for &step in steps {
            pause(&mut random);
            let found = match step {
                Step::Read(key) | Step::List(key) => self.0.get(&key),
                Step::Write(key, value) => {
                    self.0.insert(key, Arc::new(vec![value]));
                    None
                }
                Step::Append(key, element) => {
                    self.0.entry(key).and_upsert_with(|entry| {
                        let mut held = entry.map(|entry| entry.into_value()).unwrap_or_default();
                        Arc::make_mut(&mut held).push(element);
                        held
                    });
                    None
                }
            };
            note(&mut tx, step, found.as_ref());
        }
        tx.commit();
    }
}
