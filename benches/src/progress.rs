//! A progress bar on the terminal. Prints nothing if standard error is not a terminal.

use std::{
    io::{IsTerminal, Write, stderr},
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

/// The length of the bar itself, in characters.
const WIDTH: u64 = 30;
/// The shortest time between two drawings, unless a caller asks for one.
const INTERVAL: Duration = Duration::from_millis(50);

/// A progress bar. Any thread may advance it.
#[derive(Debug)]
pub struct Bar {
    visible: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    message: String,
    done: u64,
    all: u64,
    began: Instant,
    drawn: Option<Instant>,
}

/// A bar without a length yet.
pub fn bar() -> Bar {
    let (message, began) = (String::new(), Instant::now());
    let state = Mutex::new(State { message, done: 0, all: 0, began, drawn: None });
    Bar { visible: stderr().is_terminal(), state }
}

impl Bar {
    /// Begins a task of this length.
    pub fn begin(&self, all: u64) {
        let mut state = self.state();
        (state.done, state.all, state.began) = (0, all, Instant::now());
    }

    /// Sets the message.
    pub fn set_message(&self, message: impl Into<String>) {
        let mut state = self.state();
        state.message = message.into();
        self.draw(&mut state);
    }

    /// Advances by one.
    pub fn inc(&self) {
        let mut state = self.state();
        state.done += 1;
        if state.drawn.is_none_or(|drawn| drawn.elapsed() >= INTERVAL) {
            self.draw(&mut state);
        }
    }

    /// Hides the bar while `print` runs.
    pub fn suspend(&self, print: impl FnOnce()) {
        self.clear();
        print();
        let mut state = self.state();
        if state.drawn.is_some() {
            self.draw(&mut state);
        }
    }

    /// Removes the bar.
    pub fn clear(&self) {
        let state = self.state();
        if self.visible && state.drawn.is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while holding it")
    }

    fn draw(&self, state: &mut State) {
        if self.visible {
            let _ = write!(stderr(), "\r{}\x1b[K", state.line());
            state.drawn = Some(Instant::now());
        }
    }
}

impl State {
    fn line(&self) -> String {
        let Self { message, done, all, began, .. } = self;
        let full = (done * WIDTH).checked_div(*all).unwrap_or(0).min(WIDTH) as usize;
        let bar = "█".repeat(full) + &"░".repeat(WIDTH as usize - full);
        let seconds = began.elapsed().as_secs();
        let message: String = message.chars().take(30).collect();
        format!("{message:<30} {bar} {done}/{all} {}:{:02}", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_a_terminal() {
        let bar = bar();
        bar.begin(4);
        bar.set_message("racing: a cache with quite a long name indeed");
        bar.inc();
        bar.inc();
        let line = bar.state().line();
        assert!(line.starts_with("racing: a cache with quite a l ███████████████░"), "{line}");
        assert!(line.ends_with(" 2/4 0:00") && line.chars().count() < 80, "{line}");
    }
}
