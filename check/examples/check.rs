//! Checks a history that a file holds as text (see `History`), tells what it finds, and leaves a
//! picture of each finding beside the file:
//!
//! ```sh
//! cargo run -p coeval-check --example check -- history.txt
//! ```

use coeval_check::{Checker, History};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("name a file")?;
    let history: History = std::fs::read_to_string(&path)?.parse()?;
    let report = Checker::new().check(&history)?;
    print!("{report}");
    for (number, finding) in report.findings.iter().enumerate() {
        let picture = format!("{path}.{}.{}.svg", number + 1, finding.name());
        std::fs::write(&picture, finding.svg())?;
        println!("{picture}");
    }
    Ok(())
}
