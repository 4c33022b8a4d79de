//! Content codings, and the choice among those offered by a request's Accept-Encoding (RFC 9110 sections 8.4.1 and
//! 12.5.3).

use std::cmp::Reverse;
use std::fmt;

use super::request::Request;
use super::request_fields::RequestField;
use super::syntax::{list_elements, parse_weight, split_parameters};

/// A content coding. Of two that are otherwise equal, the greater is preferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coding {
    /// No coding.
    #[default]
    Identity,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878), with a window of at most 8 MiB (RFC 9659).
    Zstd,
    /// Brotli (RFC 7932).
    Brotli,
}

/// A request's Accept-Encoding, parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcceptEncoding {
    /// Whether there is such a field.
    is_present: bool,
    /// Thousandths; `None` if the coding is not listed.
    identity: Option<u16>,
    gzip: Option<u16>,
    zstd: Option<u16>,
    brotli: Option<u16>,
    /// Weight of `*`, for codings that are not listed.
    wildcard: Option<u16>,
}

/// Reason why an offered coding is chosen or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodingReason {
    /// It is chosen.
    Chosen,
    /// The request gives it, or all codings it does not list, `q=0`.
    Refused,
    /// The request lists other codings only.
    Unlisted,
    /// The request has no Accept-Encoding, so no coding is used.
    NoAcceptEncoding,
    /// The request gives another coding more weight.
    LessPreferred,
    /// Another coding has the same weight and is shorter.
    Longer,
    /// Another coding has the same weight and length, and docroot prefers it.
    Tied,
}

impl Coding {
    /// All codings, the least preferred first.
    pub const ALL: [Self; 4] = [Self::Identity, Self::Gzip, Self::Zstd, Self::Brotli];

    /// Name in IANA's registry of content codings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Brotli => "br",
        }
    }

    /// Returns the coding that a Content-Encoding of this value means: the one coding of the content.
    #[must_use]
    pub fn of_field_value(value: &str) -> Option<Self> {
        let value = match value.eq_ignore_ascii_case("x-gzip") {
            true => Self::Gzip.name(),
            false => value,
        };
        let is_named = |coding: &Self| coding.name().eq_ignore_ascii_case(value);
        Self::ALL[1..].iter().copied().find(is_named)
    }

    /// Suffix of a sidecar in this coding, appended to the name of the original file.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Identity => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
            Self::Brotli => ".br",
        }
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl AcceptEncoding {
    /// Parses all Accept-Encoding lines of the request. Malformed elements are ignored, and of two elements for one
    /// coding the later one counts. `x-gzip` is gzip (RFC 9110 section 8.4.1.3).
    #[must_use]
    pub fn from_request(request: &Request<'_>) -> Self {
        let mut accept_encoding = Self::default();
        let mut values = request
            .fields
            .values(RequestField::AcceptEncoding)
            .peekable();
        accept_encoding.is_present = values.peek().is_some();
        for element in values.flat_map(list_elements) {
            accept_encoding.add_element(element);
        }
        accept_encoding
    }

    /// Weight of this coding in thousandths, 0 if it is not acceptable. Without the field every coding has 1000.
    /// Identity that is not listed is acceptable, but no more than that, so 1, unless `*;q=0` excludes it.
    #[must_use]
    pub fn weight(&self, coding: Coding) -> u16 {
        match (self.listed_weight(coding), coding) {
            _ if !self.is_present => 1000,
            (Some(weight), _) => weight,
            (None, Coding::Identity) => u16::from(self.wildcard != Some(0)),
            (None, _) => self.wildcard.unwrap_or(0),
        }
    }

    fn add_element(&mut self, element: &[u8]) {
        let mut parts = split_parameters(element);
        let name = parts.next().unwrap_or_default();
        let thousandths = match (parts.next().map(parse_weight), parts.next()) {
            (None, None) => 1000,
            (Some(Some(Some(thousandths))), None) => thousandths,
            _ => return,
        };
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let slot = match () {
            () if name == b"*" => &mut self.wildcard,
            () if is("gzip") || is("x-gzip") => &mut self.gzip,
            () if is("br") => &mut self.brotli,
            () if is("zstd") => &mut self.zstd,
            () if is("identity") => &mut self.identity,
            // An unknown or invalid coding: it does not affect the choice.
            () => return,
        };
        *slot = Some(thousandths);
    }

    fn listed_weight(&self, coding: Coding) -> Option<u16> {
        match coding {
            Coding::Identity => self.identity,
            Coding::Gzip => self.gzip,
            Coding::Zstd => self.zstd,
            Coding::Brotli => self.brotli,
        }
    }

    /// Rank of this coding among others, 0 if it is not acceptable: by weight; but identity that is not listed ranks
    /// below all that is listed, and above all if there is no Accept-Encoding.
    fn rank(&self, coding: Coding) -> u16 {
        match (self.weight(coding), coding) {
            (weight, Coding::Identity) if !self.is_present => 2 * weight + 1,
            (weight, Coding::Identity) if self.identity.is_none() => weight,
            (weight, _) => 2 * weight,
        }
    }
}

