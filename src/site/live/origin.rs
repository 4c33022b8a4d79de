//! `Live`: an origin around another one, whose HTML pages reload when a file changes.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tracing::warn;

use super::reload::{EventStream, LiveReload};
use crate::blob::Blob;
use crate::files::read::content_bytes;
use crate::http::{
    CacheStatus, Coding, Fields, Finding, Lookup, Origin, Representation, Resource, Response,
    Status, StreamKind, StreamProgress, Target,
};
use crate::path::last_segment;
use crate::site::names::media::{MediaTypes, is_html};
use crate::site::place::Place;
use crate::site::represent::resource::{represent, with_validators};
use crate::site::represent::validators::validators_of_generated;

/// Paths of the event stream and of the script, below the root, in a directory name that no site uses.
const EVENTS_PATH: &[u8] = b".docroot/live";
const SCRIPT_PATH: &[u8] = b".docroot/live.js";

/// Script that reloads a page after a change.
const SCRIPT_CONTENT: &[u8] = include_bytes!("script.js");
const SCRIPT_TYPE: &str = "text/javascript; charset=utf-8";

/// Field lines that describe certain content, and so do not fit other content.
const CONTENT_DEPENDENT_FIELDS: [&str; 4] =
    ["ETag", "Last-Modified", "Accept-Ranges", "Content-Length"];

/// Origin that adds live reload to another one: a script in each HTML page, and the paths of the script and of its
/// event stream. Without live reload, it is that origin.
#[derive(Debug)]
pub struct Live<O> {
    origin: O,
    live: Option<LiveReload>,
}

/// Content that [`Live`] generates while it is being sent.
#[derive(Debug)]
pub enum LiveStream<S> {
    /// Server-sent events of live reload.
    Events(EventStream),
    /// Stream of the origin inside.
    Inner(S),
}

impl<O: Origin> Live<O> {
    /// Adds live reload to an origin, if it is on.
    pub fn new(origin: O, live: Option<LiveReload>) -> Self {
        Self { origin, live }
    }

    /// Looks a target up with live reload on.
    fn find_live(&mut self, live: &LiveReload, target: &Target<'_>, now: SystemTime) -> Finding {
        let place = Place::new(target, live.prefix());
        let lookup = match place.path().filter(|_| !place.is_directory()) {
            Some(EVENTS_PATH) => Lookup::Events,
            Some(SCRIPT_PATH) => self.script(target),
            _ => {
                let mut finding = self.origin.find(target, now);
                finding.lookup = self.with_script(live, target, finding.lookup);
                return finding;
            }
        };
        Finding {
            cache_status: Some(CacheStatus::Miss),
            ..lookup.into()
        }
    }

    /// Returns the script as a resource.
    fn script(&self, target: &Target<'_>) -> Lookup {
        let fields = self.fields(target, SCRIPT_TYPE, "no-cache");
        let script = represent(Blob::Static(SCRIPT_CONTENT), Coding::Identity, &fields);
        let validators = validators_of_generated(SCRIPT_CONTENT);
        Lookup::Found(Arc::new(
            with_validators(script, Some(validators), false).into(),
        ))
    }

    /// Injects the script into the pages of a lookup.
    fn with_script(&self, live: &LiveReload, target: &Target<'_>, lookup: Lookup) -> Lookup {
        let error_page = |page: Option<Arc<Resource>>| match page {
            Some(page) => Some(inject(live, page, false)),
            None => self.generated_error_page(live, target),
        };
        match lookup {
            Lookup::Found(page) => Lookup::Found(inject(live, page, true)),
            Lookup::NotFound(page) => Lookup::NotFound(error_page(page)),
            Lookup::SpaFallback(fallback, page) => {
                Lookup::SpaFallback(inject(live, fallback, true), error_page(page))
            }
            other => other,
        }
    }

