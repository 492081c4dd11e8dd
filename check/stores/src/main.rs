//! Prints what the kit says of each store. The argument is the number of transactions of each of
//! four threads (20,000 by default); with a folder as the second, a picture of the first finding of
//! each name is left there.

use coeval::reclaim::Asymmetric;
use coeval_check::Checker;
use coeval_check_stores::{Dash, Locked, Mixed, Moka, Store, Transact, Views, Work, record};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let transactions = arguments.next().map_or(Ok(20_000), |number| number.parse())?;
    let folder = arguments.next();
    let stores: [&dyn Store; 6] = [
        &Transact::<Asymmetric>::default(),
        &Views::<Asymmetric>::default(),
        &Mixed::<Asymmetric>::default(),
        &Locked::default(),
        &Dash::default(),
        &Moka::default(),
    ];
    for store in stores {
        let history = record(store, Work { threads: 4, transactions, seed: 1 });
        let report = Checker::new().check(&history)?;
        println!("{}: {} transactions", store.name(), history.len());
        if report.is_clean() {
            println!("  no anomaly");
        }
        for (name, count) in report.counts() {
            println!("  {name}: {count}");
            let finding = report.findings.iter().find(|finding| finding.name() == name);
            if let (Some(folder), Some(finding)) = (&folder, finding) {
                let of = store.name().split([',', '<']).next().unwrap_or("store");
                std::fs::write(format!("{folder}/{of}-{name}.svg"), finding.svg())?;
            }
        }
    }
    Ok(())
}
