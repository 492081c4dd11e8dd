//! How long a check takes. The arguments are the number of transactions (10,000,000 by default)
//! and of processes (8):
//!
//! ```sh
//! cargo run --release -p coeval-check --example speed -- 10000000 8
//! ```

use coeval_check::Checker;
use coeval_check::simulate::Plan;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let transactions = arguments.next().map_or(Ok(10_000_000), |number| number.parse())?;
    let processes = arguments.next().map_or(Ok(8), |number| number.parse())?;
    // A key for a hundred transactions, as a test would use: lists stay short.
    let keys = 3 * (processes as u64) + 99;
    let plan = Plan { transactions, processes, keys, ..Plan::default() };
    let begin = Instant::now();
    let history = plan.history(1);
    println!(
        "{} transactions with {} micro-operations, made in {:.1?}",
        history.len(),
        history.micro_operations(),
        begin.elapsed()
    );
    let begin = Instant::now();
    let report = Checker::new().check(&history)?;
    print!("{report}");
    println!("checked in {:.1?}", begin.elapsed());
    Ok(())
}
