//! Source tree: what each folder may import and use, how long a file may be, and the names that documents rely on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// Floors of `src/`, from the top down. A folder imports from lower floors and from itself.
const FLOORS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["server"],
    &["proxy"],
    &["http1"],
    &["service"],
    &["site", "auth"],
    &["files", "http", "net"],
    &["blob", "log", "trust"],
    &["escape", "path", "peer", "sync"],
];

/// Folders that a folder does not import, although they are on a lower floor.
const FORBIDDEN_IMPORTS: &[(&str, &[&str])] = &[
    // RFC 9112 and nothing else.
    ("http1", &["auth", "trust", "log", "files", "site"]),
    ("service", &["files", "site"]),
    // Wraps any protocol.
    (
        "proxy",
        &["http", "http1", "service", "site", "files", "auth"],
    ),
    ("auth", &["http", "net"]),
    ("site", &["net", "trust", "peer"]),
];

/// Packages, system calls and clocks: the folders and files that use them.
const HOMES: &[(&str, &[&str])] = &[
    ("mio::", &["net/"]),
    ("socket2::", &["net/"]),
    ("nix::", &["net/"]),
    ("listenfd::", &["net/"]),
    ("slotmap::", &["net/"]),
    ("arrayvec::", &["http1/", "net/"]),
    ("httparse::", &["http1/"]),
    ("httpdate::", &["http/"]),
    ("base64::", &["http/"]),
    ("ipnet::", &["trust.rs"]),
    ("bcrypt::", &["auth/"]),
    ("sha_crypt::", &["auth/"]),
    ("siphasher::", &["auth/"]),
    ("subtle::", &["auth/"]),
    ("getrandom::", &["auth/"]),
    ("foldhash::", &["site/freshness/", "sync/"]),
    ("mime_guess::", &["site/names/"]),
    ("twox_hash::", &["net/", "site/represent/"]),
    ("brotli::", &["site/encoding/"]),
    ("zstd::", &["site/encoding/"]),
    ("flate2::", &["site/encoding/"]),
    ("landlock::", &["server/"]),
    ("clap::", &["cli/"]),
    ("clap_complete::", &["cli/"]),
    ("clap_mangen::", &["cli/"]),
    ("fast_qr::", &["cli/"]),
    ("indicatif::", &["cli/"]),
    ("jiff::", &["cli/"]),
    ("sd_notify::", &["cli/"]),
    ("signal_hook::", &["cli/"]),
    ("strsim::", &["cli/"]),
    ("tracing_subscriber::", &["cli/"]),
    (
        "tracing::",
        &[
            "cli/", "server/", "proxy/", "service/", "site/", "net/", "log/", "sync/",
        ],
    ),
    (
        "rustix::",
        &["cli/", "server/", "site/", "files/", "net/", "sync/"],
    ),
    // The event loop's clock is read in one place. Commands, background threads and throttles have their own.
    (
        "Instant::now",
        &["net/reactor.rs", "cli/", "site/live/", "log/"],
    ),
    ("SystemTime::now", &["net/reactor.rs", "cli/", "server/"]),
    ("std::env", &["cli/", "main.rs"]),
    ("File::open", &["server/metrics/"]),
    ("OpenOptions", &["cli/"]),
    ("fs::read", &["cli/", "net/limits.rs"]),
    ("openat2(", &["files/"]),
    ("openat(", &["files/", "site/encoding/sidecar_writer.rs"]),
    // The only file that changes the file system below a root.
    ("renameat(", &["site/encoding/sidecar_writer.rs"]),
    ("unlinkat(", &["site/encoding/sidecar_writer.rs"]),
    ("remove_file(", &["net/listen/unix_socket.rs"]),
    ("read_link(", &["files/"]),
    ("canonicalize(", &["files/", "cli/"]),
];

/// Limits that keep a file and a type readable, in lines.
const MAX_FILE_LINES: usize = 700;
const MAX_IMPL_LINES: usize = 299;

/// Source file: its name below `src/`, and its code before the tests, without comment lines.
struct Source {
    name: String,
    code: String,
    /// Lines before the tests, comments included.
    line_count: usize,
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Returns every source file, sorted by name.
fn sources() -> Vec<Source> {
    let root = src();
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
            let code = text
                .split("\n#[cfg(test)]\nmod tests")
                .next()
                .unwrap_or_default();
            let is_code = |line: &&str| !line.trim_start().starts_with("//");
            sources.push(Source {
                name: path
                    .strip_prefix(&root)
                    .expect("below src")
                    .to_string_lossy()
                    .into_owned(),
                code: code.lines().filter(is_code).collect::<Vec<_>>().join("\n"),
                line_count: code.lines().count(),
            });
        }
    }
    sources.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(sources.len() > 100, "the sources are found");
    sources
}

