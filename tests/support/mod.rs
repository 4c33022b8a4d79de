//! Starts a docroot process and talks to it in raw bytes over real sockets.
#![allow(unreachable_pub, reason = "all test files use it")]

pub mod browser;
pub mod encoding;

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use docroot::blob::TIMESTAMP_TICK;
pub use rustix::process::Signal;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, kill_process, setrlimit};
use socket2::SockRef;

/// Longest wait for any event; then the test fails.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Length of a large file, in bytes: more than a socket's send buffer (the last number of tcp_wmem, tcp(7), is 4 MiB),
/// so that the server cannot have sent the end while the client still reads the beginning.
pub const LARGE_LEN: usize = 8 * 1024 * 1024;

/// Name that a [`Trace`] gives to a `read` of inotify events (inotify(7)). Other tests' changes in the directory that
/// holds all roots wake every worker of every server, so tests filter these calls.
pub const INOTIFY_READ: &str = "inotify read";

/// Smallest valid request.
pub const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// docroot process of one test, on a free port of 127.0.0.1. It is killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// First line of standard output, which the server prints when it listens.
    pub announcement: String,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

/// Temporary directory of one test. It is removed when dropped.
pub struct Root {
    folder: tempfile::TempDir,
}

/// Sets a flag when dropped, also when the test panics, so that threads of the test stop.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

/// System calls of a server, recorded by strace(1).
pub struct Trace {
    folder: tempfile::TempDir,
    wrapper: Vec<String>,
    /// Length of the trace file, in bytes, at the last [`Trace::mark`].
    mark: std::cell::Cell<usize>,
}

/// One connection to a server.
pub struct Client<S = TcpStream> {
    stream: BufReader<S>,
}

/// Response as received.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// Status line and field lines, each with its CRLF.
    pub head: String,
    pub content: Vec<u8>,
}

/// Returns the `docroot` command, without the environment variables that set options.
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

/// Returns options for a free port of 127.0.0.1 and two workers, followed by `options`.
pub fn arguments<'a>(options: &[&'a str]) -> Vec<&'a str> {
    let free_port = &["--bind", "127.0.0.1", "--port", "0"][..];
    [free_port, two_workers(options), options].concat()
}

/// Returns the option for two workers, unless `options` say how many. By default docroot has a worker for each
/// processor, each with an inotify instance, of which a user may have 128 (inotify(7)).
pub fn two_workers(options: &[&str]) -> &'static [&'static str] {
    match options.iter().any(|it| ["-w", "--workers"].contains(it)) {
        true => &[],
        false => &["--workers", "2"],
    }
}

/// Returns the command that serves `root`, run by the program and arguments in `wrapper`.
pub fn command_under(wrapper: &[&str], root: &Path, options: &[&str]) -> Command {
    let server = docroot();
    let mut command = Command::new(wrapper[0]);
    command
        .args(&wrapper[1..])
        .arg(server.get_program())
        .args(arguments(options))
        .arg(root)
        .stdin(Stdio::null());
    for (name, _) in server.get_envs() {
        command.env_remove(name);
    }
    command
}

/// Returns the command that serves `root` while openat2(2) fails with this error. Returns `None`, after printing
/// `SKIPPED`, where strace(1) cannot inject the error.
pub fn command_without_openat2(error: &str, root: &Path, options: &[&str]) -> Option<Command> {
    let inject = format!("inject=openat2:error={error}");
    // With -D, docroot is the child of this process, and strace a detached grandchild.
    let strace = "strace -D -f --seccomp-bpf -qq -o /dev/null -e trace=openat2 -e".split(' ');
    let wrapper: Vec<&str> = strace.chain([&*inject]).collect();
    let probe = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg("true")
        .output();
    if !probe.as_ref().is_ok_and(|probe| probe.status.success()) {
        eprintln!("SKIPPED: strace(1) cannot inject an error into openat2 here: {probe:?}");
        return None;
    }
    Some(command_under(&wrapper, root, options))
}

/// Whether a line of standard error warns that the root has no index file.
pub fn is_about_index(line: &str) -> bool {
    line.contains("so / gets 404") || line.contains("so every request gets 404")
}

/// Whether docroot relies on inotify in this directory, which it does not on every file system. For tests of system
/// calls that inotify saves. Prints `SKIPPED` where it does not.
pub fn is_watched(directory: &Path) -> bool {
    let announcement = Server::start(directory).announcement.clone();
    let is_watched = announcement.contains("\"changes\":\"inotify\"");
    if !is_watched {
        eprintln!("SKIPPED: docroot does not rely on inotify in {directory:?}");
    }
    is_watched
}

