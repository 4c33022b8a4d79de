//! Drives Chromium by its DevTools protocol.
//!
//! The protocol (<https://chromedevtools.github.io/devtools-protocol/>) runs over two pipes, so there is no port that
//! another program could connect to, and the browser exits with the test, also when the test fails.
//!
//! A page keeps all events that it has received until [`Page::clear_events`]. A step of a test clears them, acts, waits
//! for an event, and then examines the requests and console messages of this step.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use base64::Engine as _;
use serde_json::{Value, json};

use super::{TIMEOUT, lines};

/// Programs to try: paths, and names in PATH.
const PROGRAMS: [&str; 3] = ["/usr/bin/chromium", "chromium", "google-chrome"];

/// Flags: no window, no sandbox (root and containers have none), and no requests to other servers.
const FLAGS: [&str; 16] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-proxy-server",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    // Otherwise a page that is slow to enter the back/forward cache, as on a busy machine, is evicted from it.
    "--disable-features=BackForwardCacheEntryTimeout",
    "--mute-audio",
    "--remote-debugging-pipe",
];

/// Failure of a request that the page has canceled.
pub const ABORTED: &str = "net::ERR_ABORTED";

/// Running Chromium. It exits when dropped.
pub struct Browser {
    child: Child,
    commands: Mutex<ChildStdin>,
    /// ID of the last command.
    last_id: AtomicU64,
    /// Receivers of messages, by session.
    sessions: Arc<Mutex<HashMap<String, Sender<Value>>>>,
    /// Messages without a session: responses to commands about the browser itself.
    browser_messages: Mutex<Receiver<Value>>,
    stderr: Mutex<Receiver<String>>,
    _profile: tempfile::TempDir,
}

/// Tab in a browser context of its own, so that it shares no cache, cookies or connections. It closes when dropped.
pub struct Page {
    browser: Arc<Browser>,
    context: String,
    session: String,
    messages: Receiver<Value>,
    events: Vec<Event>,
}

/// Event of the browser, by the protocol's name: `Page.loadEventFired`.
#[derive(Clone, Debug)]
pub struct Event {
    pub name: String,
    pub params: Value,
}

/// Request of a page. Each hop of a redirect is a request of its own.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// URL without a fragment.
    pub url: String,
    /// Resource type, in the protocol's words: `Document`, `Script`, `Media`, `Fetch`.
    pub kind: String,
    /// Status as received over the network: 304 where the page sees 200.
    pub status: Option<u16>,
    /// Whether the browser's own cache responded, without a request to the server.
    pub is_from_cache: bool,
    /// ID of the connection that it used.
    pub connection: Option<u64>,
    /// Bytes received, head and content.
    pub bytes: u64,
    /// Fields as sent and received, names in lower case.
    pub sent: HashMap<String, String>,
    pub received: HashMap<String, String>,
    /// Reason for which it failed; [`ABORTED`] if the page canceled it or was replaced.
    pub failure: Option<String>,
    /// Whether all its events have arrived.
    pub is_done: bool,
    /// Document that it belongs to: [`Page::document`].
    pub document: String,
}

/// Error or warning in the browser's console: errors, warnings, exceptions, failed loads, violations of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleMessage {
    pub text: String,
    /// URL that it is about, or that it comes from.
    pub url: String,
}

/// Value of `prefers-color-scheme`.
#[derive(Clone, Copy, Debug)]
pub enum ColorScheme {
    Light,
    Dark,
}