    /// Generates a not-found page with the script, for a site without a page of its own. It also reloads when a page
    /// appears at the requested path.
    fn generated_error_page(
        &self,
        live: &LiveReload,
        target: &Target<'_>,
    ) -> Option<Arc<Resource>> {
        let path = target.path();
        let name = last_segment(&path);
        let is_page = || is_html(MediaTypes::default().media_type(name).value.as_ref());
        if name.contains(&b'.') && !is_page() {
            return None;
        }
        let page = Response::html_page(Status::NotFound, "There is nothing under this address.");
        let page = page.representation?;
        let fields = self.fields(target, page.media_type(), "no-store");
        let html = live.inject(page.content.in_memory()?, &fields, &path)?;
        let page = represent(html.into(), Coding::Identity, &fields);
        Some(Arc::new(with_validators(page, None, false).into()))
    }

    /// Returns the fields of a generated resource.
    fn fields(&self, target: &Target<'_>, media_type: &str, cache_control: &str) -> Fields {
        let fields = self.origin.generated_fields(Some(target)).into_owned();
        fields
            .with("Content-Type", media_type)
            .with("Cache-Control", cache_control)
    }
}

/// Returns an HTML page with the script injected, if the page allows it; otherwise the resource as it is.
/// `is_asked_for`: whether it is a representation of the target, and so has validators.
fn inject(live: &LiveReload, resource: Arc<Resource>, is_asked_for: bool) -> Arc<Resource> {
    let Some(page) = resource.representations.first() else {
        return resource;
    };
    if !is_html(page.media_type()) || !live.is_injectable(page.content.len(), &resource.name) {
        return resource;
    }
    let fields = fields_of_page(page, resource.varies);
    let html = match content_bytes(&page.content) {
        Ok(html) => live.inject(&html, &fields, &resource.name),
        Err(error) => {
            let name = resource.name.escape_ascii();
            warn!("cannot add live reload to /{name}: {error}");
            None
        }
    };
    let Some(html) = html else {
        return resource;
    };
    let validators = is_asked_for.then(|| validators_of_generated(&html));
    let page = represent(html.into(), Coding::Identity, &fields);
    Arc::new(with_validators(page, validators, false).into())
}

/// Returns the fields of a page without those that describe its content, and without the Vary line of a resource that
/// `varies` by Accept-Encoding: the injected page is sent in no coding.
fn fields_of_page(page: &Representation, varies: bool) -> Fields {
    let mut has_vary = varies;
    let mut fields = Fields::new();
    let lines = page.full_fields().split_terminator("\r\n");
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if has_vary && (name, value) == ("Vary", "Accept-Encoding") {
            has_vary = false;
        } else if !CONTENT_DEPENDENT_FIELDS.contains(&name) {
            fields.push(name, value);
        }
    }
    fields
}

impl<O: Origin> Origin for Live<O> {
    type Stream = LiveStream<O::Stream>;

    fn find(&mut self, target: &Target<'_>, now: SystemTime) -> Finding {
        match self.live.clone() {
            None => self.origin.find(target, now),
            Some(live) => self.find_live(&live, target, now),
        }
    }

    fn find_encoded(
        &mut self,
        target: &Target<'_>,
        found: &Finding,
        coding: Coding,
        now: SystemTime,
    ) -> Option<Lookup> {
        self.origin.find_encoded(target, found, coding, now)
    }

    fn generated_fields(&self, target: Option<&Target<'_>>) -> Cow<'_, Fields> {
        self.origin.generated_fields(target)
    }

    fn mark_stale(&mut self, is_notified: bool) {
        self.origin.mark_stale(is_notified);
    }

    fn next_timer(&self) -> Option<SystemTime> {
        self.origin.next_timer()
    }

    fn on_timer(&mut self, now: SystemTime) {
        self.origin.on_timer(now);
    }

    fn open_stream(
        &mut self,
        target: &Target<'_>,
        kind: StreamKind,
    ) -> Result<Self::Stream, Lookup> {
        match (kind, &self.live) {
            (StreamKind::Events, Some(live)) => Ok(LiveStream::Events(live.event_stream())),
            _ => self.origin.open_stream(target, kind).map(LiveStream::Inner),
        }
    }

    fn read_stream(
        &mut self,
        stream: &mut Self::Stream,
        into: &mut Vec<u8>,
        now: Instant,
    ) -> StreamProgress {
        match stream {
            LiveStream::Events(events) => StreamProgress::Wait(events.write_events(into, now)),
            LiveStream::Inner(stream) => self.origin.read_stream(stream, into, now),
        }
    }
}