/// Returns a wrapper for [`command_under`] under which file modes apply to docroot: a no-op for an ordinary user; for
/// root, whom modes do not bind (capabilities(7)), setpriv(1) with another user ID. Makes `root` readable for all.
/// Returns `None`, after printing `SKIPPED`, where the other user cannot run docroot or cannot reach `root`.
pub fn unprivileged_wrapper(root: &Path) -> Option<Vec<&'static str>> {
    if !rustix::process::geteuid().is_root() {
        return Some(vec!["env"]);
    }
    let mode = Permissions::from_mode(0o755);
    fs::set_permissions(root, mode).expect("the test owns this directory");
    let wrapper = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all";
    let wrapper: Vec<&str> = wrapper.split(' ').collect();
    let probe = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .args(["sh", "-ec", "test -r \"$0\"; exec \"$1\" --version"])
        .args([root, Path::new(docroot().get_program())])
        .output();
    if probe.as_ref().is_ok_and(|probe| probe.status.success()) {
        return Some(wrapper);
    }
    eprintln!("SKIPPED: no other user can run docroot on {root:?} here: {probe:?}");
    None
}

impl Server {
    /// Serves `root` with default options.
    pub fn start(root: &Path) -> Self {
        Self::with(root, &[])
    }

    /// Serves `root` without a cache, so that the server closes every file that it opens.
    pub fn without_cache(root: &Path) -> Self {
        Self::with(root, &["--cache-memory", "0"])
    }

    /// Serves `root` with these options.
    pub fn with(root: &Path, options: &[&str]) -> Self {
        let mut command = docroot();
        command.args(arguments(options)).arg(root);
        Self::spawn(command)
    }

    /// Serves `root`, started by another program: sh(1), setpriv(1).
    pub fn start_under(wrapper: &[&str], root: &Path, options: &[&str]) -> Self {
        Self::spawn(command_under(wrapper, root, options))
    }

    /// Serves `root` while openat2(2) fails with this error: ENOSYS, as on a kernel before 5.6, or EPERM, as under the
    /// seccomp filters of many containers. Returns `None`, after printing `SKIPPED`, where strace(1) cannot inject it.
    pub fn without_openat2(error: &str, root: &Path, options: &[&str]) -> Option<Self> {
        command_without_openat2(error, root, options).map(Self::spawn)
    }

