//! Who may ask: whoever has the token, or this machine if there is none.

use crate::Inspector;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;
use std::sync::Arc;

/// Answers a request, or refuses it and says why.
pub async fn check(
    State(inspector): State<Arc<Inspector>>,
    request: Request,
    next: Next,
) -> Response {
    match refusal(&inspector, &request) {
        None => next.run(request).await,
        Some((status, reason)) => (status, reason).into_response(),
    }
}

fn refusal(inspector: &Inspector, request: &Request) -> Option<(StatusCode, &'static str)> {
    let headers = request.headers();
    match &inspector.token {
        Some(token) if !has_token(headers, token) => {
            return Some((StatusCode::UNAUTHORIZED, "this takes the token"));
        }
        Some(_) => {}
        None => {
            let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
            if !peer.is_some_and(|ConnectInfo(peer)| peer.ip().to_canonical().is_loopback()) {
                return Some((StatusCode::FORBIDDEN, "only this machine may ask without a token"));
            }
            // A page of another site may have a name that leads to this machine.
            if !is_for_this_machine(headers) {
                return Some((StatusCode::FORBIDDEN, "the request is for another host"));
            }
            // A proxy on this machine asks for others.
            if headers.contains_key(header::FORWARDED) || headers.contains_key("x-forwarded-for") {
                return Some((StatusCode::FORBIDDEN, "a proxy may ask with a token only"));
            }
            if !is_of_own_page(headers) {
                return Some((StatusCode::FORBIDDEN, "the header x-coeval is missing"));
            }
        }
    }
    if request.method() == Method::GET {
        return None;
    }
    if !inspector.may_change {
        return Some((StatusCode::FORBIDDEN, "changes are not allowed"));
    }
    (!is_of_own_page(headers)).then_some((StatusCode::FORBIDDEN, "the header x-coeval is missing"))
}

/// Browsers send this header to another site only if that site agrees.
fn is_of_own_page(headers: &HeaderMap) -> bool {
    headers.contains_key("x-coeval")
}

fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    given.and_then(|given| given.strip_prefix("Bearer ")).is_some_and(|given| same(given, token))
}

/// Compares in a time that does not tell where two texts differ.
fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let differ = one.iter().zip(other).fold(0, |differ, (one, other)| differ | (one ^ other));
    one.len() == other.len() && std::hint::black_box(differ) == 0
}

fn is_for_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
