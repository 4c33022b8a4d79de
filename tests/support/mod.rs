//! A real server and a client that speaks raw bytes.
#![allow(unreachable_pub, reason = "it is public to all promises")]

pub mod browser;

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

pub use rustix::process::Signal;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, kill_process, setrlimit};

/// How long anything is waited for before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// More than the kernel keeps for a connection (the last number of tcp_wmem, tcp(7), is 4 MiB), so
/// that a file's end has not left while its reader is still at its beginning.
pub const LARGE: usize = 8 * 1024 * 1024;

/// What a call is called in a [`Trace`] that reads of changes (inotify(7)): what other tests do in the folder of all roots
/// wakes every worker of every server.
pub const NEWS: &str = "news";

/// The smallest request.
pub const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// A docroot of its own, on a free port of 127.0.0.1. It ends with the test.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// The line that it printed when it began to listen.
    pub announcement: String,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

/// A folder of its own for every test that needs files. It goes with the test.
pub struct Root {
    folder: tempfile::TempDir,
}

/// Says that something is over when it goes, even when a test fails.
pub struct Done<'a>(pub &'a AtomicBool);

/// What a server asks of the kernel, written down by strace(1) as it happens.
pub struct Trace {
    folder: tempfile::TempDir,
    stage: Vec<String>,
    /// Bytes of it that were there at the mark.
    mark: std::cell::Cell<usize>,
}

/// One connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

/// A response as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// Status line and field lines, each with its CRLF.
    pub head: String,
    pub content: Vec<u8>,
}

/// The command, with nothing of this environment that could set an option.
pub fn docroot() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_docroot"));
    command
        .stdin(Stdio::null())
        .env_remove("PORT")
        .env_remove("RUST_LOG")
        .env_remove("NO_COLOR");
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"DOCROOT_") {
            command.env_remove(name);
        }
    }
    command
}

/// The command that serves this folder, run by another program that sets the stage for it.
pub fn upon(stage: &[&str], root: &Path, options: &[&str]) -> Command {
    let server = docroot();
    let mut command = Command::new(stage[0]);
    command
        .args(&stage[1..])
        .arg(server.get_program())
        .args(["--bind", "127.0.0.1", "--port", "0"])
        .args(options)
        .arg(root)
        .stdin(Stdio::null());
    for (name, _) in server.get_envs() {
        command.env_remove(name);
    }
    command
}

/// The command that serves this folder where openat2(2) fails with this error. `None`, said loudly, where
/// strace(1) cannot arrange that.
pub fn upon_no_openat2(error: &str, root: &Path, options: &[&str]) -> Option<Command> {
    let inject = format!("inject=openat2:error={error}");
    // With -D it is docroot that is our child, and strace that watches it from the side.
    let strace = "strace -D -f --seccomp-bpf -qq -o /dev/null -e trace=openat2 -e".split(' ');
    let stage: Vec<&str> = strace.chain([&*inject]).collect();
    let tried = Command::new(stage[0])
        .args(&stage[1..])
        .arg("true")
        .output();
    if !tried.as_ref().is_ok_and(|tried| tried.status.success()) {
        eprintln!("SKIPPED: strace(1) cannot take openat2 away here: {tried:?}");
        return None;
    }
    Some(upon(&stage, root, options))
}

/// The command line in front of docroot with which file modes apply to it: nothing for a user, another user for root,
/// whom modes do not bind (capabilities(7)). `None`, said loudly, where no other user can be had, or that user does not
/// reach `root`, which is made readable for all.
pub fn unprivileged(root: &Path) -> Option<Vec<&'static str>> {
    if !rustix::process::geteuid().is_root() {
        return Some(vec!["env"]);
    }
    let mode = Permissions::from_mode(0o755);
    fs::set_permissions(root, mode).expect("a folder of ours");
    let stage = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all";
    let stage: Vec<&str> = stage.split(' ').collect();
    let tried = Command::new(stage[0])
        .args(&stage[1..])
        .args(["sh", "-ec", "test -r \"$0\"; exec \"$1\" --version"])
        .args([root, Path::new(docroot().get_program())])
        .output();
    if tried.as_ref().is_ok_and(|tried| tried.status.success()) {
        return Some(stage);
    }
    eprintln!("SKIPPED: no other user can run docroot on {root:?} here: {tried:?}");
    None
}

