//! Prometheus' text format (prometheus.io, "Exposition formats").

use std::fmt::{Display, Write as _};

/// Type of a metric.
#[derive(Clone, Copy, Debug)]
pub(super) enum MetricType {
    /// A number that never decreases.
    Counter,
    Gauge,
    Histogram,
}

/// Text written so far, and the name of the current metric family.
#[derive(Debug, Default)]
pub(super) struct MetricsText(pub(super) String, &'static str);

// Writing to a String does not fail.
impl MetricsText {
    pub(super) fn family(&mut self, name: &'static str, kind: MetricType, help: &str) {
        self.1 = name;
        let kind = match kind {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
        };
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// Writes one sample of the family, with labels whose values need no escapes.
    pub(super) fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let Self(text, name) = self;
        let _ = write!(text, "{name}{suffix}");
        for (index, (label, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(text, "{before}{label}=\"{value}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(text, "{end} {value}");
    }

    /// Writes a family with a single sample.
    pub(super) fn single(
        &mut self,
        name: &'static str,
        kind: MetricType,
        help: &str,
        value: impl Display,
    ) {
        self.family(name, kind, help);
        self.sample("", &[], value);
    }
}
