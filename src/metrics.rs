//! How a server is doing, as Prometheus reads it.

mod process;

use std::fmt::{Display, Write as _};
use std::sync::Arc;
use std::time::SystemTime;

use self::process::Process;
use crate::auth::Verifier;
use crate::count::Count;
use crate::http::{Lookup, Origin, Recall, Representation, Status, Target, Unstreamed};
use crate::http1::{self, Awaited, Verb};
use crate::journal::Writer;
use crate::net;
use crate::proxy;
use crate::site::Compressor;

/// The path under which it is told.
pub const PATH: &str = "/metrics";

/// Prometheus' text format (prometheus.io, "Exposition formats").
const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What one worker counts, by itself.
#[derive(Clone, Debug, Default)]
pub struct Worker {
    /// Its connections.
    pub net: Arc<net::Counters>,
    /// Who does not get to a conversation.
    pub proxy: Arc<proxy::Counters>,
    /// Its answers.
    pub http1: Arc<http1::Counters>,
    /// Bytes that it remembers.
    pub cache: Arc<Count>,
}

/// All that there is to be told of a server: an origin with one resource, which is made anew for each who asks.
#[derive(Debug)]
pub struct Metrics {
    process: Process,
    workers: Vec<Worker>,
    /// What works beside the loops.
    pub compressor: Option<Compressor>,
    /// The same.
    pub verifier: Option<Verifier>,
    /// What writes the access log.
    pub log: Option<Writer>,
}

impl Metrics {
    /// Of a server with so many workers, which has just been started.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            process: Process::this(),
            workers: (0..workers).map(|_| Worker::default()).collect(),
            compressor: None,
            verifier: None,
            log: None,
        }
    }

    /// What this worker, counted from 0, is to count with.
    #[must_use]
    pub fn of(&self, worker: usize) -> Worker {
        self.workers.get(worker).cloned().unwrap_or_default()
    }

    /// What all workers have counted, together.
    fn sum(&self, count: impl Fn(&Worker) -> u64) -> u64 {
        self.workers.iter().map(count).sum()
    }

    fn text(&self) -> String {
        let mut text = Text::default();
        let version = env!("CARGO_PKG_VERSION");
        let help = "The version that is running.";
        text.family("docroot_build_info", Kind::Gauge, help);
        text.sample("", &[("version", version)], 1);
        let help = "Loops that serve, each on a thread of its own.";
        text.one("docroot_workers", Kind::Gauge, help, self.workers.len());
        self.answers(&mut text);
        self.connections(&mut text);
        self.memory(&mut text);
        self.beside(&mut text);
        self.process(&mut text);
        text.0
    }

    fn answers(&self, text: &mut Text) {
        let help = "Requests that were answered, by method and status code.";
        text.family("docroot_http_requests_total", Kind::Counter, help);
        for verb in Verb::ALL {
            for status in Status::ALL {
                let count = self.sum(|worker| worker.http1.answers(verb, status));
                // What is asked for most is there from the beginning, so that its rate is known.
                if count > 0 || (verb, status) == (Verb::Get, Status::Ok) {
                    let labels = [("method", verb.name()), ("code", status.code())];
                    text.sample("", &labels, count);
                }
            }
        }
        text.one(
            "docroot_http_content_sent_bytes_total",
            Kind::Counter,
            "Bytes of content that were sent, as they leave, without heads and framing.",
            self.sum(|worker| worker.http1.content()),
        );
        let help = "From the beginning of the turn of the loop that saw a request's first byte to the end of the one that sent its answer's last.";
        let name = "docroot_http_request_duration_seconds";
        text.family(name, Kind::Histogram, help);
        let counters = http1::Counters::default();
        let mut total = 0;
        for (place, (bound, _)) in counters.durations().enumerate() {
            let count = |worker: &Worker| worker.http1.durations().nth(place);
            total += self.sum(|worker| count(worker).map_or(0, |(_, count)| count));
            text.sample("_bucket", &[("le", bound)], total);
        }
        let durations = self.workers.iter().map(|worker| worker.http1.duration());
        let duration: f64 = durations.map(|duration| duration.as_secs_f64()).sum();
        text.sample("_sum", &[], duration);
        text.sample("_count", &[], total);
    }

    fn connections(&self, text: &mut Text) {
        let closed = self.sum(|worker| worker.net.closed.get());
        // Read in this order, it is never less.
        let accepted = self.sum(|worker| worker.net.accepted.get());
        text.one(
            "docroot_connections_accepted_total",
            Kind::Counter,
            "Connections that were accepted.",
            accepted,
        );
        text.one(
            "docroot_connections_open",
            Kind::Gauge,
            "Connections that are open now.",
            accepted.saturating_sub(closed),
        );
        text.one(
            "docroot_connections_displaced_total",
            Kind::Counter,
            "Connections that were hung up on, while they waited, to make room for others.",
            self.sum(|worker| worker.net.displaced.get()),
        );
        text.one(
            "docroot_connections_turned_away_total",
            Kind::Counter,
            "Connections that were closed at once, as their address had enough.",
            self.sum(|worker| worker.net.turned_away.get()),
        );
        text.one(
            "docroot_accept_rests_total",
            Kind::Counter,
            "How often a listener had to rest, as there was no room for one more connection.",
            self.sum(|worker| worker.net.rests.get()),
        );
        let name = "docroot_connections_refused_total";
        let help = "Connections that were hung up on, by what their peer should have begun with.";
        text.family(name, Kind::Counter, help);
        let refused = self.sum(|worker| worker.proxy.refused.get());
        text.sample("", &[("reason", "proxy_header")], refused);
        let help = "Connections that were given up, as their peer was too slow, by the option that says so.";
        text.family("docroot_connections_expired_total", Kind::Counter, help);
        for (awaited, waited, limit) in [
            (Awaited::Head, "head", "header_timeout"),
            (Awaited::Content, "content", "idle_timeout"),
            (Awaited::Request, "request", "idle_timeout"),
        ] {
            let labels = [("limit", limit), ("awaited", waited)];
            let count = self.sum(|worker| worker.http1.too_slow(awaited));
            text.sample("", &labels, count);
        }
        let labels = [("limit", "header_timeout"), ("awaited", "proxy_header")];
        let count = self.sum(|worker| worker.proxy.too_slow.get());
        text.sample("", &labels, count);
        let labels = [("limit", "min_rate"), ("awaited", "reading")];
        let count = self.sum(|worker| worker.net.too_slow.get());
        text.sample("", &labels, count);
    }

    fn memory(&self, text: &mut Text) {
        let help = "Lookups, by how the memory answered: by itself, after a look whether it still is so, or not.";
        text.family("docroot_cache_lookups_total", Kind::Counter, help);
        for recall in Recall::ALL {
            let count = self.sum(|worker| worker.http1.lookups(recall));
            text.sample("", &[("outcome", recall.name())], count);
        }
        text.one(
            "docroot_cache_bytes",
            Kind::Gauge,
            "Bytes that are remembered, with what it takes to remember them.",
            self.sum(|worker| worker.cache.get()),
        );
    }

    /// What is done beside the loops.
    fn beside(&self, text: &mut Text) {
        if let Some(compressor) = &self.compressor {
            text.one(
                "docroot_compressor_queue_length",
                Kind::Gauge,
                "Files that wait to be compressed.",
                compressor.waiting(),
            );
        }
        if let Some(verifier) = &self.verifier {
            text.one(
                "docroot_password_queue_length",
                Kind::Gauge,
                "Credentials that wait to be verified.",
                verifier.waiting(),
            );
        }
        if let Some(log) = &self.log {
            let (written, lost) = log.counts();
            let help = "Lines of the access log that were written.";
            text.one(
                "docroot_log_lines_written_total",
                Kind::Counter,
                help,
                written,
            );
            let help = "Lines of the access log that were lost.";
            text.one("docroot_log_lines_lost_total", Kind::Counter, help, lost);
        }
    }

    fn process(&self, text: &mut Text) {
        let process = &self.process;
        text.one(
            "process_start_time_seconds",
            Kind::Gauge,
            "When it was started, in seconds since 1970.",
            process.started(),
        );
        if let Some(seconds) = process.cpu() {
            let help = "CPU time that was used, by user and system.";
            text.one("process_cpu_seconds_total", Kind::Counter, help, seconds);
        }
        if let Some(bytes) = process.resident() {
            let help = "Memory that is resident.";
            text.one("process_resident_memory_bytes", Kind::Gauge, help, bytes);
        }
        if let Some(count) = process.descriptors() {
            let help = "Descriptors that are open.";
            text.one("process_open_fds", Kind::Gauge, help, count);
        }
    }
}