impl Server {
    /// Serves this folder.
    pub fn start(root: &Path) -> Self {
        Self::with(root, &[])
    }

    /// Serves this folder, and remembers nothing of it: what it opens, it closes.
    pub fn forgetful(root: &Path) -> Self {
        Self::with(root, &["--cache-memory", "0"])
    }

    /// Serves this folder, with these options besides.
    pub fn with(root: &Path, options: &[&str]) -> Self {
        let mut command = docroot();
        command
            .args(["--bind", "127.0.0.1", "--port", "0"])
            .args(options)
            .arg(root);
        Self::spawn(command)
    }

    /// Serves this folder, run by another program that sets the stage for it: sh(1), setpriv(1).
    pub fn upon(stage: &[&str], root: &Path, options: &[&str]) -> Self {
        Self::spawn(upon(stage, root, options))
    }

    /// Serves this folder where openat2(2) fails with this error: ENOSYS, as on a kernel before 5.6, or
    /// EPERM, as under the seccomp filters of many containers. `None`, said loudly, where strace(1)
    /// cannot arrange that.
    pub fn without_openat2(error: &str, root: &Path, options: &[&str]) -> Option<Self> {
        upon_no_openat2(error, root, options).map(Self::spawn)
    }

    /// Starts a command that serves, and waits until it listens.
    pub fn spawn(mut command: Command) -> Self {
        raise_the_limit();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("docroot starts");
        let stdout = lines(child.stdout.take().expect("a pipe"));
        let stderr = lines(child.stderr.take().expect("a pipe"));
        let Ok(announcement) = stdout.recv_timeout(PATIENCE) else {
            let _ = child.kill();
            panic!(
                "docroot says nothing; on stderr: {:?}",
                stderr.iter().collect::<Vec<_>>()
            );
        };
        let address = announced(&announcement);
        Self {
            child,
            address,
            announcement,
            stdout,
            stderr,
        }
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own.
    pub fn get(&self, target: &str) -> Response {
        self.connect().get(target)
    }

    /// A client that has asked for a file and has read its head. What the kernel keeps for it is
    /// little, so that it is the reader who says how fast the file leaves.
    pub fn download(&self, target: &str) -> Client {
        let mut client = self.connect();
        let socket = socket2::SockRef::from(client.stream());
        socket.set_recv_buffer_size(32 * 1024).expect("an option");
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        assert_eq!(client.response_to_head().status(), "200 OK");
        client
    }

    /// One request with these field lines, each with its CRLF, on a connection of its own.
    pub fn ask(&self, method: &str, target: &str, fields: &str) -> Response {
        self.connect().request(method, target, fields)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        send(signal, &self.child);
    }

    /// Does something while the server does nothing, so that it finds everything at once.
    pub fn asleep(&self, act: impl FnOnce()) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.pid());
        eventually("all its threads are stopped", || {
            let mut tasks = fs::read_dir(&tasks).expect("proc");
            let is_stopped = tasks.all(|task| {
                let stat = fs::read_to_string(task.expect("an entry").path().join("stat"));
                stat.is_ok_and(|stat| stat.contains(") T "))
            });
            is_stopped.then_some(())
        });
        act();
        self.signal(Signal::CONT);
    }

    /// The next line on standard output.
    pub fn line(&self) -> String {
        self.stdout
            .recv_timeout(PATIENCE)
            .expect("a line on standard output")
    }

    /// What is left on standard output of a process that has ended.
    pub fn rest(&self) -> Vec<String> {
        self.stdout.iter().collect()
    }

    /// The next line on standard error.
    pub fn complaint(&self) -> String {
        self.stderr
            .recv_timeout(PATIENCE)
            .expect("a line on standard error")
    }

    /// What is on standard output by now and has not been taken.
    pub fn printed(&self) -> Vec<String> {
        self.stdout.try_iter().collect()
    }

    /// What is on standard error by now and has not been taken.
    pub fn complaints(&self) -> Vec<String> {
        self.stderr.try_iter().collect()
    }

    /// Waits until the process has ended.
    pub fn ended(&mut self) -> ExitStatus {
        eventually("the server ends", || {
            self.child.try_wait().expect("it is our child")
        })
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// Open descriptors of the process, without the one of each file, and of each copy of one, that may be
    /// remembered.
    pub fn descriptors(&self) -> usize {
        let folder = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("proc");
        let links: Vec<PathBuf> = folder
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .collect();
        let is_copy = |link: &&PathBuf| link.starts_with("/memfd:docroot (deleted)");
        let copies = links.iter().filter(is_copy).count();
        let files: HashSet<&PathBuf> = links.iter().filter(|link| link.is_file()).collect();
        links.len() - copies - files.len()
    }

    /// Whether the process has this file open.
    pub fn has_open(&self, file: &Path) -> bool {
        let mut folder = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("proc");
        folder.any(|entry| {
            let link = entry.and_then(|entry| fs::read_link(entry.path()));
            link.is_ok_and(|link| link == file)
        })
    }

    /// Waits until the process has so many open descriptors.
    pub fn holds(&self, descriptors: usize) {
        eventually("so many descriptors are open, and no more", || {
            (self.descriptors() == descriptors).then_some(())
        });
    }

    /// Waits until the process has no more open descriptors than that.
    pub fn holds_no_more_than(&self, descriptors: usize) {
        eventually("no more descriptors are open than that", || {
            (self.descriptors() <= descriptors).then_some(())
        });
    }

    /// Waits until the server has done nothing but wait for a while.
    pub fn rests(&self) {
        eventually("it rests", || {
            let used = self.cpu_time();
            // The time in which nothing is to happen.
            thread::sleep(Duration::from_millis(400));
            (self.cpu_time() - used < Duration::from_millis(40)).then_some(())
        });
    }

    /// Resident memory of the process, in KiB.
    pub fn resident(&self) -> usize {
        resident(&self.child)
    }

    /// Processor time that the process has used, user and system.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("proc");
        let (_, rest) = stat.rsplit_once(") ").expect("a name in parentheses");
        let ticks: u64 = rest
            .split(' ')
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().expect("ticks"))
            .sum();
        // Linux counts in hundredths of a second here, whatever the kernel's own tick is.
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Root {
    /// Makes folders accessible again whose mode a test has changed, so that they can be removed.
    fn drop(&mut self) {
        let mut folders = vec![self.path().to_owned()];
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(&folder).or_else(|_| {
                fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
                fs::read_dir(&folder)
            });
            let entries = entries.into_iter().flatten().flatten();
            let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|it| it.is_dir());
            folders.extend(entries.filter(is_folder).map(|entry| entry.path()));
        }
    }
}

