//! The worker side of the comparison. It runs one store and one workload in a process of its own,
//! so that a crash affects no other store, and no other store has used the heap.
//!
//! It reads a [`Job`] and then a line for each round from standard input, and answers every line
//! with one [`Answer`] on standard output.

use std::{
    error::Error,
    io::{BufRead, Write, stdin, stdout},
    process,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::results::Figure;
use crate::{
    stores,
    workloads::{Enter, Settings, Workload},
};

/// The task of a child.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Job {
    pub store: String,
    pub workload: Workload,
    pub settings: Settings,
}

/// An answer of a child.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The store is ready.
    Ready,
    /// The store cannot take part.
    Absent(String),
    /// The figures of a round.
    Figures(Vec<Figure>),
}

/// Works until standard input ends.
///
/// # Errors
/// If the job is invalid, or the answers cannot be written.
pub fn work() -> Result<(), Box<dyn Error>> {
    // Otherwise the other threads would wait for ever for a thread that panicked.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        process::exit(101);
    }));
    let mut lines = stdin().lock().lines();
    let job = lines.next().ok_or("there is no job")??;
    let job: Job = serde_json::from_str(&job)?;
    let settings = Arc::new(job.settings);
    let enter = Enter { workload: job.workload, settings: &settings };
    let mut entrant = match stores::visit(&job.store, enter).ok_or("there is no such store")? {
        Ok(entrant) => entrant,
        Err(reason) => return answer(&Answer::Absent(reason)),
    };
    answer(&Answer::Ready)?;
    for line in lines {
        line?;
        answer(&Answer::Figures(entrant()))?;
    }
    // Exits without dropping the store, because dropping a large one takes time and has no use.
    process::exit(0);
}

fn answer(answer: &Answer) -> Result<(), Box<dyn Error>> {
    let mut out = stdout().lock();
    writeln!(out, "{}", serde_json::to_string(answer)?)?;
    Ok(out.flush()?)
}
