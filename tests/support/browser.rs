//! A Chromium, driven by its DevTools protocol.
//!
//! The protocol (<https://chromedevtools.github.io/devtools-protocol/>) is spoken over two pipes, so there is no port that
//! anybody else could connect to, and the browser ends with the test, however that ends.
//!
//! A page keeps all events that it has been told of, until it is made to [`Page::forget`] them: a step of a test forgets,
//! does something, waits for what is to come of it, and looks at what was asked of the server and complained of meanwhile.

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

use super::{PATIENCE, lines};

/// Where one is looked for: paths, and names in PATH.
const NAMES: [&str; 3] = ["/usr/bin/chromium", "chromium", "google-chrome"];

/// No window, no sandbox (which root and containers do not have), and nothing that asks of anybody but us.
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
    // (Who is slow to enter the cache for the way back is thrown out of it otherwise, as on a busy machine.)
    "--disable-features=BackForwardCacheEntryTimeout",
    "--mute-audio",
    "--remote-debugging-pipe",
];

/// What failed because nobody wanted it any more.
pub const ABORTED: &str = "net::ERR_ABORTED";

/// A running Chromium. It ends when nobody has it any more.
pub struct Browser {
    child: Child,
    commands: Mutex<ChildStdin>,
    /// Numbers of commands.
    count: AtomicU64,
    /// Who hears what is said in which session.
    sessions: Arc<Mutex<HashMap<String, Sender<Value>>>>,
    /// What is said in no session: answers to commands about the browser itself.
    own: Mutex<Receiver<Value>>,
    stderr: Mutex<Receiver<String>>,
    _profile: tempfile::TempDir,
}

/// A tab with a cache, cookies and connections that it shares with nobody. It closes with the test.
pub struct Page {
    browser: Arc<Browser>,
    context: String,
    session: String,
    messages: Receiver<Value>,
    events: Vec<Event>,
}

/// What the browser told of, by the protocol's name for it: `Page.loadEventFired`.
#[derive(Clone, Debug)]
pub struct Event {
    pub name: String,
    pub params: Value,
}

/// One request of a page; each hop of a redirect is one.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Its URL, without a fragment.
    pub url: String,
    /// What it is for, in the protocol's words: `Document`, `Script`, `Media`, `Fetch`.
    pub kind: String,
    /// As it came over the network: 304 where the page is told 200.
    pub status: Option<u16>,
    /// Answered by the browser's own cache, without asking the server.
    pub is_from_cache: bool,
    /// Which connection it went over.
    pub connection: Option<u64>,
    /// Received for it, head and content.
    pub bytes: u64,
    /// Fields as they were sent and received, names in small letters.
    pub sent: HashMap<String, String>,
    pub received: HashMap<String, String>,
    /// Why it failed; [`ABORTED`] where the page has changed its mind, or has gone.
    pub failure: Option<String>,
    /// Whether everything is known of it that will be.
    pub is_done: bool,
    /// For which document it is: [`Page::document`].
    pub document: String,
}

/// What a developer would see in red or yellow in the console: errors, warnings, exceptions, failed loads, what a policy
/// forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    pub text: String,
    /// What it is about, or where it was said.
    pub url: String,
}

/// What `prefers-color-scheme` says.
#[derive(Clone, Copy, Debug)]
pub enum Scheme {
    Light,
    Dark,
}

