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

/// The stores and what they are built on, with the versions that were compiled in.
pub fn versions() -> Vec<(&'static str, &'static str)> {
    const LOCK: &str = include_str!("../../Cargo.lock");
    const NAMES: [&str; 20] = [
        "coeval",
        "arc-swap",
        "concread",
        "crossbeam-epoch",
        "dashmap",
        "evmap",
        "flurry",
        "foldhash",
        "foyer-memory",
        "imbl",
        "left-right",
        "mini-moka",
        "moka",
        "papaya",
        "parking_lot",
        "quick_cache",
        "scc",
        "seize",
        "stretto",
        "tokio",
    ];
    let field = |package: &'static str, name: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(name));
        line.map(|rest| rest.trim_matches([' ', '=', '"']))
    };
    let packages = || LOCK.split("[[package]]");
    let pair = |package| Some((field(package, "name")?, field(package, "version")?));
    // Of a package that is there twice, this crate and the library name the version that they use.
    let ours = ["coeval", "coeval-bench"];
    let used = packages().filter(|p| field(p, "name").is_some_and(|name| ours.contains(&name)));
    let used: String = used.collect();
    let pairs: Vec<_> = packages().filter_map(pair).filter(|(n, _)| NAMES.contains(n)).collect();
    let only = |name: &str| pairs.iter().filter(|(n, _)| *n == name).count() == 1;
    let is_used = |(name, version): &(&str, &str)| {
        only(name) || used.contains(&format!("\"{name} {version}\""))
    };
    pairs.iter().copied().filter(is_used).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_store_has_a_version() {
        let versions = super::versions();
        for name in ["coeval", "papaya", "moka", "foyer-memory", "stretto", "left-right"] {
            assert!(versions.iter().any(|(n, v)| *n == name && v.contains('.')), "{name}");
        }
        for (i, (name, _)) in versions.iter().enumerate() {
            assert!(versions[..i].iter().all(|(n, _)| n != name), "{name} is there twice");
        }
    }
}