    /// Starts a docroot command and waits until it listens.
    pub fn spawn(mut command: Command) -> Self {
        raise_open_file_limit();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("docroot starts");
        let stdout = lines(child.stdout.take().expect("a pipe"));
        let stderr = lines(child.stderr.take().expect("a pipe"));
        let Ok(announcement) = stdout.recv_timeout(TIMEOUT) else {
            let _ = child.kill();
            panic!(
                "docroot prints no startup line; standard error: {:?}",
                stderr.iter().collect::<Vec<_>>()
            );
        };
        let address = announced_address(&announcement);
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

    /// Sends a GET on a new connection and receives its response.
    pub fn get(&self, target: &str) -> Response {
        self.connect().get(target)
    }

    /// Requests a file on a new connection with a small receive buffer and reads the response's head only, so that the
    /// server can send only as fast as the client reads.
    pub fn download(&self, target: &str) -> Client {
        let mut client = self.connect();
        let socket = SockRef::from(client.stream());
        socket.set_recv_buffer_size(32 * 1024).expect("an option");
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        assert_eq!(client.response_to_head().status(), "200 OK");
        client
    }

    /// Sends a request with these field lines, each with its CRLF, on a new connection and receives its response.
    pub fn ask(&self, method: &str, target: &str, fields: &str) -> Response {
        self.connect().request(method, target, fields)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        send_signal(signal, &self.child);
    }

    /// Runs `act` while the server is stopped by SIGSTOP, so that the server finds all its effects in one poll.
    pub fn while_stopped(&self, act: impl FnOnce()) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.pid());
        eventually("all threads of the server are stopped", || {
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

    /// Waits for the next line on standard output.
    pub fn stdout_line(&self) -> String {
        self.stdout
            .recv_timeout(TIMEOUT)
            .expect("a line on standard output")
    }

    /// Unread lines of standard output, up to its end: the process must have exited.
    pub fn remaining_stdout(&self) -> Vec<String> {
        self.stdout.iter().collect()
    }

    /// Waits for the next line on standard error. Skips the warning about a root without an index file: most of these
    /// have none.
    pub fn stderr_line(&self) -> String {
        loop {
            let line = self.stderr.recv_timeout(TIMEOUT);
            let line = line.expect("a line on standard error");
            if !is_about_index(&line) {
                return line;
            }
        }
    }

    /// Unread lines of standard output so far, without waiting.
    pub fn stdout_lines(&self) -> Vec<String> {
        self.stdout.try_iter().collect()
    }

    /// Unread lines of standard error so far, without waiting.
    pub fn stderr_lines(&self) -> Vec<String> {
        let lines = self.stderr.try_iter();
        lines.filter(|line| !is_about_index(line)).collect()
    }

    /// Unread lines of standard error, up to its end, with those about an index file: the process must have exited.
    pub fn remaining_stderr(&self) -> Vec<String> {
        self.stderr.iter().collect()
    }

    /// Waits until the process has exited.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        eventually("the server exits", || {
            self.child.try_wait().expect("a child process")
        })
    }

    /// Whether the process has exited.
    pub fn has_exited(&mut self) -> bool {
        self.child.try_wait().expect("a child process").is_some()
    }

    /// Number of open descriptors of the process, not counting those that the cache may hold: one for each file, and
    /// each in-memory copy of a file.
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

    /// Waits until [`Server::descriptors`] is this number.
    pub fn wait_for_descriptors(&self, descriptors: usize) {
        eventually(
            &format!("exactly {descriptors} descriptors are open"),
            || (self.descriptors() == descriptors).then_some(()),
        );
    }

    /// Waits until [`Server::descriptors`] is at most this number.
    pub fn wait_for_descriptors_at_most(&self, descriptors: usize) {
        eventually(
            &format!("at most {descriptors} descriptors are open"),
            || (self.descriptors() <= descriptors).then_some(()),
        );
    }

    /// Waits until the server has used less than 40 ms of processor time in 400 ms.
    pub fn wait_until_idle(&self) {
        eventually("the server is idle", || {
            let used = self.cpu_time();
            // The interval that is measured.
            thread::sleep(Duration::from_millis(400));
            (self.cpu_time() - used < Duration::from_millis(40)).then_some(())
        });
    }

    /// Resident memory of the process, in KiB.
    pub fn resident_kib(&self) -> usize {
        resident_kib(&self.child)
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
        // /proc counts in hundredths of a second, whatever the kernel's own tick is.
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for SetOnDrop<'_> {
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
    /// Makes directories accessible again whose mode a test has changed, so that they can be removed.
    fn drop(&mut self) {
        let mut directories = vec![self.path().to_owned()];
        while let Some(directory) = directories.pop() {
            let _ = fs::set_permissions(&directory, Permissions::from_mode(0o700));
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|it| it.is_dir());
            directories.extend(entries.filter(is_directory).map(|entry| entry.path()));
        }
    }
}

impl Root {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// Creates the temporary directory on the tmpfs for shared memory (shm_overview(7)). Returns `None` where there is
    /// none, or where this user may not write to it.
    pub fn in_memory() -> Option<Self> {
        let folder = tempfile::tempdir_in("/dev/shm").ok()?;
        Some(Self { folder })
    }

    /// Creates a temporary directory with these files, given as path and content.
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

    /// Sets the modification time of all files to the epoch, and waits for a tick of the file system's clock. A file
    /// modified just now has no Last-Modified until that second is over, and no ETag until that tick is, so responses
    /// would change in the middle of a test.
    pub fn backdate(&self) {
        let mut folders = vec![self.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("the test owns this directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    set_modified(&path, SystemTime::UNIX_EPOCH);
                }
            }
        }
        wait_for_file_clock();
    }

    /// Writes a file and creates the directories above it.
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories can be created");
        fs::write(path, content).expect("files can be written");
    }
}