/// Returns the module path of a file: `site/mod.rs` and `site.rs` are both `site`.
fn module_path(file: &str) -> Vec<&str> {
    let stem = file.trim_end_matches(".rs");
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    match stem {
        "lib" => Vec::new(),
        stem => stem.split('/').collect(),
    }
}

/// Returns the folder of a file, or the file's own name if it is in none.
fn folder(file: &str) -> &str {
    file.split('/')
        .next()
        .unwrap_or(file)
        .trim_end_matches(".rs")
}

/// Expands a use tree such as `a::{b, c::{d, e}}` into its paths.
fn expand(tree: &str, prefix: &str, paths: &mut Vec<String>) {
    let Some((head, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        paths.push(format!("{prefix}{path}"));
        return;
    };
    let prefix = format!("{prefix}{}", head.trim());
    let (mut depth, mut start) = (0, 0);
    let group = group.trim_end().strip_suffix('}').unwrap_or(group);
    for (at, sign) in group.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&group[start..at], &prefix, paths);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !group[start..].trim().is_empty() {
        expand(&group[start..], &prefix, paths);
    }
}

/// Returns the paths that a file names in its use declarations and in its code, from the root of the crate.
fn named_paths(source: &Source) -> Vec<String> {
    let own = module_path(&source.name);
    let mut paths = Vec::new();
    let mut rest = source.code.as_str();
    while let Some(at) = ["crate::", "docroot::", "super::", "self::"]
        .iter()
        .filter_map(|root| rest.find(root))
        .min()
    {
        let is_word = |sign: char| sign.is_alphanumeric() || sign == '_' || sign == ':';
        let is_start = !rest[..at].ends_with(is_word);
        let is_use = rest[..at].ends_with("use ");
        let path = &rest[at..];
        let end = match is_use {
            true => path.find(';').unwrap_or(path.len()),
            false => path.find(|sign| !is_word(sign)).unwrap_or(path.len()),
        };
        if is_start {
            expand(&path[..end], "", &mut paths);
        }
        rest = &path[end.max(1)..];
    }
    let absolute = |path: String| {
        let mut module = own.clone();
        let mut parts = path.split("::").map(str::trim).peekable();
        match parts.peek() {
            Some(&"crate" | &"docroot") => {
                parts.next();
                module.clear();
            }
            Some(&"self") => {
                parts.next();
            }
            _ => {}
        }
        while parts.next_if_eq(&"super").is_some() {
            module.pop();
        }
        let all: Vec<&str> = module.into_iter().chain(parts).collect();
        all.join("::")
    };
    paths.into_iter().map(absolute).collect()
}

/// Returns the file whose item each file's paths name, through re-exports: (importing file, imported file).
fn imports(sources: &[Source]) -> BTreeSet<(String, String)> {
    let files: BTreeMap<String, &str> = sources
        .iter()
        .map(|source| (module_path(&source.name).join("::"), source.name.as_str()))
        .collect();
    // The file of a path: its longest prefix that is a module, then, if that re-exports the name, the origin.
    let mut exports: HashMap<String, String> = HashMap::new();
    for source in sources {
        let own = module_path(&source.name).join("::");
        for line in source.code.split(';') {
            let Some((_, tree)) = line.split_once("pub use ") else {
                continue;
            };
            let mut paths = Vec::new();
            expand(tree, "", &mut paths);
            for path in paths {
                let name = path.rsplit("::").next().unwrap_or_default().to_owned();
                let path = path.trim_start_matches("self::");
                let origin = match path.strip_prefix("crate::") {
                    Some(path) => path.to_owned(),
                    None => format!("{own}::{path}"),
                };
                exports.insert(format!("{own}::{name}"), origin);
            }
        }
    }
    let file_of = |path: &str| {
        let mut path = path.to_owned();
        // A name is re-exported twice at most: by its folder, and by the folder around that.
        for _ in 0..3 {
            match exports.get(&path) {
                Some(origin) => path.clone_from(origin),
                None => break,
            }
        }
        loop {
            if let Some(file) = files.get(&path) {
                return Some((*file).to_owned());
            }
            path.truncate(path.rfind("::")?);
        }
    };
    let mut imports = BTreeSet::new();
    for source in sources {
        for path in named_paths(source) {
            if let Some(file) = file_of(&path).filter(|file| *file != source.name) {
                imports.insert((source.name.clone(), file));
            }
        }
    }
    assert!(imports.len() > 300, "imports are found: {}", imports.len());
    imports
}

