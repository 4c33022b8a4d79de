//! Reports about a site: the trace of a lookup, and the survey of all files.

pub(crate) mod survey;
pub(crate) mod trace;

pub use survey::{SurveyCounts, SurveyFinding};
pub use trace::{
    ChosenFile, HiddenReason, ProbeResult, ResponseRole, Trace, TraceEvent, TracedFieldChange,
};
