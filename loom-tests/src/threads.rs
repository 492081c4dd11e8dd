//! What stands in for loom where the models run on the threads of the machine: in a build with
//! `--cfg coeval_internals`, as the program `tests/threads.rs`.
//!
//! An execution runs a model once. Its threads begin together, a little apart. At a step of the
//! library, a thread may wait until others have come some steps further. loom explores all
//! schedules of a small bound; here, many executions try schedules at random, at full speed, with
//! the orders that the machine has.

use super::free_left;
use coeval::internals::hook::set_step_hook;
use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How often it may wait as long as it may at a step.
const WAITS: u32 = 10;
/// How long a thread waits for its next execution before it sleeps.
const PATIENCE: Duration = Duration::from_micros(100);
/// How long a thread sleeps that joins another one, unless it is woken.
const NAP: Duration = Duration::from_micros(500);
/// A model whose threads take longer is taken to wait for ever.
const FOR_EVER: Duration = Duration::from_secs(60);
/// The same, if there is a defect to be found.
const FOR_EVER_BY_DEFECT: Duration = Duration::from_secs(2);
/// How long one model runs at a time if there is a defect to be found: a test may explore several.
const PART: Duration = Duration::from_millis(500);

/// What a thread is to do. loom asks of no model that its acts can be sent to another thread.
struct Job(Box<dyn FnOnce()>);

// SAFETY: the models share only what is meant to be shared; loom runs them on one thread, and
// checks their accesses.
unsafe impl Send for Job {}

impl Job {
    fn run(self) {
        (self.0)();
    }
}

/// The threads of one execution.
struct Play {
    /// The thread that runs the model.
    runs: Thread,
    /// How many are to begin, and how many are there.
    expected: AtomicUsize,
    arrived: AtomicUsize,
    running: AtomicUsize,
    /// How many wait at a step.
    waiting: AtomicUsize,
    /// How many steps all of them have visited.
    visits: AtomicU64,
    has_failed: AtomicBool,
    /// How long a thread waits at a step, at most.
    patience: Duration,
    /// One visit in so many is long; zero: none is.
    one_in: u64,
    /// Whether each thread begins when it is spawned. Else they begin together.
    begins_at_once: bool,
}

std::thread_local! {
    /// The execution to which the thread belongs.
    static PLAY: RefCell<Option<Arc<Play>>> = const { RefCell::new(None) };
    /// Whether the thread is one of those that the model spawned.
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
    static LEFT_TO_WAIT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static SEED: Cell<u64> = Cell::new(RandomState::new().hash_one(0) | 1);
    /// On the thread that runs the model: the threads that have yet to begin.
    static PENDING: RefCell<Vec<Job>> = const { RefCell::new(Vec::new()) };
    static WORKERS: RefCell<Vec<Sender<Job>>> = const { RefCell::new(Vec::new()) };
}

fn random() -> u64 {
    SEED.try_with(|seed| {
        let mut now = seed.get();
        now ^= now << 13;
        now ^= now >> 7;
        now ^= now << 17;
        seed.set(now);
        now >> 16
    })
    .unwrap_or(1)
}

/// One of eight.
fn choice() -> usize {
    random() as usize % 8
}

/// Waits, at first without leaving the processor.
fn wait_until(patience: Option<Duration>, mut is_over: impl FnMut() -> bool) {
    let begin = Instant::now();
    for turn in 0_u32.. {
        if is_over() || patience.is_some_and(|patience| begin.elapsed() > patience) {
            return;
        }
        if turn % 64 == 63 { std::thread::yield_now() } else { std::hint::spin_loop() }
    }
}

/// The execution to which the calling thread belongs.
fn play() -> Option<Arc<Play>> {
    let play = PLAY.try_with(|play| play.try_borrow().ok().and_then(|play| play.clone()));
    play.ok().flatten()
}

/// A step: the thread may wait until others have come further.
pub(super) fn visit(_: &'static str) {
    let Some(play) = play() else { return };
    begin();
    play.visits.fetch_add(1, SeqCst);
    if play.one_in != 0 && random().is_multiple_of(play.one_in) {
        play.let_others_go_on();
    }
}

impl Play {
    /// Waits until the other threads have come some steps further.
    fn let_others_go_on(&self) {
        let Ok(left) = LEFT_TO_WAIT.try_with(Cell::get) else { return };
        let (begin, patience) =
            (Instant::now(), left.min(self.patience / [1, 1, 2, 4][choice() / 2]));
        let steps = random() % [4, 16, 64][random() as usize % 3];
        let wanted = self.visits.load(SeqCst) + 1 + steps;
        self.waiting.fetch_add(1, SeqCst);
        let mut is_chosen = false;
        wait_until(Some(patience), || {
            let (running, waiting) = (self.running.load(SeqCst), self.waiting.load(SeqCst));
            // If all wait, one of them goes on.
            is_chosen = waiting >= running
                && choice() < 4
                && self.waiting.compare_exchange(waiting, waiting - 1, SeqCst, SeqCst).is_ok();
            is_chosen || self.visits.load(SeqCst) >= wanted || running <= 1
        });
        if !is_chosen {
            self.waiting.fetch_sub(1, SeqCst);
        }
        LEFT_TO_WAIT.set(left.saturating_sub(begin.elapsed()));
    }

