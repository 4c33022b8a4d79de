//! Local time for a terminal.

use std::fmt;
use std::sync::OnceLock;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{self, FormatTime};

static ZONE: OnceLock<TimeZone> = OnceLock::new();

/// Reads the time zone of this machine, or of `TZ`. The sandbox lets nothing read it later.
pub(crate) fn load() {
    let _ = ZONE.get_or_init(TimeZone::system);
}

/// Returns the seconds that local time is ahead of UTC at a time.
pub(crate) fn offset(time: SystemTime) -> i64 {
    let timestamp = Timestamp::try_from(time).unwrap_or_default();
    let zone = ZONE.get_or_init(TimeZone::system);
    zone.to_offset(timestamp).seconds().into()
}

/// The time in front of a diagnostic: `16:24:44` for a person at a terminal, else UTC in RFC 3339.
pub(crate) struct Clock {
    pub(crate) is_local: bool,
}

impl FormatTime for Clock {
    fn format_time(&self, into: &mut Writer<'_>) -> fmt::Result {
        if !self.is_local {
            return time::SystemTime.format_time(into);
        }
        let zone = ZONE.get_or_init(TimeZone::system);
        let now = Timestamp::now().to_zoned(zone.clone());
        write!(into, "{}", now.strftime("%H:%M:%S"))
    }
}