impl Root {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// In this folder, which may be on another file system.
    pub fn within(folder: &Path) -> Self {
        Self {
            folder: tempfile::tempdir_in(folder).expect("a temporary folder"),
        }
    }

    /// With these files, given as path and content.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let root = Self::new();
        for (path, content) in files {
            root.write(path, content);
        }
        root
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.path().join(path)
    }

    /// Gives all files a date in the past: a fresh one has no Last-Modified until its second is over,
    /// which would change answers in the middle of a test.
    pub fn date_back(&self) {
        let mut folders = vec![self.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder of ours") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let file = fs::File::options().write(true).open(path);
                    file.and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH))
                        .expect("a file of ours");
                }
            }
        }
    }

    /// Writes a file, making the folders above it.
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders can be made");
        fs::write(path, content).expect("files can be written");
    }
}

impl Trace {
    /// Of these calls, divided by commas. `None`, said loudly, where there is no strace(1) to be had.
    pub fn new(calls: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("trace");
        // With -D it is docroot that is our child, and strace that watches it from the side.
        // (With -y it is said what is behind a descriptor.)
        let mut stage: Vec<String> = ["strace", "-D", "-f", "-qq", "-y", "-e"]
            .map(Into::into)
            .into();
        stage.push(format!("trace={calls}"));
        stage.extend(["-o".into(), file.to_str().expect("a name in ASCII").into()]);
        let arguments: Vec<&str> = stage[1..].iter().map(|it| &**it).chain(["true"]).collect();
        if !succeeds("strace", &arguments) {
            eprintln!("SKIPPED: strace(1) cannot trace {calls} here");
            return None;
        }
        Some(Self {
            folder,
            stage,
            mark: std::cell::Cell::new(0),
        })
    }

