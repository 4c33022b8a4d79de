//! HTTP dates (RFC 9110 section 5.6.7), by the `httpdate` crate.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use httpdate::HttpDate;

/// End of the years that an IMF-fixdate can write with four digits: 10000-01-01.
const END_OF_9999: Duration = Duration::from_secs(253_402_300_800);

/// Formats `time` as an IMF-fixdate (`Sun, 06 Nov 1994 08:49:37 GMT`), rounded down to the second; `None` before 1970
/// and after 9999.
#[must_use]
pub fn http_date(time: SystemTime) -> Option<HttpDate> {
    let since_epoch = time.duration_since(UNIX_EPOCH).ok()?;
    (since_epoch < END_OF_9999).then(|| HttpDate::from(time))
}

/// Parses an HTTP date in any of its three formats: IMF-fixdate, and the obsolete formats of RFC 850 and asctime(3).
/// `None` for anything else, including a date that does not exist or has the wrong day of the week. That day also
/// distinguishes the centuries of RFC 850's two-digit years.
#[must_use]
pub(super) fn parse(text: &[u8]) -> Option<SystemTime> {
    let date: HttpDate = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(date.into())
}

/// Whole seconds from the Unix epoch to this time; 0 before it.
pub(super) fn unix_second(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// A UTC time to the second, displayed as in RFC 3339: `1994-11-06T08:49:37Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    year: i64,
    month: i64,
    day: i64,
    second: i64,
}

impl Timestamp {
    /// Rounds `time` down to the second; `None` if its year does not have four digits.
    #[must_use]
    pub fn at(time: SystemTime) -> Option<Self> {
        let seconds = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs()).ok()?,
            Err(error) => {
                let before = error.duration();
                let partial = i64::from(before.subsec_nanos() > 0);
                -i64::try_from(before.as_secs()).ok()?.checked_add(partial)?
            }
        };
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days: years
        // that begin in March put the leap day last.
        let days = days + 719_468;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year + i64::from(month <= 2);
        (0..=9999).contains(&year).then_some(Self {
            year,
            month,
            day,
            second,
        })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            year, month, day, ..
        } = self;
        let (hour, minute, second) = (self.second / 3600, self.second / 60 % 60, self.second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

/// The current date, formatted once a second.
#[derive(Clone, Debug, Default)]
pub struct CachedDate {
    /// Time of the last call, mostly in the same turn of the loop.
    time: Option<SystemTime>,
    second: Option<u64>,
    text: String,
}

impl CachedDate {
    /// Formats `now` as an IMF-fixdate. A clock before 1970 or after 9999 is wrong, and gives 1970.
    pub fn render(&mut self, now: SystemTime) -> &str {
        if self.time == Some(now) {
            return &self.text;
        }
        self.time = Some(now);
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            let date = http_date(now).unwrap_or_else(|| HttpDate::from(UNIX_EPOCH));
            self.text = date.to_string();
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seconds: i64, expected: Option<&str>) {
        let step = Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 {
            UNIX_EPOCH - step
        } else {
            UNIX_EPOCH + step
        };
        assert_eq!(
            http_date(time).map(|date| date.to_string()).as_deref(),
            expected,
            "{seconds}"
        );
    }

    #[test]
    fn imf_fixdate_covers_1970_to_9999() {
        check(784_111_777, Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        check(0, Some("Thu, 01 Jan 1970 00:00:00 GMT"));
        check(253_402_300_799, Some("Fri, 31 Dec 9999 23:59:59 GMT"));
        check(253_402_300_800, None);
        check(-1, None);
    }

    #[test]
    fn timestamp_is_rfc_3339_in_utc() {
        let check = |seconds: i64, expected: Option<&str>| {
            let step = Duration::from_secs(seconds.unsigned_abs());
            let time = match seconds {
                0.. => UNIX_EPOCH + step + Duration::from_millis(999),
                _ => UNIX_EPOCH - step + Duration::from_millis(1),
            };
            let found = Timestamp::at(time).map(|timestamp| timestamp.to_string());
            assert_eq!(found.as_deref(), expected, "{seconds}");
        };
        check(0, Some("1970-01-01T00:00:00Z"));
        check(-1, Some("1969-12-31T23:59:59Z"));
        check(-62_167_219_200, Some("0000-01-01T00:00:00Z"));
        check(-62_167_219_201, None);
        check(951_782_399, Some("2000-02-28T23:59:59Z"));
        check(951_782_400, Some("2000-02-29T00:00:00Z"));
        check(951_868_800, Some("2000-03-01T00:00:00Z"));
        check(1_795_236_561, Some("2026-11-21T04:49:21Z"));
        check(4_107_542_399, Some("2100-02-28T23:59:59Z"));
        check(4_107_542_400, Some("2100-03-01T00:00:00Z"));
        check(253_402_300_799, Some("9999-12-31T23:59:59Z"));
        check(253_402_300_800, None);
    }

    #[test]
    fn all_three_http_date_formats_are_parsed() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(parse(text.as_bytes()).map(unix_second), expected, "{text}");
        };
        let rfc_example = Some(784_111_777);
        check("Sun, 06 Nov 1994 08:49:37 GMT", rfc_example);
        check("Sunday, 06-Nov-94 08:49:37 GMT", rfc_example);
        check("Sun Nov  6 08:49:37 1994", rfc_example);
        check("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        check("Fri, 31 Dec 9999 23:59:59 GMT", Some(253_402_300_799));
        check("Saturday, 01-Jan-00 00:00:00 GMT", Some(946_684_800));
        for bad in [
            "",
            "yesterday",
            "784111777",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:49:60 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "sun, 06 nov 1994 08:49:37 gmt",
            "Wednesday, 01-Jan-70 00:00:00 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn cached_date_changes_with_the_second() {
        let mut text = CachedDate::default();
        let at = |millis| UNIX_EPOCH + Duration::from_millis(millis);
        assert_eq!(text.render(at(1000)), "Thu, 01 Jan 1970 00:00:01 GMT");
        assert_eq!(text.render(at(1999)), "Thu, 01 Jan 1970 00:00:01 GMT");
        assert_eq!(text.render(at(2000)), "Thu, 01 Jan 1970 00:00:02 GMT");
        assert_eq!(
            text.render(UNIX_EPOCH - END_OF_9999),
            "Thu, 01 Jan 1970 00:00:00 GMT"
        );
    }
}
