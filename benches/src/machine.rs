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

/// The stores and schemes that were compiled in, with their versions.
pub fn versions() -> Vec<(&'static str, &'static str)> {
    const LOCK: &str = include_str!("../../Cargo.lock");
    const NAMES: [&str; 11] = [
        "coeval",
        "concread",
        "crossbeam-epoch",
        "dashmap",
        "evmap",
        "foldhash",
        "moka",
        "papaya",
        "parking_lot",
        "quick_cache",
        "seize",
    ];
    let field = |package: &'static str, name: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(name));
        line.map(|rest| rest.trim_matches([' ', '=', '"']))
    };
    let packages = LOCK.split("[[package]]");
    let pairs = packages.filter_map(|p| Some((field(p, "name")?, field(p, "version")?)));
    pairs.filter(|(name, _)| NAMES.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_store_has_a_version() {
        let versions = super::versions();
        for name in ["coeval", "papaya", "moka", "seize"] {
            assert!(versions.iter().any(|(n, v)| *n == name && v.contains('.')), "{name}");
        }
    }
}
