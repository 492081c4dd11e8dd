//! Threads of which one runs at a time. At each step of the library it may give the turn to another
//! one. Chance decides, so an order of the steps has a number, which usually brings it back.

use super::random::Random;
use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// A thread that has come no step further for so long waits for another one, whose turn it is then,
/// too. That another program had the processor does no harm: two threads run for a while.
const PATIENCE: Duration = Duration::from_millis(1);

/// Whose turn it is, and who is left.
struct Turn {
    whose: usize,
    left: Vec<usize>,
    steps: u64,
    random: Random,
    /// The turn changes at one in so many steps.
    one_in: u64,
}

struct Turns(Mutex<Turn>, Condvar);

std::thread_local! {
    static OWN: RefCell<Option<(usize, Arc<Turns>)>> = const { RefCell::new(None) };
}

impl Turns {
    fn new(mut random: Random, threads: usize) -> Arc<Self> {
        let whose = random.below(threads as u64) as usize;
        let one_in = 1 << (1 + random.below(9));
        let turn = Turn { whose, left: (0..threads).collect(), steps: 0, random, one_in };
        Arc::new(Self(Mutex::new(turn), Condvar::new()))
    }

    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn wait(&self, mut turn: MutexGuard<'_, Turn>, own: usize) {
        while turn.whose != own {
            let seen = turn.steps;
            let waited = self.1.wait_timeout(turn, PATIENCE);
            let (now, timeout) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
            turn = now;
            if timeout.timed_out() && turn.steps == seen {
                turn.whose = own;
            }
        }
        turn.steps += 1;
    }

    fn pass(&self, turn: &mut Turn) {
        if !turn.left.is_empty() {
            turn.whose = turn.left[turn.random.below(turn.left.len() as u64) as usize];
            self.1.notify_all();
        }
    }

    fn visit(&self, own: usize) {
        let mut turn = self.lock();
        turn.steps += 1;
        let one_in = turn.one_in;
        if turn.random.one_in(one_in) {
            self.pass(&mut turn);
        }
        self.wait(turn, own);
    }

    fn end(&self, own: usize) {
        let mut turn = self.lock();
        turn.left.retain(|left| *left != own);
        self.pass(&mut turn);
    }
}

/// Gives the turn back, also if the thread panics.
struct End<'t>(&'t Turns, usize);

impl Drop for End<'_> {
    fn drop(&mut self) {
        OWN.set(None);
        self.0.end(self.1);
    }
}

/// Called at each step: the turn may change. Returns whether this thread runs in turns.
pub fn visit() -> bool {
    let own = OWN.try_with(|own| own.try_borrow().ok().and_then(|own| own.clone()));
    let own = own.ok().flatten();
    own.inspect(|(own, turns)| turns.visit(*own)).is_some()
}

/// Runs `body(0)`..`body(n - 1)`, each in its own thread, until all have ended. One of them runs at
/// a time.
pub fn in_turns(random: Random, n: usize, body: impl Fn(usize) + Sync) {
    super::steps::install();
    let turns = Turns::new(random, n);
    std::thread::scope(|scope| {
        let spawn = |own| {
            let (turns, body) = (Arc::clone(&turns), &body);
            scope.spawn(move || {
                let _end = End(&turns, own);
                OWN.set(Some((own, Arc::clone(&turns))));
                turns.wait(turns.lock(), own);
                body(own);
            })
        };
        // Joined, so that what the threads kept for themselves is left to others: the scope alone
        // does not wait for that.
        let threads: Vec<_> = (0..n).map(spawn).collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}
