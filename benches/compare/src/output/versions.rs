//! The compiled versions of the stores.

/// The stores and the packages that they are built on, with their compiled versions.
pub fn all() -> Vec<(&'static str, &'static str)> {
    const LOCK: &str = include_str!("../../../../Cargo.lock");
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
    // If a package occurs twice, this crate and the library name the version that they use.
    let ours = ["coeval", "coeval-compare"];
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
        let versions = super::all();
        for name in ["coeval", "papaya", "moka", "foyer-memory", "stretto", "left-right"] {
            assert!(versions.iter().any(|(n, v)| *n == name && v.contains('.')), "{name}");
        }
        for (i, (name, _)) in versions.iter().enumerate() {
            assert!(versions[..i].iter().all(|(n, _)| n != name), "{name} occurs twice");
        }
    }
}
