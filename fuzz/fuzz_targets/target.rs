//! A target names something inside the root, and a folder's own address names the same.
#![no_main]

use docroot::http::{FieldLine, Method, Request, Target, TargetError, Version, validate};
use libfuzzer_sys::fuzz_target;

// The first line is a target, the rest is a Host field.
fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|&byte| byte == b'\n');
    let (raw, host) = bytes.split_at(end.unwrap_or(bytes.len()));
    let host = host.strip_prefix(b"\n");
    // The parser of heads lets nothing else through.
    let Ok(raw) = std::str::from_utf8(raw) else {
        return;
    };
    let target = Target::parse(raw, None);
    if let Ok(target) = &target {
        check(target);
        check_rewritten(raw, target);
    }

    let host = host.map(|value| FieldLine {
        name: "Host",
        value,
    });
    let request = Request {
        method: Method::Get,
        target: raw,
        version: Version::Http10,
        lines: host.as_slice(),
    };
    match validate(&request) {
        Ok(admitted) => {
            let target = target.expect("what is admitted is a target");
            assert_eq!(admitted.path(), target.path(), "a host changes no path");
            assert_eq!(admitted.is_directory(), target.is_directory());
            let said = host.and_then(|line| std::str::from_utf8(line.value).ok());
            // An absolute form's authority wins (RFC 9112 section 3.2.2).
            assert_eq!(admitted.authority(), target.authority().or(said));
            check_authority(admitted.authority().unwrap_or_default());
        }
        Err(refusal) => {
            // (RFC 9110 section 7.4: what is to be had over TLS is not to be had here.)
            let is_misdirected = target == Err(TargetError::HttpsScheme);
            let code = refusal.status.code();
            assert!(code == "400" || code == "421" && is_misdirected, "{code}");
            assert!(
                target.is_err() || host.is_some(),
                "a target is refused without a reason"
            );
        }
    }
});

/// That it is inside the root, and that so is the address it is redirected to.
fn check(target: &Target<'_>) {
    let path = target.path();
    assert!(
        !path.iter().any(u8::is_ascii_control),
        "a control character"
    );
    for segment in path.split(|&byte| byte == b'/') {
        assert!(
            !matches!(segment, b"." | b".."),
            "a segment that is no name"
        );
        assert!(
            !segment.is_empty() || path.is_empty(),
            "a segment without a name"
        );
    }
    let address = target.with_trailing_slash();
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>[\\]^`{|}".contains(&byte);
    assert!(address.bytes().all(plain), "{address} has what no URI has");
    assert!(
        address.starts_with('/') && !address.starts_with("//"),
        "{address} may name a host"
    );
    let again = Target::parse(&address, None).expect("an address of ours is a target");
    assert_eq!(again.path(), path, "{address} names something else");
    assert!(again.is_directory(), "{address} names no folder");
    assert_eq!(
        again.with_trailing_slash(),
        address,
        "an address is written in one way"
    );
}

/// That the path is the same where it is written in more words.
fn check_rewritten(raw: &str, target: &Target<'_>) {
    if !raw.starts_with('/') {
        return;
    }
    for prefix in ["/", "/.", "/%2E", "/a/.."] {
        let longer = format!("{prefix}{raw}");
        let longer = Target::parse(&longer, None).expect("a target in more words");
        assert_eq!(longer.path(), target.path());
        assert_eq!(longer.is_directory(), target.is_directory());
    }
}

/// That it is a host and a port by RFC 3986 section 3.2, read from its end.
fn check_authority(authority: &str) {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if digits(port) => host,
        _ => authority,
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte);
    match host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(literal) => {
            assert!(
                literal.bytes().all(|byte| byte == b':' || is_name(byte)),
                "{authority}"
            );
            assert!(
                !literal.contains('%'),
                "a zone names an interface of ours: {authority}"
            );
        }
        None => assert!(host.bytes().all(is_name), "{authority}"),
    }
}
