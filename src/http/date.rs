//! HTTP dates (RFC 9110 section 5.6.7), by the `httpdate` crate.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use httpdate::HttpDate;

/// The first second that an IMF-fixdate with its four-digit year cannot say: 10000-01-01.
const END: Duration = Duration::from_secs(253_402_300_800);

/// `time` as an IMF-fixdate (`Sun, 06 Nov 1994 08:49:37 GMT`), rounded down to the second; `None`
/// before 1970 and after 9999.
#[must_use]
pub fn date(time: SystemTime) -> Option<HttpDate> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    (since < END).then(|| HttpDate::from(time))
}

/// The current date, rendered once a second.
#[derive(Clone, Debug, Default)]
pub struct DateText {
    second: Option<u64>,
    text: String,
}

impl DateText {
    /// `now` as an IMF-fixdate. A clock before 1970 or after 9999 is wrong, and reads as 1970.
    pub fn at(&mut self, now: SystemTime) -> &str {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            let date = date(now).unwrap_or_else(|| HttpDate::from(UNIX_EPOCH));
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
            date(time).map(|date| date.to_string()).as_deref(),
            expected,
            "{seconds}"
        );
    }

    #[test]
    fn dates_that_have_a_form_and_dates_that_have_none() {
        check(784_111_777, Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        check(0, Some("Thu, 01 Jan 1970 00:00:00 GMT"));
        check(253_402_300_799, Some("Fri, 31 Dec 9999 23:59:59 GMT"));
        check(253_402_300_800, None);
        check(-1, None);
    }

    #[test]
    fn the_text_follows_the_second() {
        let mut text = DateText::default();
        let at = |millis| UNIX_EPOCH + Duration::from_millis(millis);
        assert_eq!(text.at(at(1000)), "Thu, 01 Jan 1970 00:00:01 GMT");
        assert_eq!(text.at(at(1999)), "Thu, 01 Jan 1970 00:00:01 GMT");
        assert_eq!(text.at(at(2000)), "Thu, 01 Jan 1970 00:00:02 GMT");
        assert_eq!(text.at(UNIX_EPOCH - END), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
