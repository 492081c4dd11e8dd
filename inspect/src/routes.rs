//! The page, and the JSON behind it.

use crate::Inspector;
use crate::access;
use crate::watched::{Since, Watched};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::sse::{Event, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// The time between two events of a stream.
const PERIOD: Duration = Duration::from_secs(1);
/// How many requests that visit many entries run at once, and how long others wait for their turn.
pub const SCANS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(2);
/// The hottest keys that the page shows.
const HOTTEST: usize = 20;
const PAGE: &str = include_str!("page.html");
/// Nothing from elsewhere, and no frame of another page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

type Shared = State<Arc<Inspector>>;
type Answer = Result<Json<Value>, StatusCode>;

#[derive(Deserialize)]
struct KeyQuery {
    key: String,
}

#[derive(Deserialize)]
struct Switch {
    on: bool,
}

pub fn router(inspector: Inspector) -> Router {
    let inspector = Arc::new(inspector);
    let api = Router::new()
        .route("/caches", get(caches))
        .route("/{cache}/figures", get(figures))
        .route("/{cache}/under-way", get(under_way))
        .route("/{cache}/stream", get(stream_of))
        .route("/{cache}/hottest", get(hottest))
        .route("/{cache}/explain", get(explain))
        .route("/{cache}/check", get(check))
        .route("/{cache}/record", post(record))
        .route("/{cache}/invalidate", post(invalidate))
        .layer(from_fn_with_state(Arc::clone(&inspector), access::check));
    Router::new().route("/", get(page)).nest("/api", api).with_state(inspector)
}

/// The page itself has no figures, so anybody may have it.
async fn page() -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Html(PAGE)).into_response()
}

async fn caches(State(inspector): Shared) -> Json<Value> {
    let names: Vec<_> = inspector.caches.iter().map(|cache| cache.name()).collect();
    Json(json!({ "caches": names, "may_change": inspector.may_change }))
}

/// Returns the cache of this number.
fn find(inspector: &Inspector, cache: usize) -> Result<&Arc<dyn Watched>, StatusCode> {
    inspector.caches.get(cache).ok_or(StatusCode::NOT_FOUND)
}

/// Lets a thread that may take its time ask the cache.
async fn ask(
    inspector: &Inspector,
    cache: usize,
    ask: impl FnOnce(&dyn Watched) -> Option<Value> + Send + 'static,
) -> Answer {
    let cache = Arc::clone(find(inspector, cache)?);
    let asked = tokio::task::spawn_blocking(move || ask(&*cache)).await;
    let answer = asked.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    answer.map(Json).ok_or(StatusCode::GONE)
}

async fn figures(State(inspector): Shared, Path(cache): Path<usize>) -> Answer {
    find(&inspector, cache)?.figures().map(Json).ok_or(StatusCode::GONE)
}

async fn under_way(State(inspector): Shared, Path(cache): Path<usize>) -> Answer {
    find(&inspector, cache)?.under_way().map(Json).ok_or(StatusCode::GONE)
}

/// Asks what visits many entries, when it is this request's turn. So not all processors are busy
/// with requests, however many there are.
async fn scan(
    inspector: &Inspector,
    cache: usize,
    visit: impl FnOnce(&dyn Watched) -> Option<Value> + Send + 'static,
) -> Answer {
    let turn = Arc::clone(&inspector.scans).acquire_owned();
    let turn = tokio::time::timeout(PATIENCE, turn).await;
    let Ok(Ok(turn)) = turn else { return Err(StatusCode::TOO_MANY_REQUESTS) };
    ask(inspector, cache, move |cache| {
        let _until_it_has_ended = turn; // also if the viewer does not wait for that
        visit(cache)
    })
    .await
}

async fn hottest(State(inspector): Shared, Path(cache): Path<usize>) -> Answer {
    scan(&inspector, cache, |cache| cache.hottest(HOTTEST)).await
}

async fn explain(
    State(inspector): Shared,
    Path(cache): Path<usize>,
    Query(KeyQuery { key }): Query<KeyQuery>,
) -> Answer {
    ask(&inspector, cache, move |cache| cache.explain(&key)).await
}

async fn check(State(inspector): Shared, Path(cache): Path<usize>) -> Answer {
    scan(&inspector, cache, |cache| cache.check()).await
}

async fn record(
    State(inspector): Shared,
    Path(cache): Path<usize>,
    Query(Switch { on }): Query<Switch>,
) -> Answer {
    ask(&inspector, cache, move |cache| cache.record(on)).await
}

async fn invalidate(
    State(inspector): Shared,
    Path(cache): Path<usize>,
    Query(KeyQuery { key }): Query<KeyQuery>,
) -> Answer {
    ask(&inspector, cache, move |cache| cache.invalidate(&key)).await
}

/// The figures and the new events, once a second, until the viewer goes away or the cache is gone.
async fn stream_of(
    State(inspector): Shared,
    Path(cache): Path<usize>,
) -> Result<impl IntoResponse, StatusCode> {
    let cache = Arc::clone(find(&inspector, cache)?);
    let events =
        stream::unfold((cache, Since::new(), true), |(cache, mut since, is_first)| async move {
            if !is_first {
                tokio::time::sleep(PERIOD).await;
            }
            let (figures, under_way) = (cache.figures()?, cache.under_way()?);
            let events = cache.events(&mut since)?;
            let data = json!({ "figures": figures, "under_way": under_way, "events": events });
            let data = data.to_string();
            let event = Ok::<_, Infallible>(Event::default().data(data));
            Some((event, (cache, since, false)))
        });
    Ok(Sse::new(events))
}
