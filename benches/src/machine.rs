//! What the figures were taken on.

/// Whether [`crate::freeze`] works here.
pub const CAN_FREEZE: bool = cfg!(target_os = "linux");

/// The processor's name, or its architecture.
pub fn model() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name"));
    let name = name.map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned());
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Time that the calling thread has spent on a processor, where the system tells.
#[cfg(target_os = "linux")]
pub fn thread_time() -> Option<std::time::Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Linux, and `time` may be written.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    (rc == 0).then(|| std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// Time that the calling thread has spent on a processor, where the system tells.
#[cfg(not(target_os = "linux"))]
pub fn thread_time() -> Option<std::time::Duration> {
    None
}

/// Makes the calling thread's sleeps end when they are due, and not up to 50 µs later, where the
/// system can.
pub fn sleep_precisely() {
    #[cfg(target_os = "linux")]
    // SAFETY: concerns the calling thread's timers only; a refusal leaves them as they were.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong);
    }
}
