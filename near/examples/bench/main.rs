//! What a near cache costs, and what it spares, beside other ways to read the same server:
//!
//! ```sh
//! cargo run --release -p coeval-redis --example bench -- [DIR]
//! ```
//!
//! It starts servers of its own, `redis-server` and `valkey-server` from `PATH` or what
//! `COEVAL_SERVERS` names, each on a free loopback port. It prints tables, and writes them with
//! pictures into the directory: `target/near-report`, unless another one is named. `SECONDS_EACH`
//! is how long it looks for torn groups in each design (default 3).

mod designs;
mod measure;
#[allow(dead_code)]
#[path = "../../../benches/src/picture/mod.rs"]
mod picture;
mod report;
#[allow(dead_code)]
#[path = "../../src/tests/server.rs"]
mod server;
#[allow(dead_code)]
#[path = "../../../benches/src/table.rs"]
mod table;

use measure::Figures;
use server::Server;
use std::path::PathBuf;

fn main() {
    let folder = std::env::args_os().nth(1).unwrap_or_else(|| "target/near-report".into());
    let folder = PathBuf::from(folder);
    server::with_each("bench", async |server| {
        let version = server.version().await;
        let figures = look(server).await;
        report::print(&version, &figures);
        let folder = folder.join(version.to_lowercase().replace(' ', "-"));
        match report::write(&folder, &version, &figures) {
            Ok(()) => println!("\nWith pictures: {}", folder.join("index.html").display()),
            Err(error) => println!("\nNo pictures: {}: {error}", folder.display()),
        }
    });
}

async fn look(server: &Server) -> Figures {
    let seconds = std::env::var("SECONDS_EACH").ok().and_then(|it| it.parse().ok()).unwrap_or(3);
    let mut figures = Figures { rates: measure::rates(server).await, ..Figures::default() };
    figures.torn = measure::torn(server, seconds).await;
    figures.notices = measure::notices(server).await;
    figures
}