impl Browser {
    /// The one that the tests of this process share. It ends with the last of them that has it. `None`, said loudly, where
    /// there is none.
    pub fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Browser>> = Mutex::new(Weak::new());
        let mut shared = hold(&SHARED);
        if let Some(browser) = shared.upgrade() {
            return Some(browser);
        }
        let browser = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&browser);
        Some(browser)
    }

    /// One of one's own. `None`, said loudly, where there is none.
    pub fn start() -> Option<Self> {
        let Some(program) = program() else {
            eprintln!("SKIPPED: no Chromium here: looked for {}", NAMES.join(", "));
            return None;
        };
        let profile = tempfile::tempdir().expect("a temporary folder");
        let mut user_data = std::ffi::OsString::from("--user-data-dir=");
        user_data.push(profile.path());
        // It reads commands from descriptor 3 and writes to 4.
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#)
            .arg(program)
            .args(FLAGS)
            .arg(user_data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let commands = child.stdin.take().expect("a pipe");
        let stdout = child.stdout.take().expect("a pipe");
        let stderr = lines(child.stderr.take().expect("a pipe"));
        let sessions = Arc::new(Mutex::new(HashMap::<String, Sender<Value>>::new()));
        let (sender, own) = channel();
        let hearers = sessions.clone();
        thread::spawn(move || {
            // Each message ends with a NUL.
            for message in BufReader::new(stdout).split(0).map_while(Result::ok) {
                let message: Value = serde_json::from_slice(&message).expect("it speaks JSON");
                let hearers = hold(&hearers);
                let hearer = match message["sessionId"].as_str() {
                    Some(session) => hearers.get(session),
                    None => Some(&sender),
                };
                // Who has gone hears nothing.
                let _ = hearer.map(|hearer| hearer.send(message));
            }
            // It has ended, and so does everybody's waiting.
            hold(&hearers).clear();
        });
        Some(Self {
            child,
            commands: Mutex::new(commands),
            count: AtomicU64::new(0),
            sessions,
            own: Mutex::new(own),
            stderr: Mutex::new(stderr),
            _profile: profile,
        })
    }

    /// A command about the browser itself, and what comes of it.
    pub fn call(&self, method: &str, params: &Value) -> Value {
        let own = hold(&self.own);
        let id = self.say(method, params, None);
        loop {
            let message = self.next(&own, method);
            if message["id"] == id {
                return outcome(method, message).unwrap_or_else(|error| panic!("{error}"));
            }
        }
    }

    /// A new tab, at `about:blank`, 1280 by 800 pixels large, light.
    pub fn page(self: &Arc<Self>) -> Page {
        let context = self.call("Target.createBrowserContext", &json!({}));
        let context = text(&context["browserContextId"]);
        let target = json!({ "url": "about:blank", "browserContextId": context });
        let target = self.call("Target.createTarget", &target);
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call("Target.attachToTarget", &target);
        let session = text(&session["sessionId"]);
        let (sender, messages) = channel();
        hold(&self.sessions).insert(session.clone(), sender);
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
        page.prefer(Scheme::Light);
        page
    }

    /// Says this, and gives the number by which the answer will be known.
    fn say(&self, method: &str, params: &Value, session: Option<&str>) -> u64 {
        let id = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        // If it has ended, that is told by whoever waits for the answer.
        let _ = hold(&self.commands).write_all(format!("{message}\0").as_bytes());
        id
    }

    fn next(&self, messages: &Receiver<Value>, what: &str) -> Value {
        messages.recv_timeout(PATIENCE).unwrap_or_else(|error| {
            let last: Vec<String> = hold(&self.stderr).try_iter().collect();
            panic!("{what}: {error}; on the browser's standard error: {last:#?}")
        })
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked to, it ends all its processes and leaves its profile alone.
        self.say("Browser.close", &json!({}), None);
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
    /// A command about this page, and what comes of it.
    pub fn call(&mut self, method: &str, params: &Value) -> Value {
        self.try_call(method, params)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_call(&mut self, method: &str, params: &Value) -> Result<Value, String> {
        let id = self.browser.say(method, params, Some(&self.session));
        loop {
            let message = self.browser.next(&self.messages, method);
            if message["id"] == id {
                return outcome(method, message);
            }
            self.keep(message);
        }
    }

    /// Forgets all events so far: a step of a test begins.
    pub fn forget(&mut self) {
        self.catch_up();
        self.events.clear();
    }

    /// Waits for an event of this step, past or to come, of which `pick` makes something.
    pub fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let mut from = 0;
        loop {
            if let Some(found) = self.events[from..].iter().find_map(&mut pick) {
                return found;
            }
            from = self.events.len();
            let message = self.browser.next(&self.messages, what);
            self.keep(message);
        }
    }

    /// Begins a step: goes to this URL, and waits until the page is loaded and all that it asked for has come.
    pub fn open(&mut self, url: &str) {
        self.forget();
        let went = self.call("Page.navigate", &json!({ "url": url }));
        let failure = went["errorText"].as_str();
        assert_eq!(failure, None, "{url}");
        // To another place of the same page, nothing is loaded.
        let Some(loader) = went["loaderId"].as_str() else {
            return;
        };
        self.wait(url, |event| {
            let it = &event.params;
            let is_it = event.name == "Page.lifecycleEvent" && it["loaderId"] == loader;
            (is_it && it["name"] == "load").then_some(())
        });
        self.settle();
    }

    /// Begins a step: loads the page again, as the button does.
    pub fn reload(&mut self) {
        self.forget();
        self.call("Page.reload", &json!({}));
        self.loaded();
    }

    /// Begins a step: goes back in the history, and waits until the former page is shown. Whether it came out of the
    /// back/forward cache, as it was left.
    pub fn back(&mut self) -> bool {
        self.forget();
        self.evaluate("void setTimeout(() => history.back())");
        let kind = self.wait("a page to go back to", |event| {
            let is_it = event.name == "Page.frameNavigated"
                && event.params["frame"].get("parentId").is_none();
            is_it.then(|| text(&event.params["type"]))
        });
        let is_as_left = kind == "BackForwardCacheRestore";
        if !is_as_left {
            self.loaded();
        }
        is_as_left
    }

    /// Waits until a page has been loaded in this step, whoever made it, and all that it asked for has come.
    pub fn loaded(&mut self) {
        self.wait("a page is loaded", |event| {
            (event.name == "Page.loadEventFired").then_some(())
        });
        self.settle();
    }

    /// Waits until all that was asked for in this step so far has come, but for what has no end or is taken as needed:
    /// event streams, media.
    pub fn settle(&mut self) {
        let is_open = |request: &Request| {
            !request.is_done && !["EventSource", "Media"].contains(&&*request.kind)
        };
        while let Some(open) = self.requests().into_iter().find(is_open) {
            let message = self.browser.next(&self.messages, &open.url);
            self.keep(message);
        }
    }

    /// The value of this expression; a promise is waited for.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let ran = self.run(expression);
        ran.unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// Waits until this expression is true, over reloads too.
    pub fn until(&mut self, expression: &str) {
        let start = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(start.elapsed()).as_millis();
            let ran = self.run(&format!(
                "new Promise((say, fail) => {{
                    const end = performance.now() + {left};
                    const look = () => {{
                        try {{
                            const is = Boolean({expression});
                            if (is || performance.now() > end) say(is); else setTimeout(look, 10);
                        }} catch (error) {{ fail(error); }}
                    }};
                    look();
                }})"
            ));
            match ran {
                Ok(is) if is == true => return,
                // A page that goes takes the promise with it; then the next one is asked.
                Err(error) if left > 0 && error.contains("navigated or closed") => {}
                other => {
                    let complaints = self.complaints();
                    let shown = self.run("document.documentElement.outerHTML");
                    panic!("{expression}: {other:?}; there is {shown:?}, with {complaints:?}");
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
        let mut came = self.try_call("Runtime.evaluate", &params)?;
        match came.get("exceptionDetails") {
            None => Ok(came["result"]["value"].take()),
            Some(thrown) => Err(exception(thrown)),
        }
    }

    /// The browser's name for the document that is shown, another one after each reload.
    pub fn document(&mut self) -> String {
        let tree = self.call("Page.getFrameTree", &json!({}));
        text(&tree["frameTree"]["frame"]["loaderId"])
    }

    /// Clicks on the first element that this selector finds.
    pub fn click(&mut self, selector: &str) {
        let selector = Value::from(selector);
        self.evaluate(&format!("document.querySelector({selector}).click()"));
    }

    /// What was asked for in this step, in order, as far as it is known by now. Data URLs are nobody's.
    pub fn requests(&mut self) -> Vec<Request> {
        self.catch_up();
        requests(&self.events)
    }

    /// What the console shows in red or yellow since the step began.
    pub fn complaints(&mut self) -> Vec<Complaint> {
        self.catch_up();
        self.events.iter().filter_map(complaint).collect()
    }

    /// Makes the window so large, in CSS pixels; what is narrower than 600 is a phone's.
    pub fn resize(&mut self, width: u32, height: u32) {
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.call("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Prefers light or dark, as the system's settings would.
    pub fn prefer(&mut self, scheme: Scheme) {
        let value = match scheme {
            Scheme::Light => "light",
            Scheme::Dark => "dark",
        };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.call("Emulation.setEmulatedMedia", &media);
    }

    /// The whole page, as far as it goes down, as PNG.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let mut whole = self.call("Page.getLayoutMetrics", &json!({}))["cssContentSize"].take();
        whole["scale"] = 1.into();
        let shot = json!({ "format": "png", "captureBeyondViewport": true, "clip": whole });
        let shot = self.call("Page.captureScreenshot", &shot);
        base64::prelude::BASE64_STANDARD
            .decode(text(&shot["data"]))
            .expect("base64")
    }

    /// Writes a screenshot into the folder that the environment names, if it does:
    /// `DOCROOT_SCREENSHOTS=/tmp/shots cargo test browses::`.
    pub fn show(&mut self, name: &str) {
        let Some(folder) = env::var_os("DOCROOT_SCREENSHOTS").map(PathBuf::from) else {
            return;
        };
        fs::create_dir_all(&folder).expect("a folder for screenshots");
        let file = folder.join(name).with_extension("png");
        fs::write(file, self.screenshot()).expect("a screenshot is written");
    }

    /// What is downloaded from here on is put into this folder.
    pub fn download_to(&self, folder: &Path) {
        let behavior = json!({
            "behavior": "allow", "browserContextId": self.context, "downloadPath": folder,
        });
        self.browser.call("Browser.setDownloadBehavior", &behavior);
    }

    /// Waits until a download of this step is there, whole, and gives the name that it was to have.
    pub fn downloaded(&mut self) -> String {
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

    /// Takes in what has come.
    fn catch_up(&mut self) {
        while let Ok(message) = self.messages.try_recv() {
            self.keep(message);
        }
    }

    fn keep(&mut self, mut message: Value) {
        // (An answer that nobody waited for is no event.)
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
        // Nobody waits for the answer.
        let context = json!({ "browserContextId": self.context });
        self.browser
            .say("Target.disposeBrowserContext", &context, None);
        hold(&self.browser.sessions).remove(&self.session);
    }
}

/// The first of the names that is a file.
fn program() -> Option<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&folders).collect();
    // (A path that begins with a slash stays as it is, whatever it is joined to.)
    let mut places = NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    places.find(|path| path.is_file())
}

