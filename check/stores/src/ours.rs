//! coeval, in each of the ways in which it takes several keys together.

use crate::{Held, Step, Store, note, pause, random};
use coeval::reclaim::Reclaim;
use coeval::{Cache, RandomState};
use coeval_check::Open;
use std::convert::Infallible;
use std::sync::Arc;

type Ours<R> = Cache<u64, Held, RandomState, R>;

fn cache<R: Reclaim>() -> Ours<R> {
    Cache::builder().reclaimer::<R>().build()
}

/// Transactions.
pub struct Transact<R: Reclaim>(Ours<R>);

impl<R: Reclaim> Default for Transact<R> {
    fn default() -> Self {
        Self(cache())
    }
}

impl<R: Reclaim> Store for Transact<R> {
    fn name(&self) -> &'static str {
        "coeval, transact"
    }

    fn run(&self, steps: &[Step], tx: Open<'_, '_>) {
        transact(&self.0, steps, tx);
    }
}

fn transact<R: Reclaim>(cache: &Ours<R>, steps: &[Step], mut tx: Open<'_, '_>) {
    let mut random = random(steps);
    let outcome = cache.transact(|inner| {
        tx.restart();
        for &step in steps {
            pause(&mut random);
            let found = match step {
                Step::Read(key) | Step::List(key) => inner.get(&key),
                Step::Write(key, value) => {
                    inner.insert(key, Arc::new(vec![value]));
                    None
                }
                Step::Append(key, element) => {
                    let mut held = inner.get(&key).unwrap_or_default();
                    Arc::make_mut(&mut held).push(element);
                    inner.insert(key, held);
                    None
                }
            };
            note(&mut tx, step, found.as_ref());
        }
        Ok::<_, Infallible>(())
    });
    match outcome {
        Ok(_) => tx.commit(),
        Err(_) => tx.abort(),
    }
}

fn batch<R: Reclaim>(cache: &Ours<R>, steps: &[Step], mut tx: Open<'_, '_>) {
    let mut batch = cache.batch();
    for &step in steps {
        let Step::Write(key, value) = step else { continue };
        batch = batch.insert(key, Arc::new(vec![value]));
        note(&mut tx, step, None);
    }
    batch.commit();
    tx.commit();
}

fn is_write(steps: &[Step]) -> bool {
    steps.iter().any(|step| matches!(step, Step::Write(..)))
}

/// Writes by batches, and reads through views, with pauses between the reads.
pub struct Views<R: Reclaim>(Ours<R>);

impl<R: Reclaim> Default for Views<R> {
    fn default() -> Self {
        Self(cache())
    }
}

impl<R: Reclaim> Store for Views<R> {
    fn name(&self) -> &'static str {
        "coeval, batches and views"
    }

    fn can_update(&self) -> bool {
        false
    }

    fn run(&self, steps: &[Step], tx: Open<'_, '_>) {
        if is_write(steps) { batch(&self.0, steps, tx) } else { view(&self.0, steps, tx) }
    }
}

fn view<R: Reclaim>(cache: &Ours<R>, steps: &[Step], mut tx: Open<'_, '_>) {
    let (view, mut random) = (cache.view(), random(steps));
    for &step in steps {
        pause(&mut random);
        if let Step::Read(key) = step {
            note(&mut tx, step, view.get(&key));
        }
    }
    tx.commit();
}

/// Batches, `get_many`, views and transactions on one cache.
pub struct Mixed<R: Reclaim>(Ours<R>);

impl<R: Reclaim> Default for Mixed<R> {
    fn default() -> Self {
        Self(cache())
    }
}

impl<R: Reclaim> Store for Mixed<R> {
    fn name(&self) -> &'static str {
        "coeval, batches, get_many, views and transact"
    }

    fn can_update(&self) -> bool {
        false
    }

    fn run(&self, steps: &[Step], mut tx: Open<'_, '_>) {
        match (random(steps).below(3), is_write(steps)) {
            (0, _) => transact(&self.0, steps, tx),
            (_, true) => batch(&self.0, steps, tx),
            (1, false) => view(&self.0, steps, tx),
            (_, false) => {
                let keys: Vec<u64> = steps.iter().map(|step| key(*step)).collect();
                let found = self.0.get_many(&keys);
                for (&step, found) in steps.iter().zip(&found) {
                    note(&mut tx, step, found.as_ref());
                }
                tx.commit();
            }
        }
    }
}

fn key(step: Step) -> u64 {
    match step {
        Step::Read(key) | Step::Write(key, _) | Step::List(key) | Step::Append(key, _) => key,
    }
}
