//! Fuzz target: a request target never leaves the root, and its form with a trailing slash names the same path.
#![no_main]

use docroot::http::{
    FieldLine, Method, Request, RequestFields, Target, TargetError, Validated, Version, validate,
};
use libfuzzer_sys::fuzz_target;

// The first line of the input is a target, the rest is a Host field value.
fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|&byte| byte == b'\n');
    let (raw, host) = bytes.split_at(end.unwrap_or(bytes.len()));
    let host = host.strip_prefix(b"\n");
    // The head parser rejects other bytes.
    let Ok(raw) = std::str::from_utf8(raw) else {
        return;
    };
    let target = Target::parse(raw, None);
    if let Ok(target) = &target {
        check(target);
        check_rewritten(raw, target);
    }

    let host = host.map(|value| FieldLine {
        name: b"Host",
        value,
    });
    let request = Request {
        method: Method::Get,
        target: raw,
        version: Version::Http10,
        fields: RequestFields::new(host.as_slice()),
    };
    match validate(&request) {
        Ok(Validated::Options) => panic!("the method is GET"),
        Ok(Validated::Resource(valid)) => {
            let target = target.expect("a valid request has a valid target");
            assert_eq!(valid.path(), target.path(), "Host changes the path");
            assert_eq!(valid.is_directory(), target.is_directory());
            let host_text = host.and_then(|line| std::str::from_utf8(line.value).ok());
            // The authority of the absolute form takes precedence (RFC 9112 section 3.2.2).
            assert_eq!(valid.authority(), target.authority().or(host_text));
            check_authority(valid.authority().unwrap_or_default());
        }
        Err(error) => {
            // RFC 9110 section 7.4: https resources are not served without TLS.
            let is_misdirected = target == Err(TargetError::HttpsScheme);
            let code = error.status.code();
            assert!(code == "400" || code == "421" && is_misdirected, "{code}");
            assert!(
                target.is_err() || host.is_some(),
                "a valid target without Host is rejected"
            );
        }
    }
});

/// Checks that the target is inside the root, and that its redirect to a trailing slash is, too.
fn check(target: &Target<'_>) {
    let path = target.path();
    assert!(
        !path.iter().any(u8::is_ascii_control),
        "a control character"
    );
    for segment in path.split(|&byte| byte == b'/') {
        assert!(!matches!(segment, b"." | b".."), "a dot segment");
        assert!(!segment.is_empty() || path.is_empty(), "an empty segment");
    }
    let slashed = target.with_trailing_slash();
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>[\\]^`{|}".contains(&byte);
    assert!(
        slashed.bytes().all(plain),
        "{slashed} has characters that no URI has"
    );
    assert!(
        slashed.starts_with('/') && !slashed.starts_with("//"),
        "{slashed} may name a host"
    );
    let again = Target::parse(&slashed, None).expect("a redirect leads to a valid target");
    assert_eq!(again.path(), path, "{slashed} names another path");
    assert!(again.is_directory(), "{slashed} has no trailing slash");
    assert_eq!(
        again.with_trailing_slash(),
        slashed,
        "the form with a trailing slash is not stable"
    );
}

/// Checks that redundant segments do not change the path.
fn check_rewritten(raw: &str, target: &Target<'_>) {
    if !raw.starts_with('/') {
        return;
    }
    for prefix in ["/", "/.", "/%2E", "/a/.."] {
        let longer = format!("{prefix}{raw}");
        let longer = Target::parse(&longer, None).expect("a target with redundant segments");
        assert_eq!(longer.path(), target.path());
        assert_eq!(longer.is_directory(), target.is_directory());
    }
}

/// Checks that an authority is a host and a port by RFC 3986 section 3.2, by parsing it from its end.
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
                "an IPv6 zone names a local interface: {authority}"
            );
        }
        None => assert!(host.bytes().all(is_name), "{authority}"),
    }
}
