use super::*;
use std::cell::Cell;

/// Runs a thread to its end. Unlike `std::thread::scope`, this waits for destructors, too.
fn run_to_end<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(body).join().unwrap()
}

#[test]
fn threads_that_live_together_have_distinct_numbers() {
    // More threads than one word of the map has bits, in three waves.
    for _ in 0..3 {
        let together = std::sync::Barrier::new(200);
        let mut numbers: Vec<usize> = std::thread::scope(|scope| {
            let start = || {
                let number = thread_number();
                together.wait();
                assert_eq!(thread_number(), number);
                number
            };
            let threads: Vec<_> = (0..200).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        numbers.sort_unstable();
        assert!(numbers.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(numbers[199] < 4096, "numbers stay small: {}", numbers[199]);
    }
}

/// A thread-local whose destructor asks for the thread's number while a hold keeps it.
struct AtEnd(Cell<Option<(usize, NumberHold, NumberReport)>>);

type NumberReport = std::sync::mpsc::Sender<(usize, usize)>;

impl Drop for AtEnd {
    fn drop(&mut self) {
        if let Some((number, _hold, report)) = self.0.take() {
            let other = std::thread::spawn(thread_number).join().unwrap();
            assert_ne!(other, number, "another thread got the number");
            report.send((number, thread_number())).unwrap();
        }
    }
}

std::thread_local! {
    static AT_END: AtEnd = const { AtEnd(Cell::new(None)) };
}

#[test]
fn a_held_number_stays_and_is_reused_later() {
    let (report, reports) = std::sync::mpsc::channel();
    let mut numbers = Vec::new();
    for _ in 0..300 {
        let report = report.clone();
        run_to_end(move || {
            AT_END.with(|at_end| {
                at_end.0.set(Some((thread_number(), NumberHold::new(), report)));
            });
        });
        let (number, at_end) = reports.recv().unwrap();
        assert_eq!(number, at_end);
        numbers.push(number);
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert!(numbers.len() < 200, "held numbers are reused");
}

/// A number that is held even after the thread has told that it ends.
#[test]
#[cfg(target_os = "linux")]
fn a_number_held_by_the_last_destructor_is_reused() {
    extern "C" fn at_end(hold: *mut std::ffi::c_void) {
        // SAFETY: made below by `Box::into_raw`, and passed on once.
        drop(unsafe { Box::from_raw(hold.cast::<NumberHold>()) });
    }
    thread_number(); // The library's key is made before this one, so its destructor runs first.
    let mut key = 0;
    // SAFETY: the call only writes `key`.
    assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(at_end)) }, 0);
    let mut numbers: Vec<usize> = (0..300)
        .map(|_| {
            run_to_end(move || {
                let number = thread_number();
                let hold = Box::into_raw(Box::new(NumberHold::new()));
                // SAFETY: the key was made above.
                assert_eq!(unsafe { libc::pthread_setspecific(key, hold.cast()) }, 0);
                number
            })
        })
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert!(numbers.len() < 200, "its last hold releases the number");
}

/// Runs `body` in a process of its own, as the test `name`.
fn in_a_child(name: &str, body: impl FnOnce()) {
    if std::env::var("COEVAL_CHILD").as_deref() == Ok(name) {
        return body();
    }
    let name = format!("{}::{name}", module_path!().split_once("::").expect("a module").1);
    let last = name.rsplit("::").next().expect("a name");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let child = child.args([&name, "--exact", "--test-threads=1"]).env("COEVAL_CHILD", last);
    let output = child.output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && words.contains("1 passed"), "{words}");
}

/// A program may have made all keys that there can be.
#[test]
#[cfg(target_os = "linux")]
fn without_a_key_numbers_are_reused() {
    in_a_child("without_a_key_numbers_are_reused", || {
        let mut key = 0;
        // SAFETY: the call only writes `key`.
        while unsafe { libc::pthread_key_create(&mut key, None) } == 0 {}
        let mut numbers: Vec<usize> = (0..300).map(|_| run_to_end(thread_number)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert!(numbers.len() < 200, "a thread releases its number at its end");
        numbers_taken_in_a_destructor_are_reused();
    });
}

/// More threads than the first map has bits.
#[test]
fn thousands_of_threads_have_distinct_numbers() {
    in_a_child("thousands_of_threads_have_distinct_numbers", || {
        const THREADS: usize = 4_500;
        let together = std::sync::Barrier::new(THREADS);
        let mut numbers: Vec<usize> = std::thread::scope(|scope| {
            let start = || {
                let number = thread_number();
                together.wait();
                number
            };
            let small = || std::thread::Builder::new().stack_size(64 << 10);
            let threads: Vec<_> =
                (0..THREADS).map(|_| small().spawn_scoped(scope, start).unwrap()).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), THREADS);
        // Those above the first map are released, too.
        assert!(run_to_end(thread_number) < 4_096);
    });
}

/// A thread-local whose destructor asks for the thread's number without a hold.
struct Late;

impl Drop for Late {
    fn drop(&mut self) {
        LATE_NUMBERS.lock().unwrap().push(thread_number());
    }
}

static LATE_NUMBERS: std::sync::Mutex<Vec<usize>> = std::sync::Mutex::new(Vec::new());

std::thread_local! {
    static LATE: Late = const { Late };
}

#[test]
fn numbers_taken_in_a_destructor_are_reused() {
    for _ in 0..300 {
        run_to_end(|| {
            LATE.with(|_| ());
            thread_number();
        });
    }
    let mut numbers = LATE_NUMBERS.lock().unwrap().clone();
    assert_eq!(numbers.len(), 300);
    numbers.sort_unstable();
    numbers.dedup();
    assert!(numbers.len() < 200, "a thread releases its number at its end");
}
