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
        &["net/listener.rs", "net/transport.rs", "net/unix_socket.rs"],
    ),
    ("nix::sys", &["net/listener.rs"]),
    ("listenfd::", &["net/socket_activation.rs"]),
    ("sd_notify::", &["main.rs", "service_manager.rs"]),
    ("remove_file(", &["net/unix_socket.rs"]),
    ("nix::net::if_", &["net/address.rs", "net/lan_address.rs"]),
    ("nix::ifaddrs", &["net/lan_address.rs"]),
    ("fast_qr::", &["qr.rs"]),
    ("slotmap::", &["net/reactor.rs"]),
    ("arrayvec::", &["http1/field_lines.rs", "net/outbox.rs"]),
    (
        "rustix::",
        &[
            "net/",
            "site/digests.rs",
            "site/root.rs",
            "site/find.rs",
            "site/live.rs",
            "site/live/tree_watcher.rs",
            "site/search.rs",
            "site/sidecar_writer.rs",
            "site/watch.rs",
            "site/root_watch.rs",
            "auth/verifier.rs",
            "banner.rs",
            "explain.rs",
            "hash.rs",
            "sandbox.rs",
            "metrics/process.rs",
        ],
    ),
    ("ipnet::", &["trust.rs"]),
    ("httparse::", &["http1/parse.rs"]),
    ("foldhash::", &["site/cache.rs"]),
    ("mime_guess::", &["site/media.rs"]),
    ("httpdate::", &["http/date.rs"]),
    ("base64::", &["http/credentials.rs"]),
    ("bcrypt::", &["auth/hash.rs"]),
    ("sha_crypt::", &["auth/hash.rs"]),
    ("siphasher::", &["auth/verdict_cache.rs"]),
    ("subtle::", &["auth/verdict_cache.rs"]),
    ("getrandom::", &["auth/verdict_cache.rs"]),
    (
        "twox_hash::",
        &["net/outbox.rs", "site/validators.rs", "site/digests.rs"],
    ),
    ("brotli::", &["site/encoding.rs"]),
    ("zstd::", &["site/encoding.rs"]),
    ("flate2::", &["site/encoding.rs"]),
    ("indicatif::", &["compress.rs"]),
    ("landlock::", &["sandbox.rs"]),
    ("clap::", &["config.rs", "config/"]),
    ("clap_complete::", &["config/manual.rs"]),
    ("clap_mangen::", &["config/manual.rs"]),
    ("signal_hook::", &["main.rs"]),
    ("tracing_subscriber::", &["main.rs", "local_time.rs"]),
    ("jiff::", &["local_time.rs"]),
    ("strsim::", &["config/mistakes.rs"]),
    (
        "tracing::",
        &[
            "service/refusal.rs",
            "net/",
            "proxy/",
            "site/",
            "line_writer.rs",
            "sandbox.rs",
            "server.rs",
            "browser.rs",
            "service_manager.rs",
            "main.rs",
        ],
    ),
    // Commands run outside the event loops: they report how long they took, or what would be served now. Warnings about
    // lost lines are throttled.
    (
        "Instant::now",
        &[
            "net/reactor.rs",
            "compress.rs",
            "explain.rs",
            "line_writer.rs",
            "site/live.rs",
        ],
    ),
    (
        "SystemTime::now",
        &[
            "net/reactor.rs",
            "compress.rs",
            "explain.rs",
            "check.rs",
            "metrics/process.rs",
        ],
    ),
    ("std::env", &["config.rs", "config/", "main.rs"]),
    // Sidecars are written in one file, the only one that changes the file system below a root.
    ("openat(", &["site/root.rs", "site/sidecar_writer.rs"]),
    ("renameat(", &["site/sidecar_writer.rs"]),
    ("unlinkat(", &["site/sidecar_writer.rs"]),
    ("openat2(", &["site/root.rs"]),
    ("File::open", &["metrics/process.rs"]),
    ("OpenOptions", &["log_sink.rs"]),
    ("read_link(", &["site/root.rs", "path_resolution.rs"]),
    (
        "canonicalize(",
        &["site/root.rs", "config.rs", "compress.rs"],
    ),
    (
        "fs::read",
        &["config.rs", "config/memory.rs", "net/limits.rs"],
    ),
    (
        "crate::net",
        &[
            "http1/session.rs",
            "http1/states.rs",
            "http1/writer.rs",
            "service/",
            "proxy/",
            "server.rs",
            "metrics.rs",
        ],
    ),
    ("crate::proxy", &["server.rs", "metrics.rs"]),
    (
        "crate::trust",
        &[
            "http/forwarded.rs",
            "service/answer.rs",
            "net/per_ip_limit.rs",
            "proxy/",
        ],
    ),
    ("crate::metrics", &["server.rs"]),
    ("crate::site", &["server.rs", "compress.rs", "metrics.rs"]),
    ("crate::http1", &["server.rs"]),
    ("crate::service::", &["http1/", "server.rs", "metrics.rs"]),
    ("crate::server", &[]),
    ("crate::compress", &[]),
    ("crate::sandbox", &[]),
    ("crate::path_resolution", &["site/root.rs", "sandbox.rs"]),
    (
        "crate::http::",
        &[
            "http1/",
            "service/",
            "site/",
            "auth/",
            "compress.rs",
            "metrics.rs",
        ],
    ),
    (
        "crate::auth",
        &[
            "service/answer.rs",
            "service/authorize.rs",
            "server.rs",
            "metrics.rs",
        ],
    ),
    (
        "RandomState",
        &["http/multipart.rs", "auth/users.rs", "site/live.rs"],
    ),
    (
        "crate::line_writer",
        &[
            "service/access_log.rs",
            "service/answer.rs",
            "server.rs",
            "metrics.rs",
        ],
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
