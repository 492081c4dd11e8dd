//! Promise: whatever befalls the process, no reader sees half of a commit. An allocation that is
//! refused ends the process, or nothing comes of it. A forked process can use its cache. Threads
//! come and go by the thousand.
#![cfg(all(target_os = "linux", not(coeval_loom)))]

mod common;

use coeval::reclaim::Reclaim;
use common::counted::{ById, Counted, Ledgers};
use common::random::Random;
use common::{Store, on_every_reclaimer, store, together, within};
use std::alloc::{GlobalAlloc, Layout, System};
use std::any::type_name;
use std::cell::Cell;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The system's allocator, which refuses one request of a thread that asks for that.
struct Refusing;

std::thread_local! {
    /// How many requests of this thread are still granted before one is refused; 0 for all.
    static GRANTED: Cell<u64> = const { Cell::new(0) };
}

fn is_refused() -> bool {
    let granted = GRANTED.try_with(|granted| {
        let left = granted.get();
        granted.set(left.saturating_sub(1));
        left
    });
    granted == Ok(1)
}

// SAFETY: forwards every call to the system's allocator, or returns null, as an allocator may.
unsafe impl GlobalAlloc for Refusing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_refused() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Refusing = Refusing;

const GROUP: u64 = 4;

/// Writes a group of keys by one commit, each to the same value. Some of the other operations, too.
fn write<R: Reclaim>(cache: &Store<u64, u64, R>, group: u64, value: u64) {
    let first = group * GROUP;
    match value % 4 {
        0 => {
            let group = (first..first + GROUP).map(|key| (key, value));
            cache.insert_many(group);
        }
        1 => {
            let done = cache.transact(|tx| {
                for key in first..first + GROUP {
                    tx.get(&key);
                    tx.insert_tagged(key, value, &["all".into()]);
                }
                Ok::<_, ()>(())
            });
            drop(done);
        }
        2 => _ = cache.derive(u64::MAX - group, |scope| scope.get(&first).unwrap_or(0)),
        _ => {
            // Fresh keys, so that the cache grows.
            (0..16).for_each(|key| _ = cache.insert(1_000 + value * 16 + key, 0));
            let _ = cache.invalidate_tag("all");
        }
    }
}

/// Panics if a group is seen half.
fn read<R: Reclaim>(cache: &Store<u64, u64, R>, group: u64) {
    let keys = [0, 1, 2, 3].map(|key| group * GROUP + key);
    let found = cache.get_many(keys.each_ref());
    assert!(found.iter().all(|value| *value == found[0]), "TORN: {found:?}");
    let view = cache.view();
    let found = keys.map(|key| view.get(&key).copied());
    assert!(found.iter().all(|value| *value == found[0]), "TORN: {found:?}");
}

/// The body of a child: one thread writes, and is refused its request number `at`, while another
/// one reads.
fn be_refused<R: Reclaim>(at: u64) {
    let cache = store::<u64, u64, R>();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                (0..3).for_each(|group| read(&cache, group));
            }
        });
        GRANTED.set(at);
        (0..100).for_each(|value| write(&cache, value % 3, value));
        GRANTED.set(0);
        stop.store(true, Ordering::Release);
    });
    (0..3).for_each(|group| read(&cache, group));
}

fn an_allocation_that_is_refused<R: Reclaim>() {
    let module = match type_name::<R>() {
        name if name.ends_with("CrossbeamEpoch") => "crossbeam_epoch",
        name if name.ends_with("Seize") => "seize",
        _ => "asymmetric",
    };
    let name = format!("{module}::an_allocation_that_is_refused");
    if let Ok(at) = std::env::var("COEVAL_REFUSED") {
        return be_refused::<R>(at.parse().unwrap());
    }
    let mut aborted = 0;
    for at in (1..12).chain((12..120).step_by(15)) {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args([&name, "--exact", "--nocapture", "--test-threads=1"]);
        child.env("COEVAL_REFUSED", at.to_string()).env("ASAN_OPTIONS", "detect_leaks=0");
        let output = child.stdin(Stdio::null()).output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        // The process ended as Rust ends it if there is no memory, or did not need the memory.
        let is_abort = output.status.signal() == Some(libc::SIGABRT);
        let expected =
            output.status.success() || is_abort && words.contains("memory allocation of");
        assert!(expected && !words.contains("TORN"), "request {at}: {}\n{words}", output.status);
        aborted += u64::from(is_abort);
    }
    assert!(aborted > 0, "no request was refused");
}

/// Runs `body` in a forked process, which must end well within a time.
fn forked(body: impl FnOnce()) {
    // SAFETY: the child runs on this thread alone, and ends by `_exit`. It uses only this cache and
    // the allocator, which glibc makes usable after a fork.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no process was made");
    if child == 0 {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        // SAFETY: ends the process, without destructors that belong to the parent.
        unsafe { libc::_exit(i32::from(done.is_err())) }
    }
    for _ in 0..2_000 {
        let mut status = 0;
        // SAFETY: waits for the child made above.
        if unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == child {
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "status {status}");
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // SAFETY: the child made above, which was not waited for.
    unsafe { libc::kill(child, libc::SIGKILL) };
    panic!("the forked process hangs");
}

/// The threads of the parent are not in the child: whatever they were doing stays half done there,
/// as if they had been stopped.
fn a_process_that_is_forked<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    let (stop, next) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Acquire) {
                    let value = 2 * next.fetch_add(1, Ordering::Relaxed);
                    write(&cache, value % 3, value & !2);
                }
            });
        }
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(2));
            forked(|| {
                for value in 0..60 {
                    write(&cache, value % 3, 4 * value);
                    read(&cache, value % 3);
                    let _ = cache.remove(&(value % 3 * GROUP));
                    write(&cache, value % 3, 4 * value + 1);
                }
            });
        }
        stop.store(true, Ordering::Release);
    });
    (0..3).for_each(|group| read(&cache, group));
}

/// Beside two that stay, so that there is always someone to take over what they leave.
fn threads_that_come_and_go<R: Reclaim>() {
    let made = Ledgers::new();
    let cache = store::<Counted, Counted, R>();
    let act = |cache: &Store<Counted, Counted, R>, random: &mut Random| {
        let key = random.below(50);
        match random.below(5) {
            0 => _ = cache.remove(&ById(key)),
            1 => _ = cache.view().get(&ById(key)).cloned(),
            2 => {
                let _ = cache.lease(&made.key(key)).fill(made.value(key));
            }
            _ => _ = cache.insert(made.key(key), made.value(key)),
        }
    };
    within(Duration::from_secs(120), "threads that come and go", || {
        together(2, |thread| {
            let mut random = Random::new(thread as u64);
            for _ in 0..20 {
                std::thread::scope(|scope| {
                    for _ in 0..25 {
                        let seed = random.next();
                        // A clone, which is dropped with the thread, while others use the cache.
                        let cache = cache.clone();
                        scope.spawn(move || {
                            let mut random = Random::new(seed);
                            (0..10).for_each(|_| act(&cache, &mut random));
                        });
                    }
                    (0..20).for_each(|_| act(&cache, &mut random));
                });
            }
        });
    });
    assert!(made.keys.made() > 1_000);
    drop(cache);
    made.assert_settled();
}

on_every_reclaimer!(
    an_allocation_that_is_refused,
    a_process_that_is_forked,
    threads_that_come_and_go
);
