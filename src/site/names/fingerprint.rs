//! Fingerprinted names: which names contain a hash of the content, so that they are never given to other content.
//!
//! The two mistakes differ in price: a fingerprint that is missed costs a conditional request and a 304; a word that is
//! taken for one keeps an old file in clients' caches for a year. So a name counts only if a bundler's folder or a long
//! hash says it:
//!
//! | where | which names |
//! |---|---|
//! | [`BUNDLER_FOLDERS`]: SvelteKit, Astro, Next.js, Nuxt | all |
//! | `static/js/`, `static/css/`, `static/media/`: Create React App | `.` and 8 hexadecimal digits, or a digest |
//! | `assets/`: Vite, Rails, esbuild | scripts, style sheets, fonts, WebAssembly: 8 hexadecimal digits |
//! | | scripts and style sheets: 8 characters of base64url, or of base32 in capitals |
//! | | images: a digest of 64 digits, as Sprockets writes it |
//! | anywhere | scripts, style sheets, fonts, WebAssembly: a digest |
//! | | any file whose whole name, or what is before its first `.` or `-`, is 40, 64 or 128 hexadecimal digits |
//!
//! A digest is 16 to 128 hexadecimal digits, in lower case. It ends the name, after a `-` or a `.`; only the extension
//! may follow, `.chunk` before it, and `.map` after it.
//!
//! No manifest is read (`.vite/manifest.json`, `asset-manifest.json`). Most sites have none, it may be older than the
//! files, and it also lists the files of a bundler that was configured to write names without hashes.

/// Evidence that a name is fingerprinted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fingerprint {
    /// Hash in the name.
    Hash(String),
    /// Folder in which every name contains a hash, with a slash at the end.
    Folder(&'static str),
}

/// Folders that hold nothing but files with fingerprinted names. Beside those of Next.js, `_next/static/` has a folder
/// that is named after the build, and a build's name can be configured.
const BUNDLER_FOLDERS: [&str; 6] = [
    "_app/immutable/",
    "_astro/",
    "_next/static/chunks/",
    "_next/static/css/",
    "_next/static/media/",
    "_nuxt/",
];

/// Nuxt's folder of builds. A file in it names the latest build, the others are named after builds.
const NUXT_BUILDS: &str = "_nuxt/builds/";

/// Folders of Create React App.
const CREATE_REACT_APP_FOLDERS: [&str; 3] = ["static/js/", "static/css/", "static/media/"];

/// Folder of Vite, Rails and others, and of people.
const ASSETS_FOLDER: &str = "assets/";

/// Words that 8 characters of base64url must have, read as camel case where a number is a word. `Html5Api` has three;
/// of Vite's hashes three in five have four.
const MIN_BASE64URL_WORDS: usize = 4;

/// Words that 8 characters of base32 must have, read in the same way.
const MIN_BASE32_WORDS: usize = 5;

/// Kind of file, by its extension.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Script or style sheet.
    Code,
    /// Font or WebAssembly.
    Binary,
    Image,
}

/// Returns whether the name of a file is never given to other content. The path has `/` between its segments.
#[must_use]
pub(crate) fn has_content_hash(path: &[u8]) -> bool {
    fingerprint(path).is_some()
}