impl Browser {
    /// Browser that the tests of this process share. It exits when the last test drops it. Returns `None`, after
    /// printing `SKIPPED`, where no Chromium is installed.
    pub fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Browser>> = Mutex::new(Weak::new());
        let mut shared = lock(&SHARED);
        if let Some(browser) = shared.upgrade() {
            return Some(browser);
        }
        let browser = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&browser);
        Some(browser)
    }

    /// Starts a browser. Returns `None`, after printing `SKIPPED`, where no Chromium is installed.
    pub fn start() -> Option<Self> {
        let Some(program) = program() else {
            eprintln!(
                "SKIPPED: no Chromium found here: tried {}",
                PROGRAMS.join(", ")
            );
            return None;
        };
        let profile = tempfile::tempdir().expect("a temporary directory");
        let mut user_data = std::ffi::OsString::from("--user-data-dir=");
        user_data.push(profile.path());
        // It reads commands from descriptor 3 and writes to 4.
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#)
            .arg(program)
            .args(FLAGS)
            // So that its lock files go with the profile.
            .env("TMPDIR", profile.path())
            .arg(user_data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sh(1) starts");
        let commands = child.stdin.take().expect("a pipe");
        let stdout = child.stdout.take().expect("a pipe");
        let stderr = lines(child.stderr.take().expect("a pipe"));
        let sessions = Arc::new(Mutex::new(HashMap::<String, Sender<Value>>::new()));
        let (sender, browser_messages) = channel();
        let receivers = sessions.clone();
        thread::spawn(move || {
            // Each message ends with a NUL.
            for message in BufReader::new(stdout).split(0).map_while(Result::ok) {
                let message: Value = serde_json::from_slice(&message).expect("JSON");
                let receivers = lock(&receivers);
                let receiver = match message["sessionId"].as_str() {
                    Some(session) => receivers.get(session),
                    None => Some(&sender),
                };
                // A closed page receives nothing.
                let _ = receiver.map(|receiver| receiver.send(message));
            }
            // The browser has exited: dropping the senders ends all waits.
            lock(&receivers).clear();
        });
        Some(Self {
            child,
            commands: Mutex::new(commands),
            last_id: AtomicU64::new(0),
            sessions,
            browser_messages: Mutex::new(browser_messages),
            stderr: Mutex::new(stderr),
            _profile: profile,
        })
    }

    /// Sends a command about the browser itself and returns its result.
    pub fn call(&self, method: &str, params: &Value) -> Value {
        let messages = lock(&self.browser_messages);
        let id = self.send_command(method, params, None);
        loop {
            let message = self.next(&messages, method);
            if message["id"] == id {
                return command_result(method, message).unwrap_or_else(|error| panic!("{error}"));
            }
        }
    }

    /// Opens a tab at `about:blank`, 1280 by 800 pixels, with a light color scheme.
    pub fn page(self: &Arc<Self>) -> Page {
        let context = self.call("Target.createBrowserContext", &json!({}));
        let context = text(&context["browserContextId"]);
        let target = json!({ "url": "about:blank", "browserContextId": context });
        let target = self.call("Target.createTarget", &target);
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call("Target.attachToTarget", &target);
        let session = text(&session["sessionId"]);
        let (sender, messages) = channel();
        lock(&self.sessions).insert(session.clone(), sender);
        let mut page = Page {
            browser: self.clone(),
            context,
            session,
            messages,
            events: Vec::new(),
        };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.call(&format!("{domain}.enable"), &json!({}));
        }
        page.call(
            "Page.setLifecycleEventsEnabled",
            &json!({ "enabled": true }),
        );
        page.resize(1280, 800);
        page.set_color_scheme(ColorScheme::Light);
        page
    }

    /// Sends a command and returns the ID that its response will have.
    fn send_command(&self, method: &str, params: &Value, session: Option<&str>) -> u64 {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        // If the browser has exited, waiting for the response fails.
        let _ = lock(&self.commands).write_all(format!("{message}\0").as_bytes());
        id
    }

    fn next(&self, messages: &Receiver<Value>, what: &str) -> Value {
        messages.recv_timeout(TIMEOUT).unwrap_or_else(|error| {
            let last: Vec<String> = lock(&self.stderr).try_iter().collect();
            panic!("{what}: {error}; on the browser's standard error: {last:#?}")
        })
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // On this command, Chromium ends all its processes and no longer writes to its profile.
        self.send_command("Browser.close", &json!({}), None);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Page {
    /// Sends a command about this page and returns its result.
    pub fn call(&mut self, method: &str, params: &Value) -> Value {
        self.try_call(method, params)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_call(&mut self, method: &str, params: &Value) -> Result<Value, String> {
        let id = self
            .browser
            .send_command(method, params, Some(&self.session));
        loop {
            let message = self.browser.next(&self.messages, method);
            if message["id"] == id {
                return command_result(method, message);
            }
            self.record(message);
        }
    }

    /// Drops all events so far: a step of a test begins.
    pub fn clear_events(&mut self) {
        self.receive_pending();
        self.events.clear();
    }

    /// Waits for an event of this step, past or future, for which `pick` returns a value.
    pub fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let mut from = 0;
        loop {
            if let Some(found) = self.events[from..].iter().find_map(&mut pick) {
                return found;
            }
            from = self.events.len();
            let message = self.browser.next(&self.messages, what);
            self.record(message);
        }
    }

    /// Begins a step: navigates to this URL, and waits until the page and all its requests are complete.
    pub fn open(&mut self, url: &str) {
        self.clear_events();
        let navigated = self.call("Page.navigate", &json!({ "url": url }));
        let failure = navigated["errorText"].as_str();
        assert_eq!(failure, None, "{url}");
        // A navigation to a fragment of the same page loads nothing.
        let Some(loader) = navigated["loaderId"].as_str() else {
            return;
        };
        self.wait(url, |event| {
            let it = &event.params;
            let is_it = event.name == "Page.lifecycleEvent" && it["loaderId"] == loader;
            (is_it && it["name"] == "load").then_some(())
        });
        self.wait_for_requests();
    }

    /// Begins a step: reloads the page, as the button does.
    pub fn reload(&mut self) {
        self.clear_events();
        self.call("Page.reload", &json!({}));
        self.wait_for_load();
    }

    /// Begins a step: goes back in the history, and waits until the previous page is shown. Returns whether it was
    /// restored from the back/forward cache.
    pub fn go_back(&mut self) -> bool {
        self.clear_events();
        self.evaluate("void setTimeout(() => history.back())");
        let kind = self.wait("navigation to the previous page", |event| {
            let is_it = event.name == "Page.frameNavigated"
                && event.params["frame"].get("parentId").is_none();
            is_it.then(|| text(&event.params["type"]))
        });
        let is_restored = kind == "BackForwardCacheRestore";
        if !is_restored {
            self.wait_for_load();
        }
        is_restored
    }

    /// Waits until a page has been loaded in this step, by the test or by the page itself, and all its requests are
    /// complete.
    pub fn wait_for_load(&mut self) {
        self.wait("load event", |event| {
            (event.name == "Page.loadEventFired").then_some(())
        });
        self.wait_for_requests();
    }

    /// Waits until all requests of this step so far are complete, except those without an end or loaded as needed:
    /// event streams, media.
    pub fn wait_for_requests(&mut self) {
        let is_open = |request: &Request| {
            !request.is_done && !["EventSource", "Media"].contains(&&*request.kind)
        };
        while let Some(open) = self.requests().into_iter().find(is_open) {
            let message = self.browser.next(&self.messages, &open.url);
            self.record(message);
        }
    }

    /// Returns the value of this expression; awaits a promise.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let result = self.run(expression);
        result.unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// Waits until this expression is true, across reloads of the page.
    pub fn wait_until(&mut self, expression: &str) {
        let start = Instant::now();
        loop {
            let left = TIMEOUT.saturating_sub(start.elapsed()).as_millis();
            let result = self.run(&format!(
                "new Promise((resolve, reject) => {{
                    const end = performance.now() + {left};
                    const poll = () => {{
                        try {{
                            const is = Boolean({expression});
                            if (is || performance.now() > end) resolve(is); else setTimeout(poll, 10);
                        }} catch (error) {{ reject(error); }}
                    }};
                    poll();
                }})"
            ));
            match result {
                Ok(is) if is == true => return,
                // A page that is left drops the promise; then the expression is evaluated in the next page.
                Err(error) if left > 0 && error.contains("navigated or closed") => {}
                other => {
                    let messages = self.console_messages();
                    let html = self.run("document.documentElement.outerHTML");
                    panic!(
                        "{expression}: {other:?}; the page is {html:?}, its console {messages:?}"
                    );
                }
            }
        }
    }

    fn run(&mut self, expression: &str) -> Result<Value, String> {
        let params = json!({
            "expression": expression,
            "awaitPromise": true,
            "returnByValue": true,
            "userGesture": true,
        });
        let mut response = self.try_call("Runtime.evaluate", &params)?;
        match response.get("exceptionDetails") {
            None => Ok(response["result"]["value"].take()),
            Some(thrown) => Err(exception(thrown)),
        }
    }

    /// ID of the current document, which differs after each reload.
    pub fn document(&mut self) -> String {
        let tree = self.call("Page.getFrameTree", &json!({}));
        text(&tree["frameTree"]["frame"]["loaderId"])
    }

    /// Clicks on the first element that matches this selector.
    pub fn click(&mut self, selector: &str) {
        let selector = Value::from(selector);
        self.evaluate(&format!("document.querySelector({selector}).click()"));
    }

    /// Requests of this step so far, in order, without those of data URLs.
    pub fn requests(&mut self) -> Vec<Request> {
        self.receive_pending();
        requests(&self.events)
    }

    /// Errors and warnings in the console since the step began.
    pub fn console_messages(&mut self) -> Vec<ConsoleMessage> {
        self.receive_pending();
        self.events.iter().filter_map(console_message).collect()
    }

    /// Sets the size of the window in CSS pixels. Below a width of 600 it emulates a phone.
    pub fn resize(&mut self, width: u32, height: u32) {
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.call("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Sets the preferred color scheme, as the system's settings would.
    pub fn set_color_scheme(&mut self, scheme: ColorScheme) {
        let value = match scheme {
            ColorScheme::Light => "light",
            ColorScheme::Dark => "dark",
        };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.call("Emulation.setEmulatedMedia", &media);
    }

    /// Takes a screenshot of the page in its full height, as PNG.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let mut whole = self.call("Page.getLayoutMetrics", &json!({}))["cssContentSize"].take();
        whole["scale"] = 1.into();
        let shot = json!({ "format": "png", "captureBeyondViewport": true, "clip": whole });
        let shot = self.call("Page.captureScreenshot", &shot);
        base64::prelude::BASE64_STANDARD
            .decode(text(&shot["data"]))
            .expect("base64")
    }

    /// Writes a screenshot into the directory that the environment variable names, if it is set:
    /// `DOCROOT_SCREENSHOTS=/tmp/shots cargo test site_in_browser::`.
    pub fn save_screenshot(&mut self, name: &str) {
        let Some(folder) = env::var_os("DOCROOT_SCREENSHOTS").map(PathBuf::from) else {
            return;
        };
        fs::create_dir_all(&folder).expect("a directory for screenshots");
        let file = folder.join(name).with_extension("png");
        fs::write(file, self.screenshot()).expect("a screenshot is written");
    }

    /// Saves downloads into this directory from now on.
    pub fn download_to(&self, folder: &Path) {
        let behavior = json!({
            "behavior": "allow", "browserContextId": self.context, "downloadPath": folder,
        });
        self.browser.call("Browser.setDownloadBehavior", &behavior);
    }

    /// Waits until a download of this step is complete, and returns its suggested file name.
    pub fn wait_for_download(&mut self) -> String {
        let name = self.wait("a download begins", |event| {
            (event.name == "Page.downloadWillBegin")
                .then(|| text(&event.params["suggestedFilename"]))
        });
        let state = self.wait("a download ends", |event| {
            let state = event.params["state"].as_str();
            let is_over = event.name == "Page.downloadProgress" && state != Some("inProgress");
            is_over.then(|| text(&event.params["state"]))
        });
        assert_eq!(state, "completed", "{name}");
        name
    }

    /// Records all messages that have arrived, without waiting.
    fn receive_pending(&mut self) {
        while let Ok(message) = self.messages.try_recv() {
            self.record(message);
        }
    }

    fn record(&mut self, mut message: Value) {
        // A response to a command that is no longer awaited is no event.
        if let Some(name) = message["method"].as_str() {
            self.events.push(Event {
                name: name.to_owned(),
                params: message["params"].take(),
            });
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // The response is not awaited.
        let context = json!({ "browserContextId": self.context });
        self.browser
            .send_command("Target.disposeBrowserContext", &context, None);
        lock(&self.browser.sessions).remove(&self.session);
    }
}

/// Returns the first of [`PROGRAMS`] that is a file.
fn program() -> Option<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&folders).collect();
    // Joining an absolute path to a directory gives the absolute path.
    let mut candidates = PROGRAMS
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    candidates.find(|path| path.is_file())
}

