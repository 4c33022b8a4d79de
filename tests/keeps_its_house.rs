//! Source tree: where each package and system call is used, and the names that documents rely on.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Returns every source file below `src/`, with its code before the tests.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut directories = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let text = fs::read_to_string(&path).expect("text");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let code = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            let name = path
                .strip_prefix(&root)
                .expect("below src")
                .to_string_lossy()
                .into_owned();
            sources.push((name, code.collect::<Vec<_>>().join("\n")));
        }
    }
    sources
}

/// Text that only files with one of these prefixes may contain.
const ALLOWED_FILES: &[(&str, &[&str])] = &[
    ("mio::", &["net/"]),
    (
        "socket2::",
        &[
            "net/listen/listener.rs",
            "net/transport.rs",
            "net/listen/unix_socket.rs",
        ],
    ),
    ("nix::sys", &["net/listen/listener.rs"]),
    ("listenfd::", &["net/listen/socket_activation.rs"]),
    ("sd_notify::", &["cli/serve.rs", "cli/service_manager.rs"]),
    ("remove_file(", &["net/listen/unix_socket.rs"]),
    ("nix::net::if_", &["net/listen/interfaces.rs"]),
    ("nix::ifaddrs", &["net/listen/interfaces.rs"]),
    ("fast_qr::", &["cli/qr.rs"]),
    ("slotmap::", &["net/connections.rs"]),
    ("arrayvec::", &["http1/parse.rs", "net/outbox.rs"]),
    (
        "rustix::",
        &[
            "net/",
            "site/represent/digests.rs",
            "files/root.rs",
            "site/site.rs",
            "site/live/reload.rs",
            "site/live/tree_watcher.rs",
            "site/resolve/search.rs",
            "site/encoding/sidecar_writer.rs",
            "site/freshness/watch.rs",
            "site/freshness/root_watch.rs",
            "auth/verifier.rs",
            "cli/banner.rs",
            "cli/hash.rs",
            "server/sandbox.rs",
            "server/metrics/process.rs",
        ],
    ),
    ("ipnet::", &["trust.rs"]),
    ("httparse::", &["http1/parse.rs"]),
    ("foldhash::", &["site/freshness/cache.rs"]),
    ("mime_guess::", &["site/names/media.rs"]),
    ("httpdate::", &["http/date.rs"]),
    ("base64::", &["http/credentials.rs"]),
    ("bcrypt::", &["auth/hash.rs"]),
    ("sha_crypt::", &["auth/hash.rs"]),
    ("siphasher::", &["auth/verdict_cache.rs"]),
    ("subtle::", &["auth/verdict_cache.rs"]),
    ("getrandom::", &["auth/verdict_cache.rs"]),
    (
        "twox_hash::",
        &[
            "net/file_part.rs",
            "site/represent/validators.rs",
            "site/represent/digests.rs",
        ],
    ),
    ("brotli::", &["site/encoding/encoder.rs"]),
    ("zstd::", &["site/encoding/encoder.rs"]),
    ("flate2::", &["site/encoding/encoder.rs"]),
    ("indicatif::", &["cli/compress.rs"]),
    ("landlock::", &["server/sandbox.rs"]),
    ("clap::", &["cli/options/"]),
    ("clap_complete::", &["cli/options/manual.rs"]),
    ("clap_mangen::", &["cli/options/manual.rs"]),
    ("signal_hook::", &["cli/serve.rs", "cli/signals.rs"]),
    (
        "tracing_subscriber::",
        &["cli/diagnostics.rs", "cli/local_time.rs"],
    ),
    ("jiff::", &["cli/local_time.rs"]),
    ("strsim::", &["cli/options/mistakes.rs"]),
    (
        "tracing::",
        &[
            "http1/refusal.rs",
            "net/",
            "proxy/",
            "site/",
            "line_writer.rs",
            "server/",
            "cli/",
        ],
    ),
    // Commands run outside the event loops: they report how long they took, or what would be served now. Warnings about
    // lost lines are throttled.
    (
        "Instant::now",
        &[
            "net/reactor.rs",
            "cli/compress.rs",
            "cli/explain/session.rs",
            "line_writer.rs",
            "site/live/reload.rs",
        ],
    ),
    (
        "SystemTime::now",
        &[
            "net/reactor.rs",
            "cli/compress.rs",
            "cli/explain/session.rs",
            "cli/check.rs",
            "server/metrics/process.rs",
        ],
    ),
    ("std::env", &["cli/"]),
    // Sidecars are written in one file, the only one that changes the file system below a root.
    (
        "openat(",
        &["files/root.rs", "site/encoding/sidecar_writer.rs"],
    ),
    ("renameat(", &["site/encoding/sidecar_writer.rs"]),
    ("unlinkat(", &["site/encoding/sidecar_writer.rs"]),
    ("openat2(", &["files/root.rs"]),
    ("File::open", &["server/metrics/process.rs"]),
    ("OpenOptions", &["cli/log_sink.rs"]),
    ("read_link(", &["files/root.rs", "files/path_resolution.rs"]),
    (
        "canonicalize(",
        &["files/root.rs", "cli/options/root.rs", "cli/compress.rs"],
    ),
    ("fs::read", &["cli/options/", "net/limits.rs"]),
    (
        "crate::net",
        &[
            "http1/refusal.rs",
            "http1/session.rs",
            "http1/access_line.rs",
            "http1/access_log.rs",
            "net/",
            "proxy/",
            "server/",
        ],
    ),
    ("crate::proxy", &["server/"]),
    (
        "crate::trust",
        &[
            "http/forwarded.rs",
            "http1/session.rs",
            "net/per_ip_limit.rs",
            "proxy/",
        ],
    ),
    ("crate::site", &["server/", "site/"]),
    ("crate::http1", &["server/"]),
    ("crate::server", &["server/"]),
    ("crate::cli", &["cli/"]),
    ("crate::files", &["files/", "server/", "site/"]),
    ("crate::http::", &["http1/", "site/", "auth/", "server/"]),
    (
        "crate::auth",
        &["http1/authorize.rs", "http1/session.rs", "server/"],
    ),
    (
        "RandomState",
        &["http/multipart.rs", "auth/users.rs", "site/live/reload.rs"],
    ),
    (
        "crate::line_writer",
        &["http1/access_log.rs", "http1/session.rs", "server/"],
    ),
];