impl Origin for Metrics {
    type Stream = Unstreamed;

    fn find(&mut self, target: &Target<'_>, _: SystemTime) -> Lookup {
        if *target.path() != *b"metrics" || target.is_directory() {
            return Lookup::Absent(None);
        }
        let content = self.text().into_bytes().into();
        let page = Representation::new(content, TYPE).telling("Cache-Control", "no-store");
        Lookup::Found(Arc::new(page.into()))
    }
}

/// What a number is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// It only grows.
    Counter,
    Gauge,
    Histogram,
}

/// The text, and of which family the next sample is.
#[derive(Debug, Default)]
struct Text(String, &'static str);

// Writing to a String does not fail.
impl Text {
    fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        self.1 = name;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One number of the family, with labels whose values need no escapes.
    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let Self(text, name) = self;
        let _ = write!(text, "{name}{suffix}");
        for (place, (label, value)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            let _ = write!(text, "{before}{label}=\"{value}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(text, "{end} {value}");
    }

    /// A family of one number.
    fn one(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample("", &[], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_added_up() {
        let metrics = Metrics::new(2);
        for worker in 0..2 {
            let worker = metrics.of(worker);
            worker.net.accepted.add(3);
            worker.net.closed.add(1);
            worker.cache.set(100);
        }
        let text = metrics.text();
        for line in [
            "docroot_connections_accepted_total 6",
            "docroot_connections_open 4",
            "docroot_cache_bytes 200",
            "docroot_workers 2",
            "docroot_http_requests_total{method=\"GET\",code=\"200\"} 0",
            "docroot_http_request_duration_seconds_bucket{le=\"+Inf\"} 0",
        ] {
            assert!(text.contains(&format!("\n{line}\n")), "no {line} in {text}");
        }
    }

    #[test]
    fn there_is_one_resource() {
        let mut metrics = Metrics::new(1);
        let mut is_there = |target: &str| {
            let target = Target::parse(target, None).unwrap();
            matches!(
                metrics.find(&target, SystemTime::UNIX_EPOCH),
                Lookup::Found(_)
            )
        };
        assert!(is_there(PATH) && is_there("/metrics?a"));
        assert!(!is_there("/") && !is_there("/metrics/") && !is_there("/metrics/a"));
    }
}