    fn new() -> Arc<Self> {
        Arc::new(Self {
            runs: std::thread::current(),
            expected: AtomicUsize::new(0),
            arrived: AtomicUsize::new(0),
            running: AtomicUsize::new(1), // the thread that runs the model
            waiting: AtomicUsize::new(0),
            visits: AtomicU64::new(0),
            has_failed: AtomicBool::new(false),
            patience: Duration::from_micros([40, 40, 40, 40, 80, 80, 160, 400][choice()]),
            one_in: [0, 1, 1, 2, 3, 5, 8, 13][choice()],
            begins_at_once: random().is_multiple_of(4),
        })
    }

    /// Runs `act` on a thread of the execution.
    fn run<T>(self: &Arc<Self>, act: impl FnOnce() -> T) -> std::thread::Result<T> {
        LEFT_TO_WAIT.set(self.patience * WAITS);
        self.arrived.fetch_add(1, SeqCst);
        wait_until(None, || self.arrived.load(SeqCst) >= self.expected.load(SeqCst));
        match choice() as u64 {
            0 => self.let_others_go_on(),
            limit @ 1..4 => (0..random() % (8 << (2 * limit))).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
        PLAY.set(Some(self.clone()));
        IS_WORKER.set(true);
        let result = catch_unwind(AssertUnwindSafe(act));
        PLAY.set(None);
        self.has_failed.fetch_or(result.is_err(), SeqCst);
        self.running.fetch_sub(1, SeqCst);
        result
    }
}

/// Runs jobs on a thread that is kept for later ones.
fn work(jobs: &Receiver<Job>) {
    loop {
        let begin = Instant::now();
        let job = loop {
            match jobs.try_recv() {
                Ok(job) => break job,
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) if begin.elapsed() > PATIENCE => match jobs.recv() {
                    Ok(job) => break job,
                    Err(_) => return,
                },
                Err(TryRecvError::Empty) => std::hint::spin_loop(),
            }
        };
        job.run();
    }
}

/// Begins all threads that were spawned.
fn begin() {
    let pending = PENDING.take();
    if pending.is_empty() {
        return;
    }
    let play = play().expect("within an execution");
    play.running.fetch_add(pending.len(), SeqCst);
    WORKERS.with_borrow_mut(|workers| {
        let begun = play.expected.fetch_add(pending.len(), SeqCst);
        while workers.len() < begun + pending.len() {
            let (sender, receiver) = channel();
            std::thread::spawn(move || work(&receiver));
            workers.push(sender);
        }
        for (worker, job) in workers[begun..].iter().zip(pending) {
            worker.send(job).expect("a worker does not end");
        }
    });
}

/// How many executions have begun in this process.
static EXECUTIONS: AtomicU64 = AtomicU64::new(0);
/// Whether one has begun that has not ended.
static IS_RUNNING: AtomicBool = AtomicBool::new(false);

/// Ends the process if an execution does not end.
fn watch() {
    let for_ever = if defect().is_some() { FOR_EVER_BY_DEFECT } else { FOR_EVER };
    std::thread::spawn(move || {
        let mut last = (0, Instant::now());
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let now = EXECUTIONS.load(SeqCst);
            if now != last.0 || !IS_RUNNING.load(SeqCst) {
                last = (now, Instant::now());
            } else if last.1.elapsed() > for_ever {
                eprintln!("deadlock: the threads wait for ever; within {now} executions");
                std::process::exit(101);
            }
        }
    });
}

/// The defect that the library is to have.
fn defect() -> Option<String> {
    std::env::var("COEVAL_DEFECT").ok().filter(|name| !name.is_empty())
}

/// How long a test runs its model.
fn seconds() -> Duration {
    let seconds = std::env::var("MODEL_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(0.2))
}

/// Runs `model` again and again, for `MODEL_SECONDS`. With a defect, for a part of them;
/// [`must_fail`] repeats that.
pub fn explore(_preemptions: usize, model: impl Fn()) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    set_step_hook(visit);
    static WATCH: Once = Once::new();
    WATCH.call_once(watch);
    let (begin, most) = (Instant::now(), if defect().is_some() { PART } else { Duration::MAX });
    while begin.elapsed() < seconds().min(most) {
        free_left();
        let play = Play::new();
        LEFT_TO_WAIT.set(play.patience * WAITS);
        PLAY.set(Some(play));
        let count = EXECUTIONS.fetch_add(1, SeqCst) + 1;
        IS_RUNNING.store(true, SeqCst);
        let outcome = catch_unwind(AssertUnwindSafe(&model));
        IS_RUNNING.store(false, SeqCst);
        if let Err(failure) = outcome {
            eprintln!("it failed within {count} executions");
            resume_unwind(failure);
        }
    }
    PLAY.set(None);
    println!("{} executions", EXECUTIONS.load(SeqCst));
}

/// Like `explore`.
pub fn explore_steps(preemptions: usize, model: impl Fn()) {
    explore(preemptions, model);
}