#[test]
fn packages_and_system_calls_are_used_only_in_allowed_files() {
    let sources = sources();
    assert!(sources.len() > 20, "the sources are found");
    for (text, prefixes) in ALLOWED_FILES {
        for (name, code) in &sources {
            let is_allowed = prefixes.iter().any(|prefix| name.starts_with(prefix));
            assert!(is_allowed || !code.contains(text), "{name} contains {text}");
        }
    }
}

#[test]
fn tests_named_in_the_conformance_table_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = root.join("docs/reference/conformance.md");
    let table = fs::read_to_string(document).expect("text");
    let names = table.split('`').filter_map(|word| word.split_once("::"));
    let mut count = 0;
    for (file, name) in names {
        let path = root.join("tests").join(file).with_extension("rs");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let exists = text.contains(&format!("\nfn {name}() {{"));
        assert!(exists, "{file}::{name}");
        count += 1;
    }
    assert!(count > 80, "the table is read: {count}");
}

#[test]
fn every_test_file_is_a_module_of_main() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let program = fs::read_to_string(tests.join("main.rs")).expect("text");
    for entry in fs::read_dir(tests).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy();
        let is_test_file = path.extension().is_some_and(|it| it == "rs") && name != "main";
        assert!(
            !is_test_file || program.contains(&format!("\nmod {name};\n")),
            "tests/main.rs has no {name}"
        );
    }
}

#[test]
fn every_source_file_has_a_module_doc_and_a_row_in_lib() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let map = fs::read_to_string(src.join("lib.rs")).expect("the map");
    for (name, _) in sources() {
        let text = fs::read_to_string(src.join(&name)).expect("text");
        assert!(text.starts_with("//! "), "{name}");
        let is_module_root = name.ends_with("mod.rs") || name == "lib.rs";
        assert!(
            is_module_root || map.contains(&format!("| `{name}` |")),
            "{name} is not on the map"
        );
    }
}

/// Returns the name of the type that this line defines at top level.
fn defined_type(line: &str) -> Option<&str> {
    let mut words = line.split(' ').skip_while(|word| word.starts_with("pub"));
    let is_type = ["struct", "enum", "union", "trait", "type"].contains(&words.next()?);
    let name = words.next()?.split(|it: char| !it.is_alphanumeric()).next();
    name.filter(|_| is_type)
}

#[test]
fn type_names_are_unique() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files: HashMap<String, String> = HashMap::new();
    for (file, _) in sources() {
        let text = fs::read_to_string(src.join(&file)).expect("text");
        for name in text.lines().filter_map(defined_type) {
            let other = files.insert(name.to_owned(), file.clone());
            assert_eq!(other, None, "{file} defines {name}, too");
        }
    }
    assert!(files.len() > 200, "types are found: {}", files.len());
}
