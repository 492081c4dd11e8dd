//! Operations across two caches of a domain, one of which is the cache that all other operations
//! use.

use crate::common::counted::{Counted, Ledger};
use crate::operations::{Case, Fixed, Stage, value};
use coeval::reclaim::Reclaim;
use coeval::{Cache, Domain, ForeignCache};
use std::sync::Arc;

/// The domain of a stage, and another cache of it.
pub struct Beside<R: Reclaim> {
    pub domain: Domain,
    /// Holds whole numbers under names, each twice: the two are only written together with key 20
    /// of the first cache.
    names: Cache<&'static str, Counted, Fixed, R>,
}

const NAMES: [&str; 2] = ["one", "two"];

pub fn beside<R: Reclaim>() -> Beside<R> {
    let domain = Domain::new();
    let builder = Cache::builder().hasher(Fixed::default()).initial_capacity(0);
    let names = builder.reclaimer::<R>().domain(&domain).build();
    Beside { domain, names }
}

/// Writes to both caches by one commit.
fn write<R: Reclaim>(stage: &Stage<R>, id: u64, made: &Arc<Ledger>) {
    let Beside { domain, names } = &stage.beside;
    let mut batch = domain.batch();
    batch.insert(stage, 20, value(id, made)).unwrap();
    for name in NAMES {
        batch.insert(names, name, value(id, made)).unwrap();
    }
    batch.commit();
}

/// Checks that a view shows both names of one commit.
fn assert_one<R: Reclaim>(stage: &Stage<R>) {
    let view = stage.beside.domain.view();
    let names = view.of(&stage.beside.names).unwrap();
    let [one, two] = NAMES.map(|name| names.get(&name).map(Counted::read));
    assert_eq!(one, two, "torn");
    let numbers = view.of(&**stage).unwrap();
    assert_eq!(numbers.version(), names.version());
}

pub fn cases<R: Reclaim>() -> Vec<Case<R>> {
    vec![
        ("batch of a domain", |stage, made| write(stage, 1, made)),
        ("view of a domain", |stage, _| assert_one(stage)),
        ("transact in a domain", |stage, made| {
            let Beside { domain, names } = &stage.beside;
            let done = domain.transact(|tx| {
                tx.of(&**stage)?.get(&21);
                tx.of(names)?.get(&"none");
                let id = tx.of(names)?.get(&"one").map_or(0, |one| one.read());
                for name in NAMES {
                    tx.of(names)?.insert(name, value(id + 1, made));
                }
                tx.of(&**stage)?.insert(22, value(id + 1, made));
                Ok::<_, ForeignCache>(())
            });
            drop(done);
        }),
        ("transact in a domain, disturbed", |stage, made| {
            let Beside { domain, names } = &stage.beside;
            let mut runs = 0;
            let done = domain.transact(|tx| {
                tx.of(&**stage)?.get(&20);
                runs += 1;
                if runs == 1 {
                    write(stage, 2, made);
                }
                tx.of(names)?.insert("alone", value(3, made));
                Ok::<_, ForeignCache>(())
            });
            drop(done);
        }),
    ]
}