impl Trace {
    /// Prepares a trace of these system calls, separated by commas. Returns `None`, after printing `SKIPPED`, where
    /// strace(1) does not work.
    pub fn new(calls: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let file = folder.path().join("trace");
        // With -D, docroot is the child of this process, and strace a detached grandchild.
        // With -y, strace prints what a descriptor refers to.
        let mut wrapper: Vec<String> = ["strace", "-D", "-f", "-qq", "-y", "-e"]
            .map(Into::into)
            .into();
        wrapper.push(format!("trace={calls}"));
        wrapper.extend(["-o".into(), file.to_str().expect("a name in ASCII").into()]);
        let arguments: Vec<&str> = wrapper[1..]
            .iter()
            .map(|it| &**it)
            .chain(["true"])
            .collect();
        if !succeeds("strace", &arguments) {
            eprintln!("SKIPPED: strace(1) cannot trace {calls} here");
            return None;
        }
        Some(Self {
            folder,
            wrapper,
            mark: std::cell::Cell::new(0),
        })
    }

    /// Adds another `-e` expression of strace(1), such as an injected error.
    pub fn with_expression(mut self, expression: &str) -> Self {
        self.wrapper.extend(["-e".into(), expression.into()]);
        self
    }

    /// Returns the command that serves `root` with these options, traced.
    pub fn command(&self, root: &Path, options: &[&str]) -> Command {
        let wrapper: Vec<&str> = self.wrapper.iter().map(|it| &**it).collect();
        command_under(&wrapper, root, options)
    }

    /// Makes [`Trace::calls`] begin here.
    pub fn mark(&self) {
        self.mark.set(self.settled().len());
    }

    /// Names of the system calls since the mark, in order, among them [`INOTIFY_READ`].
    pub fn calls(&self) -> Vec<String> {
        let all = self.settled();
        let lines = all[self.mark.get()..].lines();
        // "PID name(arguments) = result"; a call that another thread interrupts takes two lines, the second with
        // "resumed".
        lines
            .filter(|line| !line.contains("resumed>"))
            .filter_map(|line| {
                let (name, arguments) = line.split_once('(')?;
                let name = name.split_whitespace().last()?;
                let is_inotify = name == "read" && arguments.contains("<anon_inode:inotify>");
                Some(if is_inotify { INOTIFY_READ } else { name }.to_owned())
            })
            .collect()
    }