/// Returns the evidence that the name of a file is fingerprinted, or `None` if it may be given to other content.
pub(super) fn fingerprint(path: &[u8]) -> Option<Fingerprint> {
    let path = std::str::from_utf8(path).ok()?;
    let is_in = |folder: &str| is_in(path, folder);
    if let Some(folder) = BUNDLER_FOLDERS.into_iter().find(|folder| is_in(folder)) {
        return (!is_in(NUXT_BUILDS)).then_some(Fingerprint::Folder(folder));
    }
    if let Some(digest) = whole_digest(path) {
        return Some(Fingerprint::Hash(digest.to_owned()));
    }
    let name = path.strip_suffix(".map").unwrap_or(path);
    let (stem, extension) = name.rsplit_once('.')?;
    let kind = kind(extension)?;
    let stem = stem.strip_suffix(".chunk").unwrap_or(stem);
    let is_in_assets = is_in(ASSETS_FOLDER);
    let (separator, hex) = last_part(stem, stem.rfind(['.', '-', '/'])?)?;
    let is_in_react_app = separator == b'.' && CREATE_REACT_APP_FOLDERS.into_iter().any(is_in);
    let is_hex_hash = match kind {
        _ if is_in_react_app => is_digest(hex) || is_short_digest(hex),
        Kind::Code | Kind::Binary => is_digest(hex) || (is_in_assets && is_short_digest(hex)),
        // People name images after persons, by a hash of the address (MD5).
        Kind::Image => is_in_assets && hex.len() == 64 && is_digest(hex),
    };
    let hash = match is_hex_hash {
        true => hex,
        false if is_in_assets && kind == Kind::Code && is_base32_hash(hex) => hex,
        false if is_in_assets && kind == Kind::Code => base64url_hash(stem)?,
        false => return None,
    };
    Some(Fingerprint::Hash(hash.to_owned()))
}

/// Returns the digest that a file is named by: the whole name, or what is before the first `.` or `-`, is as long as a
/// digest of SHA-1, SHA-256 or SHA-512. (Package repositories and stores of objects name files like this.)
fn whole_digest(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?;
    let first = name.split(['.', '-']).next()?;
    (matches!(first.len(), 40 | 64 | 128) && is_hex(first)).then_some(first)
}

/// Returns whether this is 8 characters of base32 in capitals, as esbuild writes them, and not letters and numbers in
/// turns, such as `USB3GEN2`.
fn is_base32_hash(text: &str) -> bool {
    text.len() == 8
        && text
            .bytes()
            .all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'))
        && count_words(text.as_bytes()) >= MIN_BASE32_WORDS
}

/// Returns whether a path leads through this folder, which has a slash at its end.
fn is_in(path: &str, folder: &str) -> bool {
    path.match_indices(folder)
        .any(|(at, _)| path[..at].is_empty() || path[..at].ends_with('/'))
}

/// Returns the `.` or `-` at this position, and what is behind it.
fn last_part(stem: &str, at: usize) -> Option<(u8, &str)> {
    let separator = *stem.as_bytes().get(at)?;
    let is_inside = at > 0 && stem.as_bytes()[at - 1] != b'/';
    (is_inside && matches!(separator, b'.' | b'-')).then(|| (separator, &stem[at + 1..]))
}

fn kind(extension: &str) -> Option<Kind> {
    match extension {
        "js" | "mjs" | "css" => Some(Kind::Code),
        "wasm" | "woff" | "woff2" | "ttf" | "otf" | "eot" => Some(Kind::Binary),
        "png" | "jpg" | "jpeg" | "gif" | "webp" | "avif" | "svg" | "ico" => Some(Kind::Image),
        _ => None,
    }
}

/// Returns whether this is 16 hexadecimal digits or more, as many as a digest has, and no identifier: MongoDB's have 24
/// digits, and UUIDs of versions 4 and 7 are known by two of their 32.
fn is_digest(text: &str) -> bool {
    let is_uuid = |bytes: &[u8]| matches!((bytes[12], bytes[16]), (b'4' | b'7', b'8'..=b'b'));
    match text.len() {
        32 => is_hex(text) && !is_uuid(text.as_bytes()),
        16 | 20 | 40 | 64 | 96 | 128 => is_hex(text),
        _ => false,
    }
}

/// Returns whether this is 8 hexadecimal digits that are neither a word and a number nor a date, such as `1feb2024`.
fn is_short_digest(text: &str) -> bool {
    let is_date = || text.contains("feb") || text.contains("dec");
    text.len() == 8 && is_hex(text) && count_words(text.as_bytes()) >= 3 && !is_date()
}

/// Returns whether this is hexadecimal digits in lower case, and neither a number nor a word.
fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && count_words(text.as_bytes()) >= 2
}