/// Locks a mutex, also after another test has panicked while it held the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Returns the result of a command, or its error.
fn command_result(method: &str, mut message: Value) -> Result<Value, String> {
    match message.get("error") {
        None => Ok(message["result"].take()),
        Some(error) => Err(format!("{method}: {error}")),
    }
}

/// Describes an exception, with its stack where it has one.
fn exception(thrown: &Value) -> String {
    let description = thrown["exception"]["description"].as_str();
    description.map_or_else(|| thrown.to_string(), str::to_owned)
}

/// Converts an event to an error or warning of the console, if it is one.
fn console_message(event: &Event) -> Option<ConsoleMessage> {
    let it = &event.params;
    let (message, url) = match &*event.name {
        "Runtime.exceptionThrown" => {
            let thrown = &it["exceptionDetails"];
            (exception(thrown), &thrown["url"])
        }
        "Runtime.consoleAPICalled" => {
            let kind = it["type"].as_str();
            if !["error", "warning", "assert"].map(Some).contains(&kind) {
                return None;
            }
            let arguments: Vec<String> = it["args"].as_array()?.iter().map(argument_text).collect();
            (
                arguments.join(" "),
                &it["stackTrace"]["callFrames"][0]["url"],
            )
        }
        "Log.entryAdded" => {
            let entry = &it["entry"];
            let level = entry["level"].as_str();
            if !["error", "warning"].map(Some).contains(&level) {
                return None;
            }
            (text(&entry["text"]), &entry["url"])
        }
        _ => return None,
    };
    Some(ConsoleMessage {
        text: message,
        url: text(url),
    })
}

