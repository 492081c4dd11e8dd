//! The load test: runs the service, stops the database for a while, restarts the service, and fails
//! if a promise is broken.

mod client;
mod crowd;
mod known;
mod outsider;
mod process;

use crate::database;
use crate::pages::longest_pause;
use crate::service::USERS;
use crate::settings::Settings;
use client::Connection;
use crowd::{Crowd, Pick, Seen, Until};
use known::Known;
use outsider::Outsider;
use process::Process;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long each part takes.
pub struct Plan {
    fresh: Duration,
    fail_safe: Duration,
    steady: Duration,
    outage: Duration,
    /// The requests after each start of which the hit ratio is taken.
    first_requests: u64,
}

impl Plan {
    pub const SHORT: Self = Self {
        fresh: Duration::from_millis(300),
        fail_safe: Duration::from_secs(10),
        steady: Duration::from_millis(800),
        outage: Duration::from_millis(1_500),
        first_requests: 1_000,
    };
    pub const LONG: Self = Self {
        fresh: Duration::from_secs(2),
        fail_safe: Duration::from_secs(60),
        steady: Duration::from_secs(10),
        outage: Duration::from_secs(30),
        first_requests: 10_000,
    };
}

/// Collects what was promised and not kept.
#[derive(Default)]
struct Verdict(Vec<String>);

impl Verdict {
    fn require(&mut self, is_kept: bool, promise: &str) {
        if !is_kept {
            self.0.push(promise.to_owned());
        }
    }

    /// What holds in each part: whoever asks gets a page, whole, and no older than allowed.
    fn require_of_all(&mut self, part: &str, seen: &Seen, fail_safe: Duration) {
        println!("{part:<22} {seen}");
        self.require(seen.errors == 0, &format!("{part}: no caller sees an error"));
        self.require(seen.torn == 0, &format!("{part}: a page is of one revision"));
        self.require(seen.overtaken == 0, &format!("{part}: an answered change is seen by all"));
        self.require(seen.oldest <= fail_safe, &format!("{part}: no value is older than allowed"));
    }

    fn tell(self) -> io::Result<()> {
        for broken in &self.0 {
            println!("BROKEN: {broken}");
        }
        match self.0.len() {
            0 => println!("all promises were kept"),
            broken => return Err(io::Error::other(format!("{broken} promises are broken"))),
        }
        Ok(())
    }
}

/// The files of the test, which end with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let name = format!("coeval-async-service-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub async fn run(plan: Plan) -> io::Result<()> {
    let folder = Folder::new()?;
    let settings = Settings {
        port: 0,
        folder: folder.0.clone(),
        fresh: plan.fresh,
        fail_safe: plan.fail_safe,
        ..Settings::default()
    };
    let tables = settings.folder.join("site.sqlite");
    database::create(&tables, USERS).map_err(io::Error::other)?;
    let known = Arc::new(Known::new(USERS));
    let outsider = Outsider::new(&tables, known.clone())?;
    let mut verdict = Verdict::default();

    println!("{:<22} {}", "", Seen::HEAD);
    let service = Process::start(&settings)?;
    let mut outsider =
        first_run(&plan, &settings, &service, outsider, &known, &mut verdict).await?;
    let before = hit_ratio_of(&service, &plan, &known, &mut verdict, "before the restart").await?;
    service.end()?;
    (0..20).try_for_each(|_| outsider.change())?;

    let service = Process::start(&settings)?;
    let after = hit_ratio_of(&service, &plan, &known, &mut verdict, "after the restart").await?;
    service.end()?;
    std::fs::remove_file(settings.folder.join("pages.cache"))?;
    let service = Process::start(&settings)?;
    let empty = hit_ratio_of(&service, &plan, &known, &mut verdict, "after an empty start").await?;
    service.end()?;

    println!(
        "\nhit ratio: {:.2} % before the restart, {:.2} % after it, {:.2} % after an empty start",
        before * 100.0,
        after * 100.0,
        empty * 100.0
    );
    verdict.require(after >= before - 0.02, "a restart keeps the hit ratio, but for two points");
    verdict.tell()
}

/// From an empty cache, through a time in which the database is down, until all is well again.
async fn first_run(
    plan: &Plan,
    settings: &Settings,
    service: &Process,
    outsider: Outsider,
    known: &Arc<Known>,
    verdict: &mut Verdict,
) -> io::Result<Outsider> {
    let crowd = Crowd::new(service.address, known.clone());
    // From then on the cache has each page, so there is something to serve.
    let all = crowd.clone().read_only().run(Pick::Each, Until::Requests(USERS as u64)).await;
    verdict.require_of_all("each page once", &all, plan.fail_safe);

    let at_work = outsider.go();
    let steady = crowd.run(Pick::Hot, Until::Time(Instant::now() + plan.steady)).await;
    verdict.require_of_all("the database is up", &steady, plan.fail_safe);
    let mut outsider = at_work.stop()?;

    outsider.lock()?;
    let down = crowd.run(Pick::Hot, Until::Time(Instant::now() + plan.outage)).await;
    verdict.require_of_all("the database is down", &down, plan.fail_safe);
    outsider.unlock()?;
    verdict.require(down.stale > 0, "old values were served while the database was down");
    verdict.require(down.changed == 0, "no change was answered while the database was down");
    // A try takes as long as the patience, so this tells whether callers wait for tries.
    let nobody_waits = down.percentile(0.99) < settings.patience / 2;
    verdict.require(nobody_waits, "no caller waits for a database that is down");
    let failed = figure(service, "cache_loads_total", "failure").await?;
    verdict.require(failed > 0.0, "the database was really down");

    // When each pause is over, values are as new as before.
    let (pause, at_work) = (longest_pause(settings.fresh), outsider.go());
    let seen = crowd.run(Pick::Each, Until::Time(Instant::now() + pause + settings.fresh)).await;
    verdict.require_of_all("it comes back", &seen, plan.fail_safe);
    let up = crowd.run(Pick::Each, Until::Time(Instant::now() + plan.steady)).await;
    let soon = settings.fresh + pause + 2 * settings.patience;
    verdict.require_of_all("it is up again", &up, soon);
    at_work.stop()
}

/// The hit ratio of the next requests.
async fn hit_ratio_of(
    service: &Process,
    plan: &Plan,
    known: &Arc<Known>,
    verdict: &mut Verdict,
    part: &str,
) -> io::Result<f64> {
    let of = async |result| figure(service, "cache_gets_total", result).await;
    let (hits, misses) = (of("hit").await?, of("miss").await?);
    let crowd = Crowd::new(service.address, known.clone()).read_only();
    let seen = crowd.run(Pick::Hot, Until::Requests(plan.first_requests)).await;
    verdict.require_of_all(part, &seen, plan.fail_safe);
    let (hits, misses) = (of("hit").await? - hits, of("miss").await? - misses);
    Ok(hits / (hits + misses))
}

/// A figure of the service, as it shows it to Prometheus.
async fn figure(service: &Process, name: &str, result: &str) -> io::Result<f64> {
    let (status, text) = Connection::open(service.address).await?.get("/metrics").await?;
    let start = format!("{name}{{cache=\"pages\",result=\"{result}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok());
    value.ok_or_else(|| io::Error::other(format!("/metrics has no {start}, status {status}")))
}