#[test]
fn imports_run_downward_between_folders() {
    let floor = |name: &str| {
        let position = FLOORS.iter().position(|floor| floor.contains(&name));
        position.unwrap_or_else(|| panic!("{name} is on no floor"))
    };
    let is_forbidden = |from: &str, to: &str| {
        let mut rows = FORBIDDEN_IMPORTS.iter();
        rows.any(|(name, forbidden)| *name == from && forbidden.contains(&to))
    };
    let mut faults = Vec::new();
    for (file, imported) in imports(&sources()) {
        let (from, to) = (folder(&file), folder(&imported));
        if from != to && (floor(from) >= floor(to) || is_forbidden(from, to)) {
            faults.push(format!("{file} imports {imported}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Returns the files that a file imports, and those that these import, and so on.
fn reached_from<'a>(
    file: &'a str,
    imports: &BTreeMap<&'a str, BTreeSet<&'a str>>,
) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next = vec![file];
    while let Some(file) = next.pop() {
        for &imported in imports.get(file).into_iter().flatten() {
            if reached.insert(imported) {
                next.push(imported);
            }
        }
    }
    reached
}

/// Checks that no files or folders import each other in a circle.
fn check_circles<'a>(edges: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut imports: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, imported) in edges {
        imports.entry(from).or_default().insert(imported);
    }
    let mut faults = Vec::new();
    for (from, imported) in &imports {
        for imported in imported {
            if reached_from(imported, &imports).contains(from) {
                faults.push(format!("{from} imports {imported}, which leads back to it"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_do_not_import_each_other_in_a_circle() {
    let edges = imports(&sources());
    check_circles(edges.iter().map(|(from, to)| (&**from, &**to)));
}

#[test]
fn folders_of_site_do_not_import_each_other_in_a_circle() {
    let edges = imports(&sources());
    let folder = |file| Some(str::strip_prefix(file, "site/")?.split_once('/')?.0);
    let folders = |(from, to)| Some((folder(from)?, folder(to)?));
    let edges: Vec<(&str, &str)> = edges
        .iter()
        .filter_map(|(from, to)| folders((&**from, &**to)))
        .filter(|(from, to)| from != to)
        .collect();
    assert!(edges.len() > 20, "imports are found: {}", edges.len());
    check_circles(edges.into_iter());
}

#[test]
fn packages_and_system_calls_are_used_only_in_their_homes() {
    let mut faults = Vec::new();
    for (text, homes) in HOMES {
        for Source { name, code, .. } in sources() {
            let is_home = homes.iter().any(|home| name.starts_with(home));
            let is_word = |sign: char| sign.is_alphanumeric() || sign == '_';
            let is_used = |(at, _)| !code[..at].ends_with(is_word);
            if !is_home && code.match_indices(text).any(is_used) {
                faults.push(format!("{name} contains {text}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_and_impls_are_short() {
    let mut faults = Vec::new();
    for source in sources() {
        let Source {
            name,
            code,
            line_count,
        } = source;
        if line_count > MAX_FILE_LINES {
            faults.push(format!("{name}: {line_count} lines"));
        }
        let mut start = None;
        for (number, line) in code.lines().enumerate() {
            match line {
                "}" => {
                    let length = start.take().map_or(0, |start| number + 1 - start);
                    if length > MAX_IMPL_LINES {
                        faults.push(format!("{name}: an impl of {length} lines"));
                    }
                }
                line if line.starts_with("impl") => start = Some(number),
                _ => {}
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn map_in_lib_names_every_folder() {
    let map = fs::read_to_string(src().join("lib.rs")).expect("the map");
    for source in sources() {
        let text = fs::read_to_string(src().join(&source.name)).expect("text");
        assert!(text.starts_with("//! "), "{} has no doc", source.name);
        let folder = match source.name.split_once('/') {
            Some((folder, _)) => format!("`{folder}/`"),
            None => format!("`{}`", source.name),
        };
        let is_listed = source.name == "lib.rs" || map.contains(&folder);
        assert!(is_listed, "{folder} is not on the map");
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

/// Returns the name of the type that this line defines at top level.
fn defined_type(line: &str) -> Option<&str> {
    let mut words = line.split(' ').skip_while(|word| word.starts_with("pub"));
    let is_type = ["struct", "enum", "union", "trait", "type"].contains(&words.next()?);
    let name = words.next()?.split(|it: char| !it.is_alphanumeric()).next();
    name.filter(|_| is_type)
}

#[test]
fn type_names_are_unique() {
    let mut files: HashMap<String, String> = HashMap::new();
    for Source { name: file, .. } in sources() {
        let text = fs::read_to_string(src().join(&file)).expect("text");
        for name in text.lines().filter_map(defined_type) {
            let other = files.insert(name.to_owned(), file.clone());
            assert_eq!(other, None, "{file} defines {name}, too");
        }
    }
    assert!(files.len() > 200, "types are found: {}", files.len());
}