    /// Whole trace file, once it has not grown for 40 ms.
    fn settled(&self) -> String {
        let read = || fs::read_to_string(self.folder.path().join("trace")).unwrap_or_default();
        let mut last = read();
        eventually("strace has written everything", || {
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
        Self::from_stream(TcpStream::connect(address).expect("the server accepts"))
    }

    /// Connects from this local address. All of 127.0.0.0/8 is local (RFC 1122 section 3.2.1.3).
    pub fn connect_from(ip: IpAddr, address: SocketAddr) -> Self {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).expect("a socket");
        let local = SocketAddr::from((ip, 0));
        socket.bind(&local.into()).expect("a local address");
        socket.connect(&address.into()).expect("the server accepts");
        Self::from_stream(socket.into())
    }

    fn from_stream(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("an option");
        Self::new(stream).expect("an option")
    }

    pub fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Enlarges the socket's receive buffer to 4 MiB, or to the kernel's limit.
    pub fn enlarge_receive_buffer(&self) {
        let socket = SockRef::from(self.stream());
        socket
            .set_recv_buffer_size(4 * 1024 * 1024)
            .expect("an option");
    }

    /// Whether no byte and no end of stream has arrived so far.
    pub fn has_received_nothing(&self) -> bool {
        let stream = self.stream();
        stream.set_nonblocking(true).expect("an option");
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).expect("an option");
        self.stream.buffer().is_empty()
            && peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

impl<S: Read + Write + AsFd> Client<S> {
    /// Creates a client whose reads and writes time out.
    pub fn new(stream: S) -> io::Result<Self> {
        let socket = SockRef::from(&stream);
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        let stream = BufReader::with_capacity(64 * 1024, stream);
        Ok(Self { stream })
    }

    /// Returns the buffered connection.
    pub fn reader(&mut self) -> &mut BufReader<S> {
        &mut self.stream
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the server reads");
    }

    /// Sends bytes as they are.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Shuts down the sending side: a half-close.
    pub fn shutdown_write(&mut self) {
        self.try_shutdown_write().expect("a shutdown");
    }

    /// Shuts down the sending side: a half-close.
    pub fn try_shutdown_write(&mut self) -> io::Result<()> {
        SockRef::from(self.stream.get_ref()).shutdown(Shutdown::Write)
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

    /// Sends one request and receives its response; `None` if the connection is closed or reset before the response is
    /// complete.
    pub fn try_request(&mut self, request: impl AsRef<[u8]>) -> Option<Response> {
        let sent = self.try_send(request);
        none_if_closed(sent).and_then(|()| self.try_response())
    }

    /// Receives a response to a method other than HEAD; `None` if the connection is closed or reset before the response
    /// is complete.
    pub fn try_response(&mut self) -> Option<Response> {
        none_if_closed(self.read_response())
    }

    /// Receives a response to a method other than HEAD.
    pub fn response(&mut self) -> Response {
        self.read_response().expect("a complete response")
    }

    /// Receives a response without content: to HEAD, or the head of one whose content the test reads itself.
    pub fn response_to_head(&mut self) -> Response {
        let head = self.read_head().expect("a complete head");
        head.expect("a head before the end of the connection")
    }

    fn read_response(&mut self) -> io::Result<Response> {
        let head = self.read_head()?;
        let mut response = head.ok_or(ErrorKind::UnexpectedEof)?;
        response.content = vec![0; response.content_length()];
        self.stream.read_exact(&mut response.content)?;
        Ok(response)
    }

    /// Receives the head of a response; `None` if the connection is closed or reset before it begins.
    pub fn read_head(&mut self) -> io::Result<Option<Response>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match self.stream.read_until(b'\n', &mut head) {
                Ok(0) if head.is_empty() => return Ok(None),
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if head.is_empty() && error.kind() == ErrorKind::ConnectionReset => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        head.truncate(head.len() - 2);
        Ok(Some(Response {
            head: String::from_utf8(head).map_err(|_| ErrorKind::InvalidData)?,
            content: Vec::new(),
        }))
    }

    /// Receives the next chunk (RFC 9112 section 7.1); the last one is empty.
    pub fn read_chunk(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        let size = line.strip_suffix(b"\r\n").ok_or(ErrorKind::UnexpectedEof)?;
        let size = std::str::from_utf8(size).ok();
        let size = size.filter(|size| size.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.ok_or_else(|| {
            let line = line.escape_ascii();
            io::Error::new(
                ErrorKind::InvalidData,
                format!("no size of a chunk: {line}"),
            )
        })?;
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk)?;
        match chunk.ends_with(b"\r\n") {
            true => chunk.truncate(size),
            false => return Err(ErrorKind::InvalidData.into()),
        }
        Ok(chunk)
    }

    /// Receives chunks up to the last and returns their content.
    pub fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            let chunk = self.read_chunk()?;
            if chunk.is_empty() {
                return Ok(content);
            }
            content.extend(chunk);
        }
    }

    /// Receives this many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).expect("so many bytes");
        bytes
    }

    /// Receives the next byte; `None` at the end of the stream.
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

    /// Receives everything until the server closes the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("an orderly end");
        rest
    }

    /// Receives everything until the server closes or resets the connection.
    pub fn rest_even_if_reset(&mut self) -> Vec<u8> {
        self.try_rest().expect("the connection ends in time")
    }

    /// Receives everything until the server closes or resets the connection. Fails if that takes too long.
    pub fn try_rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(error),
            _ => Ok(rest),
        }
    }
}

impl Response {
    /// Status code and reason phrase: `200 OK`.
    pub fn status(&self) -> &str {
        let line = self.head.lines().next().unwrap_or_default();
        line.strip_prefix("HTTP/1.1 ").unwrap_or(line)
    }

    /// Status code: `200`.
    pub fn code(&self) -> &str {
        self.status().get(..3).unwrap_or_default()
    }

