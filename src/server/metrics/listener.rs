//! Listener of the metrics page: a thread of its own, which serves as long as the workers run.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use tracing::error;

use super::page::{METRICS_PATH, Metrics};
use crate::http1::{self, Http1};
use crate::net::{Limits, Listener, Reactor};
use crate::server::start_error::StartError;
use crate::service::{Service, ServiceOptions};

/// Maximum connections of the metrics listener.
const MAX_METRICS_CONNECTIONS: usize = 32;

/// Listener of the metrics page, ready to serve.
#[derive(Debug)]
pub(in crate::server) struct MetricsListener(Reactor<Http1<Metrics>>);

impl MetricsListener {
    /// Creates the reactor of the metrics page, with few connections and a short grace period.
    pub(in crate::server) fn new(
        listener: Listener,
        metrics: Metrics,
        limits: &Limits,
    ) -> Result<Self, StartError> {
        let service = Service::new(metrics, ServiceOptions::default(), None);
        let protocol = Http1::new(service, http1::HttpOptions::default());
        let limits = Limits {
            connections: MAX_METRICS_CONNECTIONS,
            grace: Duration::from_secs(1),
            ..limits.clone()
        };
        let reactor = Reactor::new(protocol, limits).map_err(StartError::System)?;
        let reactor = reactor.listen(listener).map_err(StartError::System)?;
        Ok(Self(reactor))
    }

    pub(in crate::server) fn address(&self) -> Option<SocketAddr> {
        self.0.addresses().next()?.tcp()
    }

    /// Serves the metrics until `work` has returned: until the last worker has ended, also during the shutdown.
    pub(in crate::server) fn serve_during(
        self,
        work: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let Self(mut reactor) = self;
        let handle = reactor.handle();
        let serve = move || {
            if let Err(error) = reactor.run() {
                error!("{METRICS_PATH} is not served any more: {error}");
            }
        };
        let thread = thread::Builder::new().name("metrics".into()).spawn(serve)?;
        let worked = work();
        handle.stop();
        // A panic of this thread is reported on standard error, and does not change the result.
        let _ = thread.join();
        worked
    }
}
