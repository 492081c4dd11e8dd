//! The machine of a measurement.

/// Whether [`crate::freeze`] works here.
pub const CAN_FREEZE: bool = cfg!(target_os = "linux");

/// The name of the processor, or its architecture.
pub fn model() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name"));
    let name = name.map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned());
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The number of cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The processor time of the calling thread, if the system reports it.
#[cfg(target_os = "linux")]
pub fn thread_time() -> Option<std::time::Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Linux, and `time` is valid for writes.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    (rc == 0).then(|| std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// The processor time of the calling thread, if the system reports it.
#[cfg(not(target_os = "linux"))]
pub fn thread_time() -> Option<std::time::Duration> {
    None
}

/// Makes sleeps of the calling thread end when they are due instead of up to 50 µs later, if the
/// system supports that.
pub fn sleep_precisely() {
    #[cfg(target_os = "linux")]
    // SAFETY: affects only the timers of the calling thread; if the call fails, they do not change.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong);
    }
}
