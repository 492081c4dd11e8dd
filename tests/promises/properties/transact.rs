//! Transactions.

use super::compare::agree;
use super::model::Asked;
use super::pair::Pair;
use super::program::{Meanwhile, Write};
use coeval::Committed;
use coeval::reclaim::Reclaim;
use std::convert::Infallible;

impl<R: Reclaim> Pair<R> {
    pub fn transact(&mut self, reads: [u64; 2], writes: &[Write], meanwhile: Option<Meanwhile>) {
        let (cache, mut runs, mut asked) = (self.cache.clone(), 0, Vec::new());
        let mut first = Vec::new();
        let committed = cache.transact(|tx| {
            self.hear();
            runs += 1;
            let found = tx.get_many(reads.each_ref());
            agree!(found, self.holds(reads), "reading {reads:?} in a transaction");
            if runs == 1 {
                self.meanwhile(meanwhile);
                first = found.to_vec();
                agree!(tx.get_many(reads.each_ref()), found, "reading {reads:?} again");
            }
            asked = writes.iter().map(|write| self.ask(*write)).collect();
            for Asked { key, value, follow, .. } in &asked {
                match value {
                    Some(value) => tx.insert(*key, *value),
                    None if *follow => tx.invalidate(*key),
                    None => tx.remove(*key),
                }
            }
            for Asked { key, .. } in &asked {
                let last = asked.iter().rfind(|write| write.key == *key).expect("that one");
                agree!(tx.get(key), last.value, "reading {key} after writing it");
            }
            Ok::<_, Infallible>(found)
        });
        let Committed { value: found, version } = committed.expect("disturbed once at most");
        agree!(runs == 1 || (runs == 2 && meanwhile.is_some()), true, "{runs} runs");
        if asked.is_empty() {
            agree!((runs, found.to_vec()), (1, first), "a transaction without writes");
            self.are_used(reads);
            return;
        }
        agree!(found, self.holds(reads), "the values read, at the commit");
        self.commit(asked, version);
        self.are_used(reads);
    }

    /// The keys that a transaction has read count as used once it is committed.
    fn are_used(&mut self, keys: [u64; 2]) {
        self.hear();
        keys.iter().for_each(|key| _ = self.model.used(*key));
        self.use_all();
    }

    fn holds(&self, keys: [u64; 2]) -> [Option<u64>; 2] {
        keys.map(|key| self.model.get(key).map(|held| held.value))
    }

    fn ask(&mut self, write: Write) -> Asked {
        match write {
            Write::Insert(key) | Write::InsertFor(key, _) => Asked::set(key, self.value()),
            Write::Remove(key) => Asked::unset(key, false),
            Write::Invalidate(key) => Asked::unset(key, true),
        }
    }
}
