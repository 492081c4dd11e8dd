//! A cache at work, and its page: `cargo run -p coeval-inspect --example demo`. Then open the
//! address that it prints. The first argument is the port (default 8600), the second a token.

use coeval::Cache;
use coeval_inspect::Inspector;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().map_or(8600, |port| port.parse().expect("a port"));
    let cache: Cache<String, u64> = Cache::builder()
        .name("users")
        .max_capacity(2_000)
        .time_to_live(Duration::from_secs(600))
        .related(|key: &String, related| {
            if let Some(id) = key.strip_prefix("user:") {
                related.invalidate(format!("feed:{id}"));
            }
        })
        .build();
    let sessions: Cache<u64, u64> =
        Cache::builder().name("sessions").time_to_idle(Duration::from_secs(60)).build();
    for thread in 0..3 {
        let (cache, sessions) = (cache.clone(), sessions.clone());
        thread::spawn(move || work(&cache, &sessions, thread));
    }
    let mut inspector = Inspector::new().watch(&cache).watch(&sessions).allow_changes();
    if let Some(token) = arguments.next() {
        inspector = inspector.token(&token);
    }
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    println!("http://{address}/");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(inspector.serve(address))
}

/// Reads users and their feeds, a few of them often, and changes one now and then.
fn work(cache: &Cache<String, u64>, sessions: &Cache<u64, u64>, mut random: u64) {
    loop {
        random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        let id = (random >> 33) % if random >> 62 == 0 { 3_000 } else { 60 };
        cache.get_with(format!("user:{id}"), || id);
        cache.get_with(format!("feed:{id}"), || id * 10);
        if random >> 59 == 1 {
            let mut batch = cache.batch_mut();
            batch.insert(format!("user:{id}"), random).insert(format!("name:{id}"), random);
            batch.commit();
        }
        sessions.insert(id, random);
        thread::sleep(Duration::from_millis(2));
    }
}
