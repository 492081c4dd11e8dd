//! A look-up that stops on a version whose commit is still being installed. When it goes on, the
//! commit is made and the version below may be out of the chain.

use crate::common::{Store, on_every_reclaimer, steps, store};
use coeval::Version;
use coeval::reclaim::Reclaim;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{JoinHandle, spawn};

/// Looks key 1 up, which had this version before the look-up.
type Look<R> = fn(&Store<u64, u64, R>, Version) -> Option<u64>;

/// Look-ups of the newest value. A look-up that does not show the value shows 2 for any.
fn looks<R: Reclaim>() -> [Look<R>; 10] {
    [
        |cache, _| cache.get(&1),
        |cache, _| cache.pin().get(&1).copied(),
        |cache, _| cache.get_versioned(&1).map(|(value, _)| value),
        |cache, _| cache.contains_key(&1).then_some(2),
        |cache, _| cache.get_many([&2, &1])[1],
        |cache, _| cache.transact(|tx| Ok::<_, ()>(tx.get(&1))).unwrap().value,
        |cache, _| cache.compare_and_set(1, None, 9).unwrap_err().found().map(|_| 2),
        |cache, version| cache.compare_and_set(1, Some(version), 9).unwrap_err().found().map(|_| 2),
        |cache, _| cache.remove(&1),
        |cache, _| cache.get_with(1, || 9).into(),
    ]
}

/// A batch on a thread of its own. It stops when all is installed and nothing is decided.
struct Stopped {
    thread: JoinHandle<()>,
    go_on: Sender<()>,
}

impl Stopped {
    fn new<R: Reclaim>(cache: &Store<u64, u64, R>) -> Self {
        let cache = cache.clone();
        let (go_on, wait): (_, Receiver<()>) = channel();
        let (arrived, is_there) = channel();
        let thread = spawn(move || {
            steps::at(&["commit.before_ready"], move || {
                arrived.send(()).unwrap();
                wait.recv().unwrap();
            });
            cache.batch().insert(1, 3).insert(2, 3).commit();
        });
        is_there.recv().unwrap();
        Self { thread, go_on }
    }

    fn finish(self) {
        self.go_on.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

/// A view needs what key 1 held before its newest value. The look-up stops on the version that is
/// being installed, and that commit ends before the look-up goes on to the version below.
fn the_value_before_last_is_not_found<R: Reclaim>() {
    for before_last in [None, Some(1)] {
        for (index, look) in looks::<R>().into_iter().enumerate() {
            let cache = store::<u64, u64, R>();
            match before_last {
                Some(value) => _ = cache.insert(1, value),
                None => _ = (cache.insert(1, 0), cache.remove(&1)),
            }
            let view = cache.view();
            let version = cache.insert(1, 2);
            let stopped = Stopped::new(&cache);
            let is_through = Rc::new(Cell::new(false));
            let set = is_through.clone();
            steps::at(&["resolve.undecided"], move || {
                stopped.finish();
                set.set(true);
            });
            let found = look(&cache, version);
            assert!(is_through.get() && steps::left() == 0, "look-up {index} met no such version");
            let what = format!("look-up {index}, {before_last:?} before");
            assert!(matches!(found, Some(2 | 3)), "{what}: found {found:?}");
            assert_eq!(view.get(&1).copied(), before_last, "{what}");
        }
    }
}

on_every_reclaimer!(the_value_before_last_is_not_found);