/// Runs a model that must fail if the process has `defect`, and then fails. Else does nothing.
pub fn must_fail(defect: &'static str, _kind: &str, model: impl Fn()) {
    if self::defect().as_deref() == Some(defect) {
        let begin = Instant::now();
        while begin.elapsed() < seconds() {
            model();
        }
    }
}

/// Runs a thread until it has ended.
pub fn run_to_its_end(act: impl FnOnce() + Send + 'static) {
    std::thread::spawn(act).join().unwrap();
}

/// Here, threads end anyway.
pub fn with_ends<T>(body: impl FnOnce() -> T) -> T {
    body()
}

/// Here, all accesses are in the order that the machine has.
pub fn with_one_order<T>(body: impl FnOnce() -> T) -> T {
    body()
}

/// Here, threads wait at steps anyway.
pub fn with_turns<T>(body: impl FnOnce() -> T) -> T {
    body()
}

/// Spawns a thread; each has a stack that is large.
pub fn spawn_deep<T: 'static>(act: impl FnOnce() -> T + 'static) -> thread::JoinHandle<T> {
    thread::spawn(act)
}

/// As `loom::thread`.
pub mod thread {
    use super::{Arc, IS_WORKER, Job, Mutex, NAP, PENDING, Play, begin, play, wait_until};
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    pub use std::thread::yield_now;

    /// A thread of an execution. It begins at once, or
    /// together with later ones: when the model comes to a step, or joins a thread.
    pub struct JoinHandle<T> {
        result: Arc<Mutex<Option<std::thread::Result<T>>>>,
        play: Arc<Play>,
    }

    /// See [`JoinHandle`].
    pub fn spawn<T: 'static>(act: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
        let play = play().expect("within an execution");
        let result = Arc::new(Mutex::new(None));
        let (its, one) = (play.clone(), result.clone());
        let job = Job(Box::new(move || {
            let done = its.run(act);
            *one.lock().unwrap() = Some(done);
            its.runs.unpark();
        }));
        if IS_WORKER.get() {
            play.running.fetch_add(1, SeqCst);
            play.expected.fetch_add(1, SeqCst);
            let has_begun = Arc::new(AtomicBool::new(false));
            let begins = has_begun.clone();
            std::thread::spawn(move || {
                begins.store(true, SeqCst);
                job.run();
            });
            wait_until(None, || has_begun.load(SeqCst));
        } else {
            PENDING.with_borrow_mut(|pending| pending.push(job));
            if play.begins_at_once {
                begin();
            }
        }
        JoinHandle { result, play }
    }

    impl<T> JoinHandle<T> {
        /// Waits for the thread. Panics if another one of the execution has panicked.
        pub fn join(self) -> std::thread::Result<T> {
            begin();
            self.play.running.fetch_sub(1, SeqCst);
            while self.result.lock().unwrap().is_none() && !self.play.has_failed.load(SeqCst) {
                // The thread that runs the model is woken. It leaves the processor to the others.
                std::thread::park_timeout(NAP);
            }
            self.play.running.fetch_add(1, SeqCst);
            match self.result.lock().unwrap().take() {
                Some(result) => result,
                None => panic!("another thread of the model has panicked"),
            }
        }
    }

    /// As `std::thread::Builder`.
    #[derive(Default)]
    pub struct Builder;

    impl Builder {
        pub fn new() -> Self {
            Self
        }

        pub fn stack_size(self, _: usize) -> Self {
            self
        }

        pub fn spawn<T: 'static>(
            self,
            act: impl FnOnce() -> T + 'static,
        ) -> std::io::Result<JoinHandle<T>> {
            Ok(spawn(act))
        }
    }
}

/// As `loom::sync`.
pub mod sync {
    pub use std::sync::Arc;
    pub use std::sync::atomic;
}

/// As `loom::cell`.
pub mod cell {
    use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

    /// A cell that panics if one thread accesses it while another one writes it.
    #[derive(Default)]
    pub struct UnsafeCell<T> {
        value: std::cell::UnsafeCell<T>,
        /// How many read it; less than zero: one writes it.
        uses: AtomicIsize,
    }

    impl<T> UnsafeCell<T> {
        pub fn new(value: T) -> Self {
            Self { value: std::cell::UnsafeCell::new(value), uses: AtomicIsize::new(0) }
        }

        pub fn with<O>(&self, read: impl FnOnce(*const T) -> O) -> O {
            // Relaxed, all: as little as possible is to be added to the orders of the model.
            assert!(self.uses.fetch_add(1, Relaxed) >= 0, "Concurrent read and write accesses");
            super::visit("cell.read");
            let output = read(self.value.get());
            self.uses.fetch_sub(1, Relaxed);
            output
        }

        pub fn with_mut<O>(&self, write: impl FnOnce(*mut T) -> O) -> O {
            let uses = self.uses.fetch_add(isize::MIN / 2, Relaxed);
            assert!(uses <= 0, "Concurrent read and write accesses");
            assert!(uses == 0, "Concurrent write accesses");
            super::visit("cell.write");
            let output = write(self.value.get());
            self.uses.fetch_sub(isize::MIN / 2, Relaxed);
            output
        }
    }
}