/// Index of the coding to send among these, each with the length in bytes of the content in it: the greatest weight; of
/// equal weights, the shortest; of equal lengths, the greatest [`Coding`].
///
/// `None` if none is acceptable. The content should then be sent without a coding, if there is such a representation:
/// RFC 9110 section 12.5.3 recommends it, and a 406 would not help the client.
#[must_use]
pub(super) fn choose_coding(
    accept_encoding: &AcceptEncoding,
    offered: &[(Coding, u64)],
) -> Option<usize> {
    let acceptable = offered
        .iter()
        .enumerate()
        .filter(|(_, (coding, _))| accept_encoding.rank(*coding) > 0);
    // `max_by_key` returns the last of several maxima.
    let best = acceptable
        .rev()
        .max_by_key(|(_, (coding, len))| (accept_encoding.rank(*coding), Reverse(*len), *coding));
    best.map(|(index, _)| index)
}

/// Coding to compress content with that exists only uncompressed, if any has at least the rank of identity: the
/// greatest rank; of equal ranks, the one that makes the content small soonest.
pub(super) fn wanted_coding(accept_encoding: &AcceptEncoding) -> Option<Coding> {
    let codings = [Coding::Gzip, Coding::Brotli, Coding::Zstd].into_iter();
    let identity = accept_encoding.rank(Coding::Identity);
    let welcome = codings.filter(|&coding| accept_encoding.rank(coding) >= identity.max(1));
    // `max_by_key` returns the last of several maxima.
    welcome.max_by_key(|&coding| accept_encoding.rank(coding))
}

/// Reasons why each of these codings is chosen or not by `choose_coding`.
#[must_use]
pub fn coding_reasons(
    accept_encoding: &AcceptEncoding,
    offered: &[(Coding, u64)],
) -> Vec<CodingReason> {
    let chosen = choose_coding(accept_encoding, offered);
    let best = chosen.and_then(|index| offered.get(index)).copied();
    let reason = |(index, &(coding, len)): (usize, &(Coding, u64))| match (
        accept_encoding.rank(coding),
        best,
    ) {
        _ if chosen == Some(index) => CodingReason::Chosen,
        (0, _)
            if accept_encoding.listed_weight(coding) == Some(0)
                || accept_encoding.wildcard == Some(0) =>
        {
            CodingReason::Refused
        }
        (0, _) => CodingReason::Unlisted,
        (_, Some((Coding::Identity, _))) if !accept_encoding.is_present => {
            CodingReason::NoAcceptEncoding
        }
        (rank, Some((best, _))) if rank < accept_encoding.rank(best) => CodingReason::LessPreferred,
        (_, Some((_, shortest))) if shortest < len => CodingReason::Longer,
        _ => CodingReason::Tied,
    };
    offered.iter().enumerate().map(reason).collect()
}