    /// With this expression besides.
    pub fn and(mut self, expression: &str) -> Self {
        self.stage.extend(["-e".into(), expression.into()]);
        self
    }

    /// The command that serves this folder, with these options, and is traced.
    pub fn command(&self, root: &Path, options: &[&str]) -> Command {
        let stage: Vec<&str> = self.stage.iter().map(|it| &**it).collect();
        upon(&stage, root, options)
    }

    /// From here on it counts.
    pub fn mark(&self) {
        self.mark.set(self.settled().len());
    }

    /// The names of the calls since the mark, in order, and [`NEWS`].
    pub fn calls(&self) -> Vec<String> {
        let all = self.settled();
        let lines = all[self.mark.get()..].lines();
        // "PID name(arguments) = result"; a call that another thread's came between is in two lines.
        lines
            .filter(|line| !line.contains("resumed>"))
            .filter_map(|line| {
                let (name, arguments) = line.split_once('(')?;
                let name = name.split_whitespace().last()?;
                let is_news = name == "read" && arguments.contains("<anon_inode:inotify>");
                Some(if is_news { NEWS } else { name }.to_owned())
            })
            .collect()
    }

    /// Everything, once nothing has come for a while.
    fn settled(&self) -> String {
        let read = || fs::read_to_string(self.folder.path().join("trace")).unwrap_or_default();
        let mut last = read();
        eventually("it has written everything", || {
            thread::sleep(Duration::from_millis(40));
            let now = read();
            let is_settled = now == last;
            last = now;
            is_settled.then_some(())
        });
        last
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).expect("the server accepts"))
    }

    /// Connects from this address of ours. All of 127.0.0.0/8 is ours (RFC 1122 section 3.2.1.3).
    pub fn connect_from(ip: IpAddr, address: SocketAddr) -> Self {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).expect("a socket");
        let ours = SocketAddr::from((ip, 0));
        socket.bind(&ours.into()).expect("an address of ours");
        socket.connect(&address.into()).expect("the server accepts");
        Self::of(socket.into())
    }

    fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        stream.set_write_timeout(Some(PATIENCE)).expect("an option");
        Self {
            stream: BufReader::with_capacity(64 * 1024, stream),
        }
    }

    pub fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .get_mut()
            .write_all(bytes.as_ref())
            .expect("the server reads");
    }

    /// Takes as much at once from now on as the kernel lets it.
    pub fn hurry(&self) {
        let socket = socket2::SockRef::from(self.stream());
        socket
            .set_recv_buffer_size(4 * 1024 * 1024)
            .expect("an option");
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        self.stream
            .get_ref()
            .shutdown(Shutdown::Write)
            .expect("a shutdown");
    }

    /// Sends a GET and receives its response.
    pub fn get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.response()
    }

    /// Sends a request with these field lines, each with its CRLF, and receives its response.
    pub fn request(&mut self, method: &str, target: &str, fields: &str) -> Response {
        self.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"
        ));
        match method {
            "HEAD" => self.response_to_head(),
            _ => self.response(),
        }
    }

    /// Sends one request and receives its response.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request);
        self.response()
    }

    /// Sends one request and receives its response; `None` if the connection ends, in order or not,
    /// before that is whole.
    pub fn attempt(&mut self, request: impl AsRef<[u8]>) -> Option<Response> {
        let sent = self.stream.get_mut().write_all(request.as_ref());
        whole(sent).and_then(|()| self.outcome())
    }

    /// Receives a response to anything but HEAD; `None` if the connection ends, in order or not, before
    /// that is whole.
    pub fn outcome(&mut self) -> Option<Response> {
        whole(self.try_response())
    }

    fn try_response(&mut self) -> io::Result<Response> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if self.stream.read_until(b'\n', &mut head)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        head.truncate(head.len() - 2);
        let mut response = Response {
            head: String::from_utf8(head).expect("a head in ASCII"),
            content: Vec::new(),
        };
        response.content = vec![0; response.promised()];
        self.stream.read_exact(&mut response.content)?;
        Ok(response)
    }

    /// Whether nothing has arrived, the end neither. Something may arrive at any time.
    pub fn hears_nothing(&self) -> bool {
        let stream = self.stream();
        stream.set_nonblocking(true).expect("an option");
        let heard = stream.peek(&mut [0]);
        stream.set_nonblocking(false).expect("an option");
        self.stream.buffer().is_empty()
            && heard.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Receives a response to anything but HEAD.
    pub fn response(&mut self) -> Response {
        let mut response = self.response_to_head();
        response.content = vec![0; response.promised()];
        self.stream
            .read_exact(&mut response.content)
            .expect("as much content as was promised");
        response
    }

    /// Receives a response of which no content is to come.
    pub fn response_to_head(&mut self) -> Response {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let count = self.stream.read_until(b'\n', &mut head).expect("a head");
            assert!(
                count > 0,
                "the connection ended in a head: {}",
                head.escape_ascii()
            );
        }
        head.truncate(head.len() - 2);
        Response {
            head: String::from_utf8(head).expect("a head in ASCII"),
            content: Vec::new(),
        }
    }

    /// Receives so many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).expect("so many bytes");
        bytes
    }

    /// The next byte; `None` where the connection has ended.
    pub fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        match self
            .stream
            .read(&mut byte)
            .expect("a byte, or an orderly end")
        {
            0 => None,
            _ => Some(byte[0]),
        }
    }

    /// Receives everything until the server finishes.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("an orderly end");
        rest
    }

    /// Receives everything until the connection ends, in order or not.
    pub fn rest_until_cut(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let ended = self.stream.read_to_end(&mut rest);
        let waits = |error: &io::Error| error.kind() == ErrorKind::WouldBlock;
        assert!(
            !ended.is_err_and(|error| waits(&error)),
            "waited in vain for the end"
        );
        rest
    }
}

