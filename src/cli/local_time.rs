//! Local time, for the log lines on a terminal.

use std::fmt;
use std::sync::OnceLock;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{self, FormatTime};

/// Time zone of this machine, once it is read.
static TIME_ZONE: OnceLock<TimeZone> = OnceLock::new();

/// Reads the time zone of this machine, or of `TZ`. Inside the sandbox its file cannot be read.
pub(crate) fn load_time_zone() {
    let _ = TIME_ZONE.get_or_init(TimeZone::system);
}

/// Returns the offset of local time from UTC at this time, in seconds; positive if it is ahead.
pub(crate) fn utc_offset(time: SystemTime) -> i64 {
    let timestamp = Timestamp::try_from(time).unwrap_or_default();
    let time_zone = TIME_ZONE.get_or_init(TimeZone::system);
    time_zone.to_offset(timestamp).seconds().into()
}

/// Time at the start of a diagnostic line: `16:24:44` in local time, or UTC as in RFC 3339.
pub(crate) struct DiagnosticTime {
    /// Whether the time is local, as on a terminal.
    pub(crate) is_local: bool,
}

impl FormatTime for DiagnosticTime {
    fn format_time(&self, into: &mut Writer<'_>) -> fmt::Result {
        if !self.is_local {
            return time::SystemTime.format_time(into);
        }
        let time_zone = TIME_ZONE.get_or_init(TimeZone::system);
        let now = Timestamp::now().to_zoned(time_zone.clone());
        write!(into, "{}", now.strftime("%H:%M:%S"))
    }
}
