//! Lets the stores take turns, each in a process of its own. A store that crashes, or does not
//! answer in time, is excluded, with the reason; the others go on.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    child::{Answer, Job},
    plan::Item,
    results::{self, Absent, Figure, Results},
};
use crate::{
    progress,
    workloads::{Settings, Workload},
};

/// A child process that works, or that has not been started.
struct Worker {
    process: Child,
    orders: ChildStdin,
    answers: Receiver<String>,
    complaints: Option<JoinHandle<String>>,
    limit: Duration,
}

impl Worker {
    fn start(job: &Job, limit: Duration) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.arg("child").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().map_err(|error| format!("did not start: {error}"))?;
        let orders = process.stdin.take().expect("it is piped");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut errors = process.stderr.take().expect("it is piped");
        let (send, answers) = channel();
        thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| send.send(line))
        });
        let complaints = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = errors.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut worker = Self { process, orders, answers, complaints: Some(complaints), limit };
        let job = serde_json::to_string(job).expect("a job is plain data");
        match worker.ask(&job)? {
            Answer::Ready => Ok(worker),
            Answer::Absent(reason) => Err(reason),
            Answer::Figures(_) => Err("answered out of turn".to_owned()),
        }
    }

    fn round(&mut self) -> Result<Vec<Figure>, String> {
        match self.ask("round")? {
            Answer::Figures(figures) => Ok(figures),
            _ => Err("answered out of turn".to_owned()),
        }
    }

    fn ask(&mut self, order: &str) -> Result<Answer, String> {
        let sent = writeln!(self.orders, "{order}").and_then(|()| self.orders.flush());
        let answer = sent.map_err(|_| RecvTimeoutError::Disconnected);
        let answer = answer.and_then(|()| self.answers.recv_timeout(self.limit));
        match answer {
            Ok(answer) => serde_json::from_str(&answer).map_err(|error| error.to_string()),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("gave no answer within {} s, and was killed", self.limit.as_secs()))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.post_mortem()),
        }
    }

    /// The reason why the child has ended.
    fn post_mortem(&mut self) -> String {
        let status = self.process.wait();
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let complaints = self.complaints.take().and_then(|thread| thread.join().ok());
        let complaints = complaints.unwrap_or_default();
        let last = complaints.lines().rfind(|line| !line.trim().is_empty());
        format!("ended early ({status}): {}", last.unwrap_or("it said nothing"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A store that takes part.
struct Contestant<'a> {
    store: &'static str,
    worker: Option<Worker>,
    figures: Vec<Figure>,
    item: &'a Item,
    out: Option<String>,
}

impl Contestant<'_> {
    fn job(&self, grown: bool) -> Job {
        let settings = Settings { grown, ..self.item.settings.clone() };
        Job { store: self.store.to_owned(), workload: self.item.workload, settings }
    }

    fn prepare(&mut self) {
        if self.item.workload.in_fresh_processes() {
            return;
        }
        match Worker::start(&self.job(self.item.settings.grown), self.item.limit) {
            Ok(worker) => self.worker = Some(worker),
            Err(reason) => self.out = Some(reason),
        }
    }

    fn round(&mut self) {
        if self.out.is_some() {
            return;
        }
        let figures = match &mut self.worker {
            Some(worker) => worker.round(),
            None => self.round_of_its_own(),
        };
        match figures {
            Ok(figures) => self.figures.extend(figures),
            Err(reason) => {
                self.worker = None;
                self.out = Some(reason);
            }
        }
    }

    /// Runs one round in a new process. `memory` uses this for both of its measurements.
    fn round_of_its_own(&self) -> Result<Vec<Figure>, String> {
        let both = [false, true];
        let ways = if self.item.workload == Workload::Memory { &both[..] } else { &both[..1] };
        let mut figures = Vec::new();
        for &grown in ways {
            figures.extend(Worker::start(&self.job(grown), self.item.limit)?.round()?);
        }
        Ok(figures)
    }
}

/// Runs one item of a plan, with the stores in a different order each round.
pub fn run(item: &Item) -> Results {
    let name = item.name();
    let bar = progress::bar();
    let mut contestants: Vec<Contestant<'_>> = item
        .stores
        .iter()
        .map(|store| Contestant { store, worker: None, figures: Vec::new(), item, out: None })
        .collect();
    bar.begin(((item.rounds + 1) * contestants.len()) as u64);
    for contestant in &mut contestants {
        bar.set_message(format!("{name}: {} is made ready", contestant.store));
        contestant.prepare();
        bar.inc();
    }
    for round in 0..item.rounds {
        for turn in 0..contestants.len() {
            let count = contestants.len();
            let contestant = &mut contestants[(round + turn) % count];
            bar.set_message(format!("{name}: {}", contestant.store));
            contestant.round();
            bar.inc();
        }
    }
    bar.clear();
    let figures: Vec<_> =
        contestants.iter_mut().map(|c| (c.store, std::mem::take(&mut c.figures))).collect();
    let absent = contestants.iter().filter_map(|contestant| {
        let (workload, store) = (name.clone(), contestant.store.to_owned());
        Some(Absent { workload, store, reason: contestant.out.clone()? })
    });
    Results { rows: results::sum_up(&name, &figures), absent: absent.collect() }
}