impl Response {
    /// The status line without the version: `200 OK`.
    pub fn status(&self) -> &str {
        let line = self.head.lines().next().unwrap_or_default();
        line.strip_prefix("HTTP/1.1 ").unwrap_or(line)
    }

    /// The value of a field that comes once at the most.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.head.lines().skip(1).filter_map(|line| {
            let (other, value) = line.split_once(": ")?;
            other.eq_ignore_ascii_case(name).then_some(value)
        });
        let value = values.next();
        assert_eq!(values.next(), None, "{name} comes twice in {}", self.head);
        value
    }

    /// The values of all lines of a field, in order.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1);
        lines
            .filter_map(|line| line.split_once(": "))
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// Status line and fields, but for Date.
    pub fn undated(&self) -> String {
        let lines = self.head.lines().filter(|line| !line.starts_with("Date:"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The content without the coding that is said of it.
    pub fn decoded(&self) -> Vec<u8> {
        let mut decoded = Vec::new();
        let coded = &self.content[..];
        match self.field("Content-Encoding") {
            None => return coded.to_vec(),
            Some("br") => brotli::Decompressor::new(coded, 4096).read_to_end(&mut decoded),
            Some("gzip") => flate2::read::GzDecoder::new(coded).read_to_end(&mut decoded),
            Some("zstd") => zstd::Decoder::new(coded)
                .expect("a decoder")
                .read_to_end(&mut decoded),
            Some(other) => panic!("nobody here sends {other}"),
        }
        .expect("it is in that coding");
        decoded
    }

    /// Bytes of content that are to come, if this is no response to HEAD.
    pub fn promised(&self) -> usize {
        self.field("Content-Length")
            .map_or(0, |length| length.parse().expect("a length"))
    }

    /// The content, as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.content).expect("text")
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.content[..self.content.len().min(200)];
        write!(f, "{}\n{}", self.head, shown.escape_ascii())
    }
}

/// What came of talking to a peer who may hang up.
fn whole<T>(result: io::Result<T>) -> Option<T> {
    use ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match result {
        Ok(whole) => Some(whole),
        Err(error) if [BrokenPipe, ConnectionReset, UnexpectedEof].contains(&error.kind()) => None,
        Err(error) => panic!("neither whole nor cut: {error}"),
    }
}

/// The first address in the line that a server prints when it begins to listen.
pub fn announced(line: &str) -> SocketAddr {
    line.split_once("\"http://")
        .and_then(|(_, rest)| rest.split_once("/\"")?.0.parse().ok())
        .unwrap_or_else(|| panic!("no URL in {line}"))
}

/// Resident memory of a process of ours, in KiB.
pub fn resident(child: &Child) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .expect("a number")
}

