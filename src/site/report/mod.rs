//! Reports about a site: the trace of a lookup, and the survey of all files.

pub(crate) mod logged_once;
pub(crate) mod root_fault;
pub(crate) mod survey;
pub(crate) mod trace;

pub use logged_once::LoggedOnce;
pub use root_fault::RootFault;
pub use survey::{SurveyCounts, SurveyFinding};
pub use trace::{ChosenFile, ProbeResult, ResponseRole, Trace, TraceEvent};
