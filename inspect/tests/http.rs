//! Promise: the page shows what the caches say, to whoever may see it, and changes nothing unless
//! that is allowed.

mod common;

use coeval::{Cache, Version};
use coeval_inspect::Inspector;
use common::{Answer, begin, request};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;
use tokio::io::AsyncBufReadExt;
use tokio::net::TcpListener;

type Users = Cache<u64, u64>;

fn users() -> Users {
    let builder = Cache::builder().name("users").max_capacity(100).related(|key, related| {
        if *key < 100 {
            related.invalidate(key + 1_000);
        }
    });
    let cache = builder.build();
    (0..10).for_each(|key| _ = cache.insert(key, key));
    cache
}

/// Serves, and says where.
async fn serve(inspector: Inspector) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().nest("/coeval", inspector.router());
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(axum::serve(listener, service).into_future());
    address
}

async fn get(to: SocketAddr, path: &str) -> Answer {
    request(to, &format!("GET /coeval/{path}"), &["x-coeval: 1"], "").await
}

#[tokio::test]
async fn the_answers_are_those_of_the_caches() {
    let (users, texts) = (users(), Cache::<String, u64>::new());
    texts.insert("a b".to_owned(), 1);
    let at = serve(Inspector::new().watch(&users).watch(&texts)).await;
    let caches = get(at, "api/caches").await.json();
    assert_eq!(caches["caches"], serde_json::json!(["users", "cache 1"]));
    assert_eq!(caches["may_change"], false);
    (0..3).for_each(|_| _ = users.get(&7));
    users.get(&77);
    let view = users.view();
    let figures = get(at, "api/0/figures").await.json();
    let of = |name: &str| figures[name].as_u64();
    assert_eq!((of("hits"), of("misses"), of("entries")), (Some(3), Some(1), Some(10)));
    assert_eq!((of("max_weight"), of("views"), of("commits")), (Some(100), Some(1), Some(10)));
    drop(view);
    assert_eq!(get(at, "api/0/hottest").await.json()[0], "7");
    let explained = get(at, "api/0/explain?key=7").await.json();
    assert_eq!((&explained["key"], &explained["is_present"]), (&"7".into(), &true.into()));
    assert!(explained["text"].as_str().unwrap().contains("value     present"));
    assert!(get(at, "api/0/explain?key=seven").await.json().is_null(), "it is no key");
    let explained = get(at, "api/1/explain?key=a%20b").await.json();
    assert_eq!(explained["is_present"], true);
    assert_eq!(get(at, "api/0/explain").await.status, 400);
    assert_eq!(get(at, "api/2/figures").await.status, 404);
    // An entry that is older than the key to which it belongs.
    let lease_of_old = users.lease(&1_007);
    assert!(lease_of_old.fill(1).is_ok());
    users.reconfigure(|settings| _ = settings.unrelated()).unwrap();
    users.insert(7, 8);
    let relation = |key: &u64, related: &mut coeval::Related<u64, u64>| {
        if *key < 100 {
            related.invalidate(key + 1_000);
        }
    };
    users.reconfigure(|settings| _ = settings.related(relation)).unwrap();
    let checked = get(at, "api/0/check").await.json();
    assert_eq!((&checked["mismatches"], &checked["is_whole"]), (&1.into(), &true.into()));
    let finding = &checked["findings"][0];
    assert_eq!((&finding["key"], &finding["related"]), (&"7".into(), &"1007".into()));
    assert!(users.contains_key(&1_007), "nothing was repaired");
    drop(users);
    assert_eq!(get(at, "api/0/figures").await.status, 410, "the inspector does not keep it");
}