/// Sends a signal to a process of ours.
pub fn send(signal: Signal, child: &Child) {
    kill_process(Pid::from_child(child), signal).expect("it has not been waited for");
}

/// Lets this process have as many files open as it may: all tests are one, and some are hundreds of peers.
pub fn raise_the_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Where the kernel refuses, the limit stays as it was.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// A site that is one small page.
pub fn site() -> Root {
    Root::of(&[("index.html", "<p>hello")])
}

/// The same, with a large file, `large`, beside the page.
pub fn site_with_large() -> Root {
    let root = site();
    root.write("large", large());
    root
}

/// So many bytes, in which no two places look the same.
pub fn filling(len: usize) -> Vec<u8> {
    let mut content = vec![0; len.next_multiple_of(8)];
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    for place in content.chunks_exact_mut(8) {
        place.copy_from_slice(&word.to_le_bytes());
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
    }
    content.truncate(len);
    content
}

/// An HTTP date in the obsolete form of RFC 850, from the one form that is sent.
pub fn rfc850(date: &str) -> String {
    const DAYS: [&str; 7] = [
        "Sunday",
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
    ];
    let [name, day, month, year, time] = words(date);
    let name = DAYS.iter().find(|long| long.starts_with(name));
    format!(
        "{}, {day}-{month}-{} {time} GMT",
        name.expect("a day"),
        &year[2..]
    )
}

/// An HTTP date in the obsolete form of asctime(3).
pub fn asctime(date: &str) -> String {
    let [name, day, month, year, time] = words(date);
    let day = day.trim_start_matches('0');
    format!("{name} {month} {day:>2} {time} {year}")
}

/// The name of the day, day, month, year and time.
fn words(date: &str) -> [&str; 5] {
    let words: Vec<&str> = date
        .split([' ', ','])
        .filter(|word| !word.is_empty())
        .collect();
    words[..5].try_into().expect("a date")
}

/// The content of a large file, made once.
pub fn large() -> &'static [u8] {
    static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| filling(LARGE));
    &CONTENT
}

/// Whether a command ends well.
pub fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    output.is_ok_and(|output| output.status.success())
}

/// Waits until `condition` gives something.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// What an access line in JSON says under this name, as it is written there; `-` for nothing.
pub fn said(line: &str, name: &str) -> String {
    let (_, rest) = line
        .split_once(&format!("\"{name}\":"))
        .unwrap_or_else(|| panic!("no {name} in {line}"));
    let Some(text) = rest.strip_prefix('"') else {
        let end = rest.find([',', '}']).expect("an end");
        return rest[..end].replace("null", "-");
    };
    let mut is_escaped = false;
    let end = text.find(|char| {
        let is_end = char == '"' && !is_escaped;
        is_escaped = char == '\\' && !is_escaped;
        is_end
    });
    text[..end.expect("an end")].to_owned()
}

/// Method, target, status and bytes of an access line in JSON.
pub fn summary(line: &str) -> String {
    ["method", "target", "status", "bytes"]
        .map(|name| said(line, name))
        .join(" ")
}

/// The lines that come out of a pipe, as they come.
pub fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            if sender
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                break;
            }
        }
    });
    receiver
}