impl fmt::Display for CodingReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chosen => "chosen",
            Self::Refused => "refused by q=0 in Accept-Encoding",
            Self::Unlisted => "not listed in Accept-Encoding",
            Self::NoAcceptEncoding => "not requested: there is no Accept-Encoding",
            Self::LessPreferred => "less preferred by Accept-Encoding",
            Self::Longer => "longer than the chosen one",
            Self::Tied => "as good as the chosen one",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::{Method, Version};
    use super::super::request_fields::{FieldLine, RequestFields};
    use super::Coding::{Brotli, Gzip, Identity, Zstd};
    use super::*;

    fn accept_encoding(lines: &[&str]) -> AcceptEncoding {
        let lines: Vec<_> = lines
            .iter()
            .map(|value| ("accept-encoding", *value))
            .collect();
        AcceptEncoding::from_request(&Request {
            method: Method::Get,
            target: "/",
            version: Version::Http11,
            fields: RequestFields::new(&FieldLine::from_pairs(&lines)),
        })
    }

    fn check(lines: &[&str], offered: &[(Coding, u64)], expected: Option<Coding>) {
        let chosen = choose_coding(&accept_encoding(lines), offered);
        assert_eq!(
            chosen.map(|index| offered[index].0),
            expected,
            "{lines:?} {offered:?}"
        );
        let reasons = coding_reasons(&accept_encoding(lines), offered);
        assert_eq!(
            reasons
                .iter()
                .position(|reason| *reason == CodingReason::Chosen),
            chosen,
            "{lines:?}"
        );
    }

    const ALL: &[(Coding, u64)] = &[(Identity, 1000), (Gzip, 300), (Zstd, 280), (Brotli, 250)];

    #[test]
    fn coding_with_the_greatest_weight_is_chosen() {
        for (value, expected) in [
            // Accept-Encoding of browsers.
            ("gzip, deflate, br, zstd", Some(Brotli)),
            ("gzip, deflate, br", Some(Brotli)),
            ("gzip, deflate", Some(Gzip)),
            ("gzip", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("GZIP", Some(Gzip)),
            // Codings that docroot does not have.
            ("deflate", Some(Identity)),
            ("compress, dcb, exi", Some(Identity)),
            ("", Some(Identity)),
            (" , ,", Some(Identity)),
            // Weights.
            ("br;q=0.5, gzip;q=0.8", Some(Gzip)),
            ("br;q=0.5,gzip;q=0.501", Some(Gzip)),
            ("br ; Q=0.5 , gzip\t;\tq=0.4", Some(Brotli)),
            ("br;q=0, gzip", Some(Gzip)),
            ("br;q=0.000, gzip;q=0.001", Some(Gzip)),
            ("gzip;q=0", Some(Identity)),
            ("gzip;q=0, gzip", Some(Gzip)),
            // Identity ranks below listed codings, unless it has a weight of its own.
            ("gzip;q=0.001", Some(Gzip)),
            ("identity", Some(Identity)),
            ("identity, gzip;q=0.9", Some(Identity)),
            ("identity;q=0.5, gzip;q=0.9", Some(Gzip)),
            ("identity;q=0, gzip;q=0.1", Some(Gzip)),
            ("identity;q=0", None),
            ("identity;q=0, br;q=0", None),
            // Unlisted codings.
            ("*", Some(Brotli)),
            ("*;q=0.5, gzip", Some(Gzip)),
            ("*;q=0.5, gzip;q=0.3", Some(Brotli)),
            ("*;q=0.1, br;q=0", Some(Zstd)),
            ("*;q=0", None),
            ("*;q=0, identity", Some(Identity)),
            ("*;q=0, identity;q=0.001", Some(Identity)),
            ("*;q=0, gzip", Some(Gzip)),
            ("identity;q=0, *", Some(Brotli)),
            // Malformed elements are ignored.
            ("br;q=1.5, gzip", Some(Gzip)),
            ("br;q=, gzip", Some(Gzip)),
            ("br;q=-1, gzip;q=0.2", Some(Gzip)),
            ("br;level=11, gzip", Some(Gzip)),
            ("br;q=1;q=1, gzip", Some(Gzip)),
            ("br;, gzip", Some(Gzip)),
            ("b r, gzip", Some(Gzip)),
            ("\"br\", gzip", Some(Gzip)),
            ("identity;q=0.0000, *;q=x", Some(Identity)),
        ] {
            check(&[value], ALL, expected);
        }
        check(&[], ALL, Some(Identity));
        check(&["gzip", "br"], ALL, Some(Brotli));
        check(&["gzip", "br;q=0.5"], ALL, Some(Gzip));
    }

    #[test]
    fn equal_weights_choose_the_shortest_content() {
        let browser = &["gzip, deflate, br, zstd"][..];
        check(
            browser,
            &[(Identity, 9), (Brotli, 300), (Zstd, 280), (Gzip, 290)],
            Some(Zstd),
        );
        check(
            browser,
            &[(Identity, 9), (Gzip, 280), (Zstd, 280)],
            Some(Zstd),
        );
        check(
            browser,
            &[(Identity, 9), (Brotli, 280), (Zstd, 280)],
            Some(Brotli),
        );
        check(browser, &[(Identity, 9)], Some(Identity));
        check(
            &["gzip, identity"],
            &[(Identity, 9), (Gzip, 29)],
            Some(Identity),
        );
        check(
            &["gzip, identity"],
            &[(Identity, 29), (Gzip, 29)],
            Some(Gzip),
        );
        check(&[], &[(Gzip, 1), (Zstd, 2)], Some(Gzip));
        check(browser, &[], None);
        check(&["zstd"], &[(Gzip, 1)], None);
        // Of two equal offers, the first.
        assert_eq!(
            choose_coding(&accept_encoding(browser), &[(Gzip, 1), (Gzip, 1)]),
            Some(0)
        );
    }

    #[test]
    fn weights_of_listed_and_unlisted_codings() {
        for (lines, expected) in [
            (&[][..], [1000, 1000, 1000, 1000]),
            (&[""], [1, 0, 0, 0]),
            (&["gzip, br;q=0.5"], [1, 1000, 0, 500]),
            (&["*;q=0.2, identity;q=0.1"], [100, 200, 200, 200]),
            (&["*;q=0"], [0, 0, 0, 0]),
        ] {
            assert_eq!(
                Coding::ALL.map(|coding| accept_encoding(lines).weight(coding)),
                expected,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn each_offered_coding_has_a_reason() {
        use CodingReason::*;
        for (lines, expected) in [
            (
                &[][..],
                [Chosen, NoAcceptEncoding, NoAcceptEncoding, NoAcceptEncoding],
            ),
            (&["gzip, br"], [LessPreferred, Longer, Unlisted, Chosen]),
            (
                &["gzip, br;q=0.5, zstd;q=0"],
                [LessPreferred, Chosen, Refused, LessPreferred],
            ),
            (&["*;q=0, gzip"], [Refused, Chosen, Refused, Refused]),
            (
                &["identity;q=0, deflate"],
                [Refused, Unlisted, Unlisted, Unlisted],
            ),
        ] {
            assert_eq!(
                coding_reasons(&accept_encoding(lines), ALL),
                expected,
                "{lines:?}"
            );
        }
        let tied = coding_reasons(&accept_encoding(&["gzip, br"]), &[(Gzip, 1), (Brotli, 1)]);
        assert_eq!(tied, [Tied, Chosen]);
    }
}
