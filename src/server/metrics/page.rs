//! Metrics page in Prometheus' text format, as an origin with one resource.

use std::sync::Arc;
use std::time::SystemTime;

use super::process::ProcessStats;
use super::text::{MetricType, MetricsText};
use crate::auth::Verifier;
use crate::http::{CacheStatus, Finding, Lookup, NoStream, Origin, Representation, Status, Target};
use crate::log::WriterHandle;
use crate::net;
use crate::proxy;
use crate::service::{MethodLabel, RequestCounters, TimeoutKind};
use crate::site::Compressor;
use crate::sync::Counter;

/// Path of the metrics page.
pub const METRICS_PATH: &str = "/metrics";

/// Media type of Prometheus' text format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Counters of one worker.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct WorkerCounters {
    /// Connections.
    pub(in crate::server) net: Arc<net::ConnectionCounters>,
    /// Connections closed because of their PROXY header.
    pub(in crate::server) proxy: Arc<proxy::ProxyCounters>,
    /// Requests and responses.
    pub(in crate::server) requests: Arc<RequestCounters>,
    /// Bytes of its cache.
    pub(in crate::server) cache_bytes: Arc<Counter>,
}

/// Metrics of a server: an origin with one resource, which is rendered for each request.
#[derive(Debug)]
pub(in crate::server) struct Metrics {
    process: ProcessStats,
    workers: Vec<WorkerCounters>,
    /// Compressor, whose queue length is a metric.
    pub(in crate::server) compressor: Option<Compressor>,
    /// Password verifier, whose queue length is a metric.
    pub(in crate::server) verifier: Option<Verifier>,
    /// Writer of the access log, whose counts of lines are metrics.
    pub(in crate::server) log: Option<WriterHandle>,
}

impl Metrics {
    /// Creates the metrics of a server with this number of workers, at its start.
    pub(in crate::server) fn new(workers: usize) -> Self {
        Self {
            process: ProcessStats::open(),
            workers: (0..workers).map(|_| WorkerCounters::default()).collect(),
            compressor: None,
            verifier: None,
            log: None,
        }
    }

    /// Returns the counters of this worker. Workers are numbered from 0.
    pub(in crate::server) fn worker_counters(&self, worker: usize) -> WorkerCounters {
        self.workers.get(worker).cloned().unwrap_or_default()
    }

    /// Returns the sum of a counter over all workers.
    fn sum(&self, count: impl Fn(&WorkerCounters) -> u64) -> u64 {
        self.workers.iter().map(count).sum()
    }

    fn render(&self) -> String {
        let mut text = MetricsText::default();
        let version = env!("CARGO_PKG_VERSION");
        let help = "Version of the running docroot.";
        text.family("docroot_build_info", MetricType::Gauge, help);
        text.sample("", &[("version", version)], 1);
        let help = "Worker threads.";
        text.single(
            "docroot_workers",
            MetricType::Gauge,
            help,
            self.workers.len(),
        );
        self.write_requests(&mut text);
        self.write_connections(&mut text);
        self.write_cache(&mut text);
        self.write_background_threads(&mut text);
        self.write_process(&mut text);
        text.0
    }

    fn write_requests(&self, text: &mut MetricsText) {
        let help = "Requests answered, by method and status code.";
        text.family("docroot_http_requests_total", MetricType::Counter, help);
        for verb in MethodLabel::ALL {
            for status in Status::ALL {
                let count = self.sum(|worker| worker.requests.responses(verb, status));
                // The most frequent series exists from the start, so that Prometheus can compute its rate.
                if count > 0 || (verb, status) == (MethodLabel::Get, Status::Ok) {
                    let labels = [("method", verb.name()), ("code", status.code())];
                    text.sample("", &labels, count);
                }
            }
        }
        text.single(
            "docroot_http_content_sent_bytes_total",
            MetricType::Counter,
            "Bytes of content sent, without heads and framing.",
            self.sum(|worker| worker.requests.content_bytes()),
        );
        let help = "Time from the event loop's turn that read a request's first byte to the end of the turn that sent the last byte of its response.";
        let name = "docroot_http_request_duration_seconds";
        text.family(name, MetricType::Histogram, help);
        let counters = RequestCounters::default();
        let mut total = 0;
        for (index, (bound, _)) in counters.durations().enumerate() {
            let count = |worker: &WorkerCounters| worker.requests.durations().nth(index);
            total += self.sum(|worker| count(worker).map_or(0, |(_, count)| count));
            text.sample("_bucket", &[("le", bound)], total);
        }
        let durations = self
            .workers
            .iter()
            .map(|worker| worker.requests.total_duration());
        let duration: f64 = durations.map(|duration| duration.as_secs_f64()).sum();
        text.sample("_sum", &[], duration);
        text.sample("_count", &[], total);
    }

