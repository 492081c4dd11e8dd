//! The page in a real browser: run by `ci/inspect.sh`, which needs Chromium and its driver.
//! `COEVAL_PICTURES` names a folder for pictures of it.

mod common;

use coeval::Cache;
use coeval_inspect::Inspector;
use common::request;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A driver, and its one window.
struct Browser {
    driver: Child,
    at: SocketAddr,
    session: String,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser, too, which the end of the driver alone would not.
        if let Ok(mut stream) = std::net::TcpStream::connect(self.at) {
            let session = &self.session;
            let line = format!("DELETE {session} HTTP/1.1\r\nhost: {}\r\n\r\n", self.at);
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let _ = stream.write_all(line.as_bytes());
            let _ = stream.read(&mut [0; 64]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Browser {
    async fn open(port: u16, is_dark: bool, width: u32) -> Self {
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let (driver, at) =
            (driver.expect("chromedriver"), SocketAddr::from(([127, 0, 0, 1], port)));
        let mut browser = Self { driver, at, session: String::new() };
        for _ in 0..100 {
            if tokio::net::TcpStream::connect(at).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut arguments =
            vec!["--headless=new", "--hide-scrollbars", "--no-sandbox", "--disable-gpu"];
        arguments.push("--disable-dev-shm-usage");
        if is_dark {
            arguments.extend(["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]);
        }
        let options = json!({ "args": arguments });
        let wanted =
            json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let made = browser.send("POST", "/session", &wanted).await;
        browser.session = format!("/session/{}", made["sessionId"].as_str().expect("a session"));
        // The window may not be narrower than 500 pixels, the page may.
        let screen = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": {
            "width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": false } });
        browser.post("goog/cdp/execute", &screen).await;
        browser
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let headers = ["content-type: application/json"];
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let answer = request(self.at, &format!("{method} {path}"), &headers, &body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str::<Value>(&answer.body).expect("JSON")["value"].clone()
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        self.send("POST", &format!("{}/{path}", self.session), body).await
    }

    /// Runs a script in the page, and returns its value.
    async fn run(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": [] })).await
    }

    /// Waits until the script returns true.
    async fn until(&self, script: &str) {
        for _ in 0..150 {
            if self.run(script).await == true {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!(
            "it does not come true: {script}; {}",
            self.run("return document.body.innerText").await
        );
    }

    /// Presses keys, one after the other.
    async fn press(&self, keys: &[&str]) {
        let actions: Vec<Value> = keys
            .iter()
            .flat_map(|key| {
                ["keyDown", "keyUp"].map(|action| json!({ "type": action, "value": key }))
            })
            .collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.post("actions", &json!({ "actions": [keyboard] })).await;
    }

    /// Saves a picture of the whole page, if a folder is named.
    async fn picture(&self, name: &str) {
        let Ok(folder) = std::env::var("COEVAL_PICTURES") else { return };
        let whole = json!({ "cmd": "Page.captureScreenshot", "params": {
            "format": "png", "captureBeyondViewport": true } });
        let taken = self.post("goog/cdp/execute", &whole).await;
        let picture = from_base64(taken["data"].as_str().expect("a picture"));
        std::fs::write(format!("{folder}/{name}.png"), picture).expect("written");
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |byte: &u8| DIGITS.iter().position(|digit| digit == byte).unwrap_or(0) as u32;
    let mut bytes = Vec::new();
    for four in text.as_bytes().chunks(4) {
        let all = four.iter().fold(0, |all, byte| all << 6 | digit(byte));
        let padding = four.iter().filter(|byte| **byte == b'=').count();
        bytes.extend(&all.to_be_bytes()[1..4 - padding]);
    }
    bytes
}

/// A cache with traffic, and its page. The traffic ends with the flag.
async fn cache_at_work(token: Option<&str>) -> (SocketAddr, Cache<String, u64>, Arc<AtomicBool>) {
    let builder = Cache::<String, u64>::builder().name("users").max_capacity(500);
    let cache = builder
        .time_to_live(Duration::from_secs(600))
        .related(|key: &String, related| {
            if let Some(id) = key.strip_prefix("user:") {
                related.invalidate(format!("feed:{id}"));
            }
        })
        .build();
    let stop = Arc::new(AtomicBool::new(false));
    for thread in 0..3_u64 {
        let (cache, stop) = (cache.clone(), stop.clone());
        std::thread::spawn(move || {
            let mut random = thread;
            while !stop.load(Ordering::Relaxed) {
                random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767);
                let id = (random >> 33) % if random >> 62 == 0 { 900 } else { 40 };
                cache.get_with(format!("user:{id}"), || {
                    std::thread::sleep(Duration::from_micros(200 + random % 6_000));
                    id
                });
                cache.get_with(format!("feed:{id}"), || id * 10);
                if random >> 60 == 1 {
                    let mut batch = cache.batch_mut();
                    batch.insert(format!("user:{id}"), id).insert(format!("name:{id}"), id);
                    batch.commit();
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
    }
    // A load that lasts, for which another thread waits.
    for _ in 0..2 {
        let (cache, stop) = (cache.clone(), stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                cache.get_with("report:1".to_owned(), || {
                    std::thread::sleep(Duration::from_secs(3));
                    1
                });
                cache.remove("report:1");
            }
        });
    }
    let mut inspector = Inspector::new().watch(&cache).allow_changes();
    if let Some(token) = token {
        inspector = inspector.token(token);
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().nest("/coeval", inspector.router());
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(axum::serve(listener, service).into_future());
    (address, cache, stop)
}

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium and its driver"]
async fn by_keyboard_in_light_and_dark_narrow_and_wide() {
    let (at, cache, stop) = cache_at_work(None).await;
    let held = cache.view();
    for (port, is_dark, width) in
        [(9601, false, 1600), (9602, true, 1600), (9603, false, 400), (9604, true, 400)]
    {
        let browser = Browser::open(port, is_dark, width).await;
        let scheme = "return matchMedia('(prefers-color-scheme: dark)').matches";
        assert_eq!(browser.run(scheme).await, is_dark);
        browser.post("url", &json!({ "url": format!("http://{at}/coeval") })).await;
        browser.until("return document.getElementById('state').textContent === 'live'").await;
        browser
            .until("return samples.length > 12 && document.querySelectorAll('#hot li').length > 5")
            .await;
        browser
            .until("return document.querySelector('#open-views tbody').textContent.includes('browser.rs')")
            .await;
        browser.until("return document.querySelectorAll('#under-way tbody tr').length > 0").await;
        browser.until("return document.getElementById('loads').textContent.includes(' ms')").await;
        // Nothing is wider than the page.
        let overhang = "return document.documentElement.scrollWidth - innerWidth";
        assert!(browser.run(overhang).await.as_i64().unwrap() <= 0, "at {width} pixels");
        // By keyboard alone: the cache, Pause, the key, Explain.
        browser.press(&[TAB, TAB, TAB]).await;
        assert_eq!(browser.run("return document.activeElement.id").await, "key");
        let keys: Vec<String> = "user:7".chars().map(String::from).collect();
        browser.press(&keys.iter().map(String::as_str).collect::<Vec<_>>()).await;
        browser.press(&[ENTER]).await;
        browser.until("return document.getElementById('why').textContent.includes('user:7')").await;
        // Each control can be reached, and has a name.
        let unnamed = "return [...document.querySelectorAll('button, input, select')].filter(e => \
            !e.textContent.trim() && !e.labels?.length && !e.getAttribute('aria-label')).length";
        assert_eq!(browser.run(unnamed).await, 0);
        browser.run("document.getElementById('check').click()").await;
        browser
            .until("return document.getElementById('checked').textContent.includes('finding')")
            .await;
        if !cache.timeline().is_recording() {
            browser.run("document.getElementById('record').focus()").await;
            browser.press(&[ENTER]).await;
        }
        browser.until("return document.querySelectorAll('#commits tr').length > 3").await;
        assert!(cache.timeline().is_recording());
        browser.until("return document.querySelectorAll('#lanes circle').length > 20").await;
        let errors = browser.post("se/log", &json!({ "type": "browser" })).await;
        let severe = errors.as_array().unwrap().iter().filter(|entry| entry["level"] == "SEVERE");
        assert_eq!(severe.count(), 0, "{errors}");
        let color = if is_dark { "dark" } else { "light" };
        browser.picture(&format!("inspect-{color}-{width}")).await;
    }
    drop(held);
    stop.store(true, Ordering::Relaxed);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium and its driver"]
async fn it_asks_for_the_token_and_shows_texts_as_texts() {
    let (at, cache, stop) = cache_at_work(Some("open sesame")).await;
    let evil = "<img src=x onerror=\"document.title='evil'\">";
    cache.insert(evil.to_owned(), 1);
    let browser = Browser::open(9605, false, 800).await;
    browser.post("url", &json!({ "url": format!("http://{at}/coeval") })).await;
    browser.until("return document.getElementById('login').open").await;
    let keys: Vec<String> = "open sesame".chars().map(String::from).collect();
    browser.press(&keys.iter().map(String::as_str).collect::<Vec<_>>()).await;
    browser.press(&[ENTER]).await;
    browser.until("return document.getElementById('state').textContent === 'live'").await;
    let ask = format!("document.getElementById('key').value = {}; explain()", json!(evil));
    browser.run(&ask).await;
    browser.until("return document.getElementById('why').textContent.includes('<img')").await;
    assert_eq!(browser.run("return document.images.length").await, 0);
    assert_eq!(browser.run("return document.title").await, "coeval");
    // With the token in the address, it is not asked for.
    browser.post("url", &json!({ "url": "about:blank" })).await;
    browser.post("url", &json!({ "url": format!("http://{at}/coeval#token=open sesame") })).await;
    browser.until("return document.getElementById('state').textContent === 'live'").await;
    stop.store(true, Ordering::Relaxed);
}