/// The lock, also where another test has failed while it had it.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What came of a command.
fn outcome(method: &str, mut message: Value) -> Result<Value, String> {
    match message.get("error") {
        None => Ok(message["result"].take()),
        Some(error) => Err(format!("{method}: {error}")),
    }
}

/// What was thrown, in one line or several.
fn exception(thrown: &Value) -> String {
    let description = thrown["exception"]["description"].as_str();
    description.map_or_else(|| thrown.to_string(), str::to_owned)
}

fn complaint(event: &Event) -> Option<Complaint> {
    let it = &event.params;
    let (text_of_it, url) = match &*event.name {
        "Runtime.exceptionThrown" => {
            let thrown = &it["exceptionDetails"];
            (exception(thrown), &thrown["url"])
        }
        "Runtime.consoleAPICalled" => {
            let kind = it["type"].as_str();
            if !["error", "warning", "assert"].map(Some).contains(&kind) {
                return None;
            }
            let said: Vec<String> = it["args"].as_array()?.iter().map(spoken).collect();
            (said.join(" "), &it["stackTrace"]["callFrames"][0]["url"])
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
    Some(Complaint {
        text: text_of_it,
        url: text(url),
    })
}

/// An argument of console.error, as it would be shown.
fn spoken(argument: &Value) -> String {
    let description = argument["description"].as_str();
    match (argument["value"].as_str(), description) {
        (Some(text), _) | (None, Some(text)) => text.to_owned(),
        (None, None) => argument["value"].to_string(),
    }
}

/// What the events of the Network domain tell of requests.
fn requests(events: &[Event]) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    // Where the hops of a request are, by the browser's number for it.
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    // How many of them have been told of by an "extra info", which comes at any time, but in order.
    let mut sent: HashMap<&str, Vec<&Value>> = HashMap::new();
    let mut received: HashMap<&str, Vec<&Value>> = HashMap::new();
    // Hops of which such a one is still to come, if it has not come.
    let mut awaits: Vec<usize> = Vec::new();
    for Event { name, params: it } in events {
        if name == "Page.frameNavigated" && it["frame"].get("parentId").is_none() {
            // Of what was asked for the last page, nothing more is told.
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
        let last = places.get(id).and_then(|hops| hops.last().copied());
        match (&**name, last) {
            ("Network.requestWillBeSent", last) => {
                let request = &it["request"];
                if request["url"]
                    .as_str()
                    .is_none_or(|url| url.starts_with("data:"))
                {
                    continue;
                }
                if let (Some(last), Some(answer)) = (last, it.get("redirectResponse")) {
                    requests[last].answered(answer);
                    requests[last].bytes = answer["encodedDataLength"].as_u64().unwrap_or(0);
                    requests[last].is_done = true;
                }
                places.entry(id).or_default().push(requests.len());
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
                requests[last].answered(&it["response"]);
                if it["hasExtraInfo"] == true {
                    awaits.push(last);
                }
            }
            ("Network.loadingFinished", Some(last)) => {
                let bytes = it["encodedDataLength"].as_f64().unwrap_or(0.0);
                // (It is a whole number of bytes, written as any number is in JSON.)
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
    for (id, hops) in &places {
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
    /// The path of its URL, with the query.
    pub fn path(&self) -> &str {
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        rest.find('/').map_or("", |at| &rest[at..])
    }

    fn answered(&mut self, answer: &Value) {
        self.status = status(&answer["status"]);
        self.received = fields(&answer["headers"]);
        self.is_from_cache |= answer["fromDiskCache"] == true;
        // (0 is none.)
        self.connection = answer["connectionId"].as_u64().filter(|id| *id != 0);
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
