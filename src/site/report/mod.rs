//! Reports about lookups: their trace, the reasons for which they find nothing, and messages that are logged once.

pub(crate) mod absence;
pub(crate) mod logged_once;
pub(crate) mod trace;

pub use absence::Absence;
pub use logged_once::LoggedOnce;
pub use trace::{ChosenFile, ProbeResult, ResponseRole, Trace, TraceEvent};