/// Formats an argument of console.error as the console does.
fn argument_text(argument: &Value) -> String {
    let description = argument["description"].as_str();
    match (argument["value"].as_str(), description) {
        (Some(text), _) | (None, Some(text)) => text.to_owned(),
        (None, None) => argument["value"].to_string(),
    }
}

/// Assembles requests from the events of the Network domain.
fn requests(events: &[Event]) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    // Indices of a request's hops in `requests`, by the browser's request ID.
    let mut indices: HashMap<&str, Vec<usize>> = HashMap::new();
    // "ExtraInfo" events of each request's hops: they arrive at any time, but in order.
    let mut sent: HashMap<&str, Vec<&Value>> = HashMap::new();
    let mut received: HashMap<&str, Vec<&Value>> = HashMap::new();
    // Hops whose "ExtraInfo" event is still to come, unless it is there already.
    let mut awaits: Vec<usize> = Vec::new();
    for Event { name, params: it } in events {
        if name == "Page.frameNavigated" && it["frame"].get("parentId").is_none() {
            // No more events come about requests of the previous page.
            for request in &mut requests {
                if !request.is_done && request.document != it["frame"]["loaderId"] {
                    request.failure = Some(ABORTED.to_owned());
                    request.is_done = true;
                }
            }
        }
        let Some(id) = it["requestId"].as_str() else {
            continue;
        };
        let last = indices.get(id).and_then(|hops| hops.last().copied());
        match (&**name, last) {
            ("Network.requestWillBeSent", last) => {
                let request = &it["request"];
                if request["url"]
                    .as_str()
                    .is_none_or(|url| url.starts_with("data:"))
                {
                    continue;
                }
                if let (Some(last), Some(response)) = (last, it.get("redirectResponse")) {
                    requests[last].set_response(response);
                    requests[last].bytes = response["encodedDataLength"].as_u64().unwrap_or(0);
                    requests[last].is_done = true;
                }
                indices.entry(id).or_default().push(requests.len());
                requests.push(Request {
                    url: text(&request["url"]),
                    kind: text(&it["type"]),
                    sent: fields(&request["headers"]),
                    document: text(&it["loaderId"]),
                    ..Request::default()
                });
            }
            ("Network.requestWillBeSentExtraInfo", _) => sent.entry(id).or_default().push(it),
            ("Network.responseReceivedExtraInfo", _) => received.entry(id).or_default().push(it),
            ("Network.requestServedFromCache", Some(last)) => requests[last].is_from_cache = true,
            ("Network.responseReceived", Some(last)) => {
                requests[last].set_response(&it["response"]);
                if it["hasExtraInfo"] == true {
                    awaits.push(last);
                }
            }
            ("Network.loadingFinished", Some(last)) => {
                let bytes = it["encodedDataLength"].as_f64().unwrap_or(0.0);
                // An integer, written as a floating-point number in JSON.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let bytes = bytes as u64;
                requests[last].bytes = bytes;
                requests[last].is_done = true;
            }
            ("Network.loadingFailed", Some(last)) => {
                requests[last].failure = Some(text(&it["errorText"]));
                requests[last].is_done = true;
            }
            _ => {}
        }
    }
    for (id, hops) in &indices {
        for (at, hop) in hops.iter().enumerate() {
            let request = &mut requests[*hop];
            if let Some(it) = sent.get(id).and_then(|extras| extras.get(at)) {
                request.sent = fields(&it["headers"]);
            }
            match received.get(id).and_then(|extras| extras.get(at)) {
                Some(it) => {
                    request.status = status(&it["statusCode"]);
                    request.received = fields(&it["headers"]);
                }
                None if awaits.contains(hop) && request.failure.is_none() => {
                    request.is_done = false;
                }
                None => {}
            }
        }
    }
    requests
}

impl Request {
    /// Path of the URL, with the query.
    pub fn path(&self) -> &str {
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        rest.find('/').map_or("", |at| &rest[at..])
    }

    fn set_response(&mut self, response: &Value) {
        self.status = status(&response["status"]);
        self.received = fields(&response["headers"]);
        self.is_from_cache |= response["fromDiskCache"] == true;
        // 0 means none.
        self.connection = response["connectionId"].as_u64().filter(|id| *id != 0);
    }
}

fn status(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|status| status.try_into().ok())
}

fn fields(value: &Value) -> HashMap<String, String> {
    let lines = value.as_object().into_iter().flatten();
    lines
        .map(|(name, value)| (name.to_ascii_lowercase(), text(value)))
        .collect()
}