    fn write_connections(&self, text: &mut MetricsText) {
        let closed = self.sum(|worker| worker.net.closed.get());
        // Read after `closed`, so that it is never less.
        let accepted = self.sum(|worker| worker.net.accepted.get());
        text.single(
            "docroot_connections_accepted_total",
            MetricType::Counter,
            "Connections accepted.",
            accepted,
        );
        text.single(
            "docroot_connections_open",
            MetricType::Gauge,
            "Connections open now.",
            accepted.saturating_sub(closed),
        );
        text.single(
            "docroot_connections_displaced_total",
            MetricType::Counter,
            "Idle connections evicted for new ones.",
            self.sum(|worker| worker.net.evicted.get()),
        );
        text.single(
            "docroot_connections_turned_away_total",
            MetricType::Counter,
            "Connections refused by --max-connections-per-ip.",
            self.sum(|worker| worker.net.over_ip_limit.get()),
        );
        text.single(
            "docroot_accept_rests_total",
            MetricType::Counter,
            "Times that a listener stopped accepting because all connections or descriptors were in use.",
            self.sum(|worker| worker.net.accept_pauses.get()),
        );
        let name = "docroot_connections_refused_total";
        let help = "Connections closed at their start, by reason.";
        text.family(name, MetricType::Counter, help);
        let refused = self.sum(|worker| worker.proxy.invalid_headers.get());
        text.sample("", &[("reason", "proxy_header")], refused);
        let help = "Connections closed because the client was too slow, by option.";
        text.family(
            "docroot_connections_expired_total",
            MetricType::Counter,
            help,
        );
        for (awaited, waited, limit) in [
            (TimeoutKind::Head, "head", "header_timeout"),
            (TimeoutKind::Content, "content", "idle_timeout"),
            (TimeoutKind::Request, "request", "idle_timeout"),
        ] {
            let labels = [("limit", limit), ("awaited", waited)];
            let count = self.sum(|worker| worker.requests.timeouts(awaited));
            text.sample("", &labels, count);
        }
        let labels = [("limit", "header_timeout"), ("awaited", "proxy_header")];
        let count = self.sum(|worker| worker.proxy.header_timeouts.get());
        text.sample("", &labels, count);
        let labels = [("limit", "min_rate"), ("awaited", "reading")];
        let count = self.sum(|worker| worker.net.below_min_rate.get());
        text.sample("", &labels, count);
    }

    fn write_cache(&self, text: &mut MetricsText) {
        let help = "Lookups, by cache status: hit, hit after revalidation, or miss.";
        text.family("docroot_cache_lookups_total", MetricType::Counter, help);
        for recall in CacheStatus::ALL {
            let count = self.sum(|worker| worker.requests.lookups(recall));
            text.sample("", &[("outcome", recall.name())], count);
        }
        text.single(
            "docroot_cache_bytes",
            MetricType::Gauge,
            "Bytes in the cache, with its overhead.",
            self.sum(|worker| worker.cache_bytes.get()),
        );
    }

    /// Writes the metrics of background threads.
    fn write_background_threads(&self, text: &mut MetricsText) {
        if let Some(compressor) = &self.compressor {
            text.single(
                "docroot_compressor_queue_length",
                MetricType::Gauge,
                "Files waiting to be compressed.",
                compressor.queue_len(),
            );
        }
        if let Some(verifier) = &self.verifier {
            text.single(
                "docroot_password_queue_length",
                MetricType::Gauge,
                "Credentials waiting to be verified.",
                verifier.queue_len(),
            );
        }
        if let Some(log) = &self.log {
            let (written, lost) = log.counts();
            let help = "Access log lines written.";
            text.single(
                "docroot_log_lines_written_total",
                MetricType::Counter,
                help,
                written,
            );
            let help = "Access log lines lost.";
            text.single(
                "docroot_log_lines_lost_total",
                MetricType::Counter,
                help,
                lost,
            );
        }
    }

    fn write_process(&self, text: &mut MetricsText) {
        let process = &self.process;
        text.single(
            "process_start_time_seconds",
            MetricType::Gauge,
            "Start time of the process, in seconds since 1970.",
            process.start_seconds(),
        );
        if let Some(seconds) = process.cpu_seconds() {
            let help = "CPU time used, user and system, in seconds.";
            text.single(
                "process_cpu_seconds_total",
                MetricType::Counter,
                help,
                seconds,
            );
        }
        if let Some(bytes) = process.resident_bytes() {
            let help = "Resident memory, in bytes.";
            text.single(
                "process_resident_memory_bytes",
                MetricType::Gauge,
                help,
                bytes,
            );
        }
        if let Some(count) = process.open_descriptors() {
            let help = "Open file descriptors.";
            text.single("process_open_fds", MetricType::Gauge, help, count);
        }
    }
}

impl Origin for Metrics {
    type Stream = NoStream;

    fn find(&mut self, target: &Target<'_>, _: SystemTime) -> Finding {
        if *target.path() != *b"metrics" || target.is_directory() {
            return Lookup::NotFound(None).into();
        }
        let content = self.render().into_bytes().into();
        let page = Representation::new(content, CONTENT_TYPE)
            .with_metadata_field("Cache-Control", "no-store");
        Lookup::Found(Arc::new(page.into())).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_counters_are_summed() {
        let metrics = Metrics::new(2);
        for worker in 0..2 {
            let worker = metrics.worker_counters(worker);
            worker.net.accepted.add(3);
            worker.net.closed.add(1);
            worker.cache_bytes.set(100);
        }
        let text = metrics.render();
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
    fn metrics_path_is_the_only_resource() {
        let mut metrics = Metrics::new(1);
        let mut is_there = |target: &str| {
            let target = Target::parse(target, None).unwrap();
            matches!(
                metrics.find(&target, SystemTime::UNIX_EPOCH).lookup,
                Lookup::Found(_)
            )
        };
        assert!(is_there(METRICS_PATH) && is_there("/metrics?a"));
        assert!(!is_there("/") && !is_there("/metrics/") && !is_there("/metrics/a"));
    }
}