    /// Value of a field that may appear at most once.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.head.lines().skip(1).filter_map(|line| {
            let (other, value) = line.split_once(": ")?;
            other.eq_ignore_ascii_case(name).then_some(value)
        });
        let value = values.next();
        assert_eq!(values.next(), None, "{name} appears twice in {}", self.head);
        value
    }

    /// Values of all lines of a field, in order.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1);
        lines
            .filter_map(|line| line.split_once(": "))
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// Status line and fields without Date.
    pub fn undated(&self) -> String {
        let lines = self.head.lines().filter(|line| !line.starts_with("Date:"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Content after undoing its Content-Encoding.
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
            Some(other) => panic!("unexpected coding {other}"),
        }
        .expect("valid in its coding");
        decoded
    }

    /// Value of Content-Length in bytes; 0 where there is none.
    pub fn content_length(&self) -> usize {
        self.field("Content-Length")
            .map_or(0, |length| length.parse().expect("a length"))
    }

    /// Content as UTF-8 text.
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

/// Turns the errors of a closed or reset connection into `None`.
fn none_if_closed<T>(result: io::Result<T>) -> Option<T> {
    use ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match result {
        Ok(value) => Some(value),
        Err(error) if [BrokenPipe, ConnectionReset, UnexpectedEof].contains(&error.kind()) => None,
        Err(error) => panic!("neither complete nor closed: {error}"),
    }
}

/// Returns the first address in the line that a server prints when it listens.
pub fn announced_address(line: &str) -> SocketAddr {
    line.split_once("\"http://")
        .and_then(|(_, rest)| rest.split_once('/')?.0.parse().ok())
        .unwrap_or_else(|| panic!("no URL in {line}"))
}

/// Returns the resident memory of a child process, in KiB.
pub fn resident_kib(child: &Child) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .expect("a number")
}

/// Sends a signal to a child process.
pub fn send_signal(signal: Signal, child: &Child) {
    kill_process(Pid::from_child(child), signal).expect("it has not been waited for");
}

/// Raises this process's soft limit of open files to the hard limit: all tests share one process, and some open
/// hundreds of connections.
pub fn raise_open_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Where the kernel refuses, the limit stays as it was.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// Creates a root with one small page.
pub fn site() -> Root {
    Root::of(&[("index.html", "<p>hello")])
}

/// Creates a root with one small page and a large file, `large`.
pub fn site_with_large() -> Root {
    let root = site();
    root.write("large", large());
    root
}

/// Returns `len` pseudorandom bytes, so that no two places in them are the same.
pub fn pseudorandom_bytes(len: usize) -> Vec<u8> {
    let mut content = vec![0; len.next_multiple_of(8)];
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    for chunk in content.chunks_exact_mut(8) {
        chunk.copy_from_slice(&word.to_le_bytes());
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
    }
    content.truncate(len);
    content
}

/// Converts an HTTP date (IMF-fixdate) to the obsolete format of RFC 850.
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

/// Converts an HTTP date (IMF-fixdate) to the obsolete format of asctime(3).
pub fn asctime(date: &str) -> String {
    let [name, day, month, year, time] = words(date);
    let day = day.trim_start_matches('0');
    format!("{name} {month} {day:>2} {time} {year}")
}

/// Splits an HTTP date into day name, day, month, year and time.
fn words(date: &str) -> [&str; 5] {
    let words: Vec<&str> = date
        .split([' ', ','])
        .filter(|word| !word.is_empty())
        .collect();
    words[..5].try_into().expect("a date")
}

/// Content of a large file, [`LARGE_LEN`] bytes, generated once.
pub fn large() -> &'static [u8] {
    static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| pseudorandom_bytes(LARGE_LEN));
    &CONTENT
}

/// Whether a command can be run and exits with 0.
pub fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    output.is_ok_and(|output| output.status.success())
}

/// Runs a program on this input. Where there is no such program, prints so and returns `None`.
pub fn run_on(program: &str, arguments: &[&str], input: impl AsRef<[u8]>) -> Option<Output> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        eprintln!("SKIPPED: there is no {program} here");
        return None;
    };
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_ref()).expect("the program reads");
    drop(stdin);
    Some(child.wait_with_output().expect("a child process"))
}

/// Sets the modification time of a file.
pub fn set_modified(path: &Path, time: SystemTime) {
    let file = fs::File::options().write(true).open(path);
    file.and_then(|file| file.set_modified(time))
        .expect("the test owns this file");
}

pub fn since_epoch(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Waits for a tick of the clock that dates files: the next change gets another date, and the last one counts as settled,
/// whatever the time of day is.
pub fn wait_for_file_clock() {
    thread::sleep(TIMESTAMP_TICK + Duration::from_millis(1));
}

/// Waits until `condition` returns a value. `what` completes "timed out waiting until".
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < TIMEOUT, "timed out waiting until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Returns a field of an access log line in JSON, as it is written there; `-` for null.
pub fn json_field(line: &str, name: &str) -> String {
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

/// Returns method, target, status and bytes of an access log line in JSON.
pub fn summary(line: &str) -> String {
    ["method", "target", "status", "bytes"]
        .map(|name| json_field(line, name))
        .join(" ")
}

/// Reads lines from a pipe on a thread of their own, and returns a channel that receives them.
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