/// Returns 8 characters of base64url at the end of a stem, if they are no name in camel case. A `-` may be one of them.
fn base64url_hash(stem: &str) -> Option<&str> {
    let (_, hash) = last_part(stem, stem.len().checked_sub(9)?)?;
    let text = hash.as_bytes();
    let is_hash = text
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && text.iter().any(u8::is_ascii_uppercase)
        && text.iter().any(u8::is_ascii_lowercase)
        && count_words(text) >= MIN_BASE64URL_WORDS;
    is_hash.then_some(hash)
}

/// Returns the number of words and numbers in camel case. Each begins with a character of another kind than the one
/// before it; small letters continue the word that a capital began.
fn count_words(text: &[u8]) -> usize {
    let is_start = |(at, byte): &(usize, &u8)| {
        let last = at.checked_sub(1).map_or(b'-', |at| text[at]);
        match byte {
            b'0'..=b'9' => !last.is_ascii_digit(),
            b'a'..=b'z' => !last.is_ascii_alphabetic(),
            b'A'..=b'Z' => !last.is_ascii_uppercase(),
            _ => false,
        }
    };
    text.iter().enumerate().filter(is_start).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: &str = "8e0d62a10b0c2d1c1c8f8e0d62a10b0c2d1c1c8f8e0d62a10b0c2d1c1c8f1a2b";

    /// Names that bundlers wrote, `{SHA256}` for such a digest. `yes`: recognized; `no`: a 304 each time.
    const BUNDLERS: &str = "
        # Vite: scripts and style sheets whose hash looks like four words or more in camel case.
        yes assets/index-BsYhmk3H.js
        yes docs/assets/index-BsYhmk3H.js.map
        yes assets/index-CbdHiy7d.css
        yes assets/Pair-tQZXtc9v.css
        yes assets/NewTask-OZrYd6XF.css
        yes assets/Settings-Cz8X593r.css
        yes assets/about-jq4vF9kK.js
        yes assets/about-WewIU3S2.js
        yes assets/index-BF_Zw69n.js
        yes assets/editor.worker-CnJPU9cP.js
        yes assets/switch-81QBq1z-.js
        yes assets/selection-CNq0kV96.css
        yes assets/index-Co5RB00a.css
        yes assets/Admin-D4MQFDx0.css
        yes assets/card-CE7dudgW.js
        yes assets/legacy-CiOctGuC.js
        no assets/index-DiwrgTda.css
        no assets/index-DQdhpvV2.js
        no assets/Review-BMffOhLO.css
        no assets/index-dbbkywrm.css
        no assets/react-yPTDbcQ_.js
        no assets/tabs-ByC-Fkf-.js
        no assets/react-CHdo91hT.svg
        no assets/logo-mMj6RjZp.svg
        no assets/add-DkMAU0Nf.wasm
        yes assets/FiraSans-Regular-0fe48ade.woff2
        # esbuild.
        yes assets/chunk-7K3F2QXA.js
        no assets/chunk-YPBHGZKJ.js
        no assets/geist-latin-wght-normal-BgDaEnEv.woff2
        no js/vendor-BsYhmk3H.js
        # Until Vite 4, hexadecimal.
        yes assets/editor.worker.b9d8707e.js
        yes assets/bn.js.387b47fa.js
        yes assets/date-fns.ecfd739c.js
        yes assets/sl-SI-legacy-94710df8.js
        yes assets/sk-672bb31f.js
        no assets/logo.03d6d6da.png
        # VitePress, Vike, Remix: they use Vite.
        yes assets/chunks/theme.BsYhmk3H.js
        yes assets/static/dashboard.3kIbfc9E.css
        yes assets/root-81QBq1zX.js
        no assets/static/Layout.DNEofm3j.css
        no assets/inter-roman-latin.Di8DUHzh.woff2
        # Repositories and stores of objects.
        yes dists/stable/main/binary-amd64/by-hash/SHA256/{SHA256}
        yes repodata/{SHA256}-primary.xml.gz
        yes targets/{SHA256}.firmware.bin
        no repodata/primary.xml.gz
        # SvelteKit.
        yes _app/immutable/entry/start.DiwrgTda.js
        yes _app/immutable/nodes/0.BYvK0zCk.js
        yes _app/immutable/chunks/index.js
        yes base/_app/immutable/assets/0.abcdefgh.css
        yes _app/immutable/assets/logo.CiOctGuC.png
        no _app/version.json
        no _app/env.js
        # Next.js.
        yes _next/static/chunks/webpack-aa3032f54a56dedc.js
        yes _next/static/chunks/c9a40420-4bfb41be47fc0950.js
        yes _next/static/chunks/app/layout-0d504051a85f0fe7.js
        yes _next/static/chunks/pages/_app-4ce47ffa64d5cee5.js
        yes _next/static/css/94fdbc56eafa2039.css
        yes _next/static/media/4cf2300e9c8272f7-s.p.woff2
        yes base/_next/static/chunks/0i6~x_z.4k2-q.js
        yes _next/static/chunks/turbopack-08c3~.w_1fk9z.js
        no _next/static/Xk3f9aQ1bC/_buildManifest.js
        no _next/static/Xk3f9aQ1bC/_ssgManifest.js
        no _next/image.js
        # Nuxt.
        yes _nuxt/entry.BYvK0zCk.css
        yes _nuxt/DlAUqK2U.js
        yes _nuxt/wallet.d41d5bc9.css
        yes _nuxt/_id_.423af19b.js
        no _nuxt/builds/latest.json
        no _nuxt/builds/meta/94520237-4fc0-48e1-84be-1f8c69acbb00.json
        # Astro.
        yes _astro/hoisted.BYvK0zCk.js
        yes _astro/Layout.DiwrgTda.css
        yes _astro/penguin.Bi9sHvX2_Z1abcDE.webp
        yes _astro/about.3f2a9c01.css
        # Create React App.
        yes static/js/main.46bb75ee.js
        yes static/js/main.8e3b5f0c.js.map
        yes static/js/787.5f0a3b1c.chunk.js
        yes static/js/runtime-main.01e49255.js
        yes static/css/main.ca630adb.css
        yes static/css/2.2b2c02b2.chunk.css.map
        yes static/media/logo.6ce24c58023cc2f8fd88fe9d219db6c6.svg
        yes static/media/logo.5d5d9eef.svg
        yes app/static/media/inter.0f9d8c7b6a5e4d3c2b1a.woff2
        no static/js/main.8e3b5f0c.js.LICENSE.txt
        no static/js/main.33333333.js
        no asset-manifest.json
        # webpack.
        yes main.8e0d62a10b0c2d1c1c8f.js
        yes dist/vendors.8e0d62a10b0c2d1c1c8f.chunk.css
        no css/app.d4c8a9f0.css
        no js/chunk-vendors.0c4d2f1e.js
        no 1fc3d7a2b0c4e5f60718.png
        # Angular.
        yes main.0123456789abcdef.js
        yes styles.ef46db3751d8e999.css
        yes runtime.cc8a4ba1f0e2d3b4.js
        no main-Z4FBT2QK.js
        no chunk-YPBHGZKJ.js
        no styles-5INURTSO.css
        no media/roboto-3JUO5W6I.woff2
        # Parcel.
        no index.7f3a9c21.js
        no src.fbed56e1.css
        no logo.0b1c2d3e.png
        # Rails: Sprockets, then Propshaft.
        yes assets/application-{SHA256}.css
        yes assets/application-{SHA256}.js
        yes assets/logo-{SHA256}.png
        yes assets/icons/star-{SHA256}.svg
        yes assets/inter-{SHA256}.woff2
        yes assets/application-8f6a1d2b.css
        yes assets/controllers/hello_controller-549135e8e7c683a538c3d6d517339ba470fcfb79.js
        no assets/logo-f3e8c9b2.png
        no assets/.sprockets-manifest-0a1b2c3d4e5f60718293a4b5c6d7e8f9.json
        # Hugo.
        yes css/style.min.{SHA256}.css
        yes js/main.{SHA256}{SHA256}.js
        no images/sunset_hu8f3a2c1d_800x0_resize_q75.jpg
        # Gatsby.
        yes app-8e0d62a10b0c2d1c1c8f.js
        yes component---src-pages-index-js-4f2c0d3f5a6b7c8d9e0f.js
        yes styles.8e0d62a10b0c2d1c1c8f.css
        no page-data/index/page-data.json
        no static/logo-6ce24c58023cc2f8fd88fe9d219db6c6.png
        no static/6ce24c58023cc2f8fd88fe9d219db6c6/a1b2c/hero.png
        # Docusaurus.
        yes assets/js/main.8e3b5f0c.js
        yes assets/js/17896441.1a2b3c4d.js
        yes assets/js/runtime~main.5f0a3b1c.js
        yes assets/css/styles.5e2f9a0b.css
        no assets/images/docs-0f9d8c7b6a5e4d3c2b1a0f9d8c7b6a5e.png
        # Phoenix, Trunk, Django.
        yes assets/app-4f2c0d3f5a6b1c8d9e0f4f2c0d3f5a6b.js
        yes app-8e0d62a10b0c2d1c.js
        no app-8e0d62a10b0c2d1c_bg.wasm
        no static/css/base.27e20196a850.css
    ";

    /// Names that people gave. Each is tried in every one of [`PEOPLES_FOLDERS`].
    const PEOPLE: &str = "
        # Products, parts, models.
        photo-PCIe4x16.jpg crimp-RJ45Cat6.jpg rear-BMW330Ci.jpg notes-Ch03Fig2.png slot-DDR5SODI.webp cable-USB3TypC.png
        board-RPi4B8GB.jpg lens-EF50f18U.jpg bike-MT07Y2K4.jpg gpu-RTX4090a.png tyre-R17W225A.jpg disk-NVMe2TB1.avif
        hub-HDMI2x4K.jpg phone-iPh15Pro.jpg screw-M3x10DIN.svg part-A1B2C3D4.jpg box-Nr4Bx12C.gif cpu-i9X13th.png
        # Words of eight letters.
        team-portrait.jpg hero-homepage.png font-semibold.woff2 Inter-SemiBold.woff2 Inter-ExtraBold.ttf theme-settings.css
        page-Contact2.css page-Homepage.css style-Version2.css style-HowToUse.css jquery-validate.js owl-carousel.js
        jquery.lazyLoad.js jquery.autoSize.js bootstrap.min.css my-component.js chart-umd.js font-awesome.css facade.js
        user-settings.js checkout-complete.css app-SETTINGS.js main-VERSION2.js lib-HTML2PDF.js lib-BASE64JS.js
        lib-D3DCOLOR.js index-TYPEFACE.js team-Members1.js button-Disabled.css index-internal.js foo-decoupled.css
        # Camel case with numbers.
        lib-useQuery.js lib-GitHubUI.js lib-MyTheme2.js lib-HTMLView.js lib-YouTube2.js lib-IPv6Stub.js lib-hexToInt.js
        lib-BTreeMap.js lib-X509Cert.css net-IPv4-NAT.js three-FXAAPass.js three-Canvas2D.js gpu-Uint32x4.wasm
        list-UserIDs.js lib-CssToJsx.js lib-BaseURLs.js lib-DotDotEq.js chart-xAxisKey.svg lib-Html5Api.js lib-Web3Auth.js
        lib-Win32Api.css lib-Utf8Conv.js trait.LowerExp.js struct.AtomicU8.js IPv6Stub.js lib-AtomicI8.js chart-xMinYMin.js
        # Words in hexadecimal.
        lib-deadbeef.js lib.deadbeef.js cafe-cafe2024.css wall-facade01.css era-decade80.js app.deadbeefdeadbeef.js
        lib-0badcafe.js app.feedface.css
        # Versions, dates, numbers.
        jquery-3.7.1.min.js react-18.2.0.js v1.2.3.js lib-1.10.0.css app-1.2.3-14-g1a2b3c4.js app-1.2.3-14-g1a2b3c4d.js
        style.20240131.css app-20240131.js photo-1feb2024.jpg app-1feb2024.js app.12dec024.js app.a1234567.js
        photo-a1234567.jpg photo-20231224.png photo-2024-01-31.jpg scan-20240101120000.png report-20240101120000.pdf
        app-20240101120000.js data.1700000000000000.js call-4930123456.png call-0049301234567890.png 1700000000000.png
        isbn-9783161484100.jpg icon-24x24.png icon-256x256.png IMG_20240131_120000.jpg DSC00042.JPG PXL_20240131.mp4
        # Identifiers.
        avatar-9f8e7d6c5b4a39281706f5e4d3c2b1a0.png avatar-0bc83cb571cd1c50ba6f3e8a78ef1346.jpg
        user-550e8400-e29b-41d4-a716-446655440000.png 550e8400-e29b-41d4-a716-446655440000.js
        theme-550e8400-e29b-41d4-a716-446655440abc.css theme-550e8400e29b41d4a716446655440000.css
        theme-018f3c2a7b1e7c3d9a4b5c6d7e8f9a0b.css avatar-507f1f77bcf86cd799439011.jpg theme-507f1f77bcf86cd799439011.css
        9f8e7d6c5b4a39281706f5e4d3c2b1a0.png 9f8e7d6c5b4a39281706f5e4d3c2b1a0.js photo-1a2b3c4d.jpg commit-8e0d62a1.png
        video-dQw4w9WgXcQ.jpg thumb-hY7m5jjJ9mM.png
        # Pages, documents, data, archives; names that are nothing but a hash; no extension.
        index-BsYhmk3H.html about.8e0d62a10b0c2d1c1c8f.html report-1a2b3c4d.pdf data-1a2b3c4d.json
        data.8e0d62a10b0c2d1c1c8f.json nightly-1a2b3c4d.tar.gz film-8e0d62a10b0c2d1c1c8f.mp4 index-BsYhmk3H
        8e0d62a10b0c2d1c1c8f .8e0d62a10b0c2d1c1c8f BsYhmk3H.js -BsYhmk3H.js .8e0d62a10b0c2d1c1c8f.js app.js style.css
        8e0d62a10b0c2d1c1c8f/app.js index-BsYhmk3H/logo.png immutable/app.js _astro.js caf\u{e9}-Men\u{fc}8e0d.js
        \u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}-a.js \u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}-ab.js
    ";

    const PEOPLES_FOLDERS: [&str; 8] = [
        "",
        "images/",
        "uploads/2024/",
        "assets/",
        "assets/img/",
        "my_app/immutable/",
        "static/js/",
        "static/media/",
    ];

    /// Returns the lines of a table without comments.
    fn rows(table: &str) -> impl Iterator<Item = &str> {
        let lines = table.lines().map(str::trim);
        lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
    }

    #[test]
    fn names_that_bundlers_write_are_recognized_or_revalidated() {
        for row in rows(BUNDLERS) {
            let (expected, name) = row.split_once(' ').expect("two columns");
            let name = name.replace("{SHA256}", SHA256);
            assert_eq!(
                has_content_hash(name.as_bytes()),
                expected == "yes",
                "{name}"
            );
        }
    }

    #[test]
    fn names_that_people_give_are_not_fingerprinted() {
        for name in rows(PEOPLE).flat_map(str::split_whitespace) {
            for folder in PEOPLES_FOLDERS {
                let path = format!("{folder}{name}");
                assert_eq!(fingerprint(path.as_bytes()), None, "{path}");
            }
        }
        for path in [
            &b""[..],
            b"/",
            b"a/",
            b"assets/",
            b"_astro",
            b"\xff-BsYhmk3H.js",
        ] {
            assert_eq!(fingerprint(path), None, "{path:?}");
        }
    }

    #[test]
    fn fingerprint_is_the_hash_or_the_folder() {
        let hash = |hash: &str| Some(Fingerprint::Hash(hash.to_owned()));
        for (path, expected) in [
            ("assets/index-BsYhmk3H.js", hash("BsYhmk3H")),
            ("assets/switch-81QBq1z-.js", hash("81QBq1z-")),
            ("static/js/787.5f0a3b1c.chunk.js.map", hash("5f0a3b1c")),
            ("a/_astro/x.png", Some(Fingerprint::Folder("_astro/"))),
        ] {
            assert_eq!(fingerprint(path.as_bytes()), expected, "{path}");
        }
    }
}
