//! What the service answers.

use crate::database::Trouble;
use crate::pages::Pages;
use crate::prometheus::Metrics;
use crate::rows::{Id, Key, Page, Row};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use coeval::{Exporter, Served};
use coeval_inspect::Inspector;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The answer to `GET /page/{id}`.
#[derive(Serialize, Deserialize)]
pub struct Answer {
    #[serde(flatten)]
    pub page: Page,
    /// Why it is this page: `fresh`, `loaded`, or `stale`.
    pub served: String,
    /// The age of a stale page.
    pub age_ms: u64,
}

#[derive(Clone)]
struct Service {
    pages: Pages,
    metrics: Metrics,
    exporter: Arc<Exporter<Key, Row>>,
}

pub fn router(pages: Pages, metrics: Metrics, token: Option<&str>) -> Router {
    let mut inspector = Inspector::new().watch(&pages.cache).allow_changes();
    if let Some(token) = token {
        inspector = inspector.token(token);
    }
    let exporter = Arc::new(pages.cache.export_metrics());
    Router::new()
        .route("/page/{id}", get(show_page))
        .route("/user/{id}", put(rename_user))
        .route("/metrics", get(show_metrics))
        .with_state(Service { pages, metrics, exporter })
        .nest("/coeval", inspector.router())
}

async fn show_page(
    State(Service { pages, .. }): State<Service>,
    Path(id): Path<Id>,
) -> Result<Json<Answer>, Trouble> {
    let served = pages.page(id).await?;
    let (word, age_ms) = match &served {
        Served::Stale { age, .. } => ("stale", age.as_millis() as u64),
        Served::Loaded(_) => ("loaded", 0),
        _ => ("fresh", 0),
    };
    Ok(Json(Answer { page: served.into_value(), served: word.to_owned(), age_ms }))
}

async fn rename_user(
    State(Service { pages, .. }): State<Service>,
    Path(id): Path<Id>,
    name: String,
) -> Result<Json<Page>, Trouble> {
    pages.rename(id, name).await.map(Json)
}

async fn show_metrics(
    State(Service { metrics, exporter, .. }): State<Service>,
) -> impl IntoResponse {
    exporter.update();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.to_string())
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NoSuchUser => StatusCode::NOT_FOUND,
            Self::Database(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, self.to_string()).into_response()
    }
}
