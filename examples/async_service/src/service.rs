//! The life of the service: it starts with the cache of its last run, serves, and saves the cache
//! when it is told to end.

use crate::database::{self, Database};
use crate::pages::{self, Pages};
use crate::prometheus::Metrics;
use crate::routes;
use crate::rows::Id;
use crate::settings::Settings;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;

/// The users of a database that is made.
pub const USERS: Id = 300;
/// The requests under way have so long to end when the service ends. The stream of an open live
/// page has no end.
const GRACE: Duration = Duration::from_secs(2);

pub async fn run(settings: Settings) -> io::Result<()> {
    std::fs::create_dir_all(&settings.folder)?;
    let (tables, saved) =
        (settings.folder.join("site.sqlite"), settings.folder.join("pages.cache"));
    if !tables.exists() {
        database::create(&tables, USERS).map_err(io::Error::other)?;
    }
    let metrics = Metrics::install();
    let (cache, restored) = pages::builder(&settings).restore_or_empty(&saved);
    match restored {
        Ok(report) => println!("{report}"),
        Err(reason) => println!("the cache is empty: {reason}"),
    }
    let pages = Pages::new(cache.clone(), Database::new(tables, settings.patience), &settings);
    let router = routes::router(pages, metrics, settings.token.as_deref());

    let listener = TcpListener::bind(("127.0.0.1", settings.port)).await?;
    println!("listening on {}", listener.local_addr()?);
    // The live page must know who asks.
    let make = router.into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(listener, make).with_graceful_shutdown(told_to_end());
    let time_is_up = async {
        told_to_end().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = served => served?,
        () = time_is_up => {}
    }
    let report = cache.save(&saved)?;
    println!("saved {} entries, {} bytes, as of {}", report.entries, report.bytes, report.version);
    Ok(())
}

/// Returns when the program is told to end: by SIGTERM, or by Ctrl-C.
async fn told_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).expect("signals can be heard");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await.expect("Ctrl-C can be heard");
}