#[tokio::test]
async fn only_this_machine_may_ask_without_a_token() {
    let users = users();
    let at = serve(Inspector::new().watch(&users)).await;
    let from = async |host: &str| {
        let headers = [&format!("host: {host}"), "x-coeval: 1"];
        request(at, "GET /coeval/api/caches", &headers, "").await.status
    };
    let as_another =
        async |headers: &[&str]| request(at, "GET /coeval/api/0/hottest", headers, "").await.status;
    assert_eq!(as_another(&["x-coeval: 1"]).await, 200);
    assert_eq!(as_another(&[]).await, 403, "as a page of another site would");
    for by_proxy in ["forwarded: for=10.0.0.1", "x-forwarded-for: 10.0.0.1"] {
        assert_eq!(as_another(&["x-coeval: 1", by_proxy]).await, 403, "{by_proxy}");
    }
    for host in ["localhost", "localhost:80", "127.0.0.1:8600", "[::1]:8600"] {
        assert_eq!(from(host).await, 200, "{host}");
    }
    for host in ["example.org", "localhost.example.org:80", "10.0.0.1", "127.0.0.1.example.org"] {
        assert_eq!(from(host).await, 403, "{host}: a name that leads to this machine");
    }
    // A service that does not know who asks.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let router = axum::Router::new().nest("/coeval", Inspector::new().watch(&users).router());
    tokio::spawn(axum::serve(listener, router).into_future());
    assert_eq!(get(at, "api/caches").await.status, 403);
    let page = request(at, "GET /coeval", &[], "").await;
    assert_eq!(page.status, 200, "the page itself shows nothing");
    let refused = Inspector::new().serve("0.0.0.0:0".parse().unwrap()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_token_is_asked_for() {
    let users = users();
    let at = serve(Inspector::new().watch(&users).token("open sesame").allow_changes()).await;
    let with = async |line: &str, headers: &[&str]| request(at, line, headers, "").await.status;
    let right = "authorization: Bearer open sesame";
    let line = "GET /coeval/api/0/figures";
    assert_eq!(with(line, &[right]).await, 200);
    assert_eq!(with(line, &[right, "host: example.org"]).await, 200);
    for wrong in
        ["Bearer open", "Bearer open sesame!", "Bearer ", "open sesame", "Bearer open sesamE"]
    {
        assert_eq!(with(line, &[&format!("authorization: {wrong}")]).await, 401, "{wrong}");
    }
    assert_eq!(with(line, &[]).await, 401);
    let change = "POST /coeval/api/0/invalidate?key=1";
    assert_eq!(with(change, &["x-coeval: 1"]).await, 401);
    assert!(users.contains_key(&1));
    assert_eq!(with(change, &["x-coeval: 1", right]).await, 200);
    assert!(!users.contains_key(&1));
}

#[tokio::test]
async fn it_changes_something_only_if_that_is_allowed() {
    let users = users();
    let lines = ["POST /coeval/api/0/invalidate?key=1", "POST /coeval/api/0/record?on=true"];
    let at = serve(Inspector::new().watch(&users)).await;
    for line in lines {
        assert_eq!(request(at, line, &["x-coeval: 1"], "").await.status, 403);
    }
    assert!(users.contains_key(&1) && !users.timeline().is_recording());
    let at = serve(Inspector::new().watch(&users).allow_changes()).await;
    for line in lines {
        assert_eq!(request(at, line, &[], "").await.status, 403, "as a page of another site would");
        let read = line.replace("POST", "GET");
        assert_eq!(request(at, &read, &["x-coeval: 1"], "").await.status, 405);
    }
    assert!(users.contains_key(&1) && !users.timeline().is_recording());
    // A relation is followed.
    users.insert(1_001, 1);
    let told = request(at, lines[0], &["x-coeval: 1"], "").await.json();
    assert_eq!(told["version"].as_u64(), Some(Version::get(users.version())));
    assert!(!users.contains_key(&1) && !users.contains_key(&1_001));
    let told = request(at, lines[1], &["x-coeval: 1"], "").await.json();
    assert_eq!(told["is_recording"], true);
    request(at, "POST /coeval/api/0/record?on=false", &["x-coeval: 1"], "").await.json();
    assert!(!users.timeline().is_recording());
}

#[tokio::test]
async fn views_and_loads_are_shown_while_they_last() {
    let users = users();
    let at = serve(Inspector::new().watch(&users)).await;
    let under_way = async || get(at, "api/0/under-way").await.json();
    users.load(1_000_000, || Err::<u64, _>(())).unwrap_err();
    let (view, line) = (users.view(), line!());
    let (answer, answered) = std::sync::mpsc::channel();
    let (waiting, loading) = (users.clone(), users.clone());
    let loading =
        std::thread::spawn(move || loading.get_with(2_000_000, || answered.recv().unwrap()));
    while users.loads_under_way().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let waiting = std::thread::spawn(move || waiting.get_with(2_000_000, || 0));
    while users.loads_under_way()[0].waiters == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let shown = under_way().await;
    let opened_at = shown["views"][0]["opened_at"].as_str().unwrap();
    assert!(opened_at.ends_with(&format!("http.rs:{line}")), "{opened_at}");
    assert_eq!(shown["views"][0]["version"].as_u64(), Some(view.version().get()));
    assert_eq!(
        (&shown["loads"][0]["key"], &shown["loads"][0]["waiters"]),
        (&"2000000".into(), &1.into())
    );
    assert!(shown["loads"][0]["age"].as_f64().unwrap() > 0.0);
    assert_eq!(shown["load_times"]["success"], serde_json::json!([]));
    assert_eq!(shown["load_times"]["failure"][0][1], 1);
    answer.send(7).unwrap();
    assert_eq!((loading.join().unwrap(), waiting.join().unwrap()), (7, 7));
    drop(view);
    let shown = under_way().await;
    assert_eq!((&shown["views"], &shown["loads"]), (&serde_json::json!([]), &shown["views"]));
    assert_eq!(shown["load_times"]["success"][0][1], 1);
}

/// However many ask, only a few visit many entries at once. Nothing else waits for them.
#[tokio::test]
async fn requests_that_visit_many_entries_take_turns() {
    let is_held = Arc::new(AtomicBool::new(false));
    let held = is_held.clone();
    let relation = move |_: &u64, _: &mut coeval::Related<u64, u64>| {
        while held.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let cache: Users = Cache::builder().max_capacity(10).related(relation).build();
    cache.insert(1, 1);
    let at = serve(Inspector::new().watch(&cache)).await;
    is_held.store(true, SeqCst);
    let checks = [(); 2].map(|()| tokio::spawn(get(at, "api/0/check")));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(get(at, "api/0/hottest").await.status, 429);
    assert_eq!(get(at, "api/0/figures").await.status, 200);
    is_held.store(false, SeqCst);
    for check in checks {
        assert_eq!(check.await.unwrap().status, 200);
    }
    assert_eq!(get(at, "api/0/hottest").await.status, 200);
}

#[tokio::test]
async fn the_stream_has_the_figures_and_each_event_once() {
    let users = users();
    let at = serve(Inspector::new().watch(&users)).await;
    users.timeline().start();
    users.insert(1, 2);
    let line = "GET /coeval/api/0/stream";
    let (status, head, mut stream) = begin(at, line, &["x-coeval: 1"], "").await;
    assert!(status == 200 && head.contains("text/event-stream"), "{head}");
    let mut next = async || {
        let mut line = String::new();
        while !line.starts_with("data:") {
            line.clear();
            assert_ne!(stream.read_line(&mut line).await.unwrap(), 0, "the stream has ended");
        }
        serde_json::from_str::<serde_json::Value>(&line[5..]).unwrap()
    };
    let commits = |message: &serde_json::Value| {
        let events = message["events"]["events"].as_array().unwrap();
        let commits = events.iter().filter(|event| event["kind"] == "commit");
        commits.map(|event| event["version"].as_u64()).collect::<BTreeSet<_>>().len()
    };
    let first = next().await;
    let is_commit = |event: &&serde_json::Value| event["kind"] == "commit";
    let commit = first["events"]["events"].as_array().unwrap().iter().find(is_commit).unwrap();
    assert_eq!(commit["key"], "1");
    assert_eq!((commits(&first), &first["figures"]["entries"]), (1, &10.into()));
    users.insert(2, 3);
    users.insert(20, 3);
    let second = next().await;
    assert_eq!((commits(&second), &second["figures"]["entries"]), (2, &11.into()));
    drop(users);
    let ended = tokio::time::timeout(Duration::from_secs(10), async {
        let mut line = String::new();
        while stream.read_line(&mut line).await.unwrap_or(0) > 0 {}
    });
    ended.await.expect("the stream of a cache that is gone ends");
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let at = serve(Inspector::new()).await;
    let page = request(at, "GET /coeval", &[], "").await;
    assert_eq!(page.status, 200);
    assert!(page.headers.contains("content-security-policy: default-src 'none'"));
    let body = page.body.replace("http://www.w3.org/2000/svg", "");
    for outside in ["http:", "https:", "src=", "@import", "url(", "innerHTML"] {
        assert!(!body.contains(outside), "the page has {outside}");
    }
}
