//! `Live`: an origin around a `Site`, whose HTML pages reload when a file changes.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::reload::{EventStream, LiveReload};
use crate::blob::Blob;
use crate::http::{
    CacheStatus, Coding, Fields, Finding, Lookup, Origin, Resource, Response, Status, StreamKind,
    StreamProgress, Target,
};
use crate::path::last_segment;
use crate::site::listing::stream::Listing;
use crate::site::names::media::is_html;
use crate::site::place::{Place, rules_path};
use crate::site::report::trace::{ResponseRole, TraceEvent};
use crate::site::represent::inject::PageScript;
use crate::site::represent::resource::represent;
use crate::site::represent::validators::validators_of_generated;
use crate::site::rules::policy::PathPolicy;
use crate::site::site::Site;

/// Paths of the event stream and of the script, below the root, in a directory name that no site uses.
const EVENTS_PATH: &[u8] = b".docroot/live";
const SCRIPT_PATH: &[u8] = b".docroot/live.js";

/// Script that reloads a page after a change.
const SCRIPT_CONTENT: &[u8] = include_bytes!("script.js");

/// Origin that adds live reload to a site: a script in each HTML page, and the paths of the script and of its event
/// stream. Without live reload, it is the site.
#[derive(Debug)]
pub struct Live {
    site: Site,
    live: Option<LiveReload>,
}

/// Content that [`Live`] generates while it is being sent.
#[derive(Debug)]
pub enum LiveStream {
    /// Server-sent events of live reload.
    Events(EventStream),
    /// Stream of the site.
    Listing(Listing),
}

impl Live {
    /// Adds live reload to a site, if it is on.
    #[must_use]
    pub fn new(site: Site, live: Option<LiveReload>) -> Self {
        let site = site.with_page_script(live.as_ref().map(LiveReload::script_url));
        Self { site, live }
    }

    /// Returns the script as a resource.
    fn script(&self, rules_path: &[u8]) -> Lookup {
        let mut fields = self.policy(rules_path).file_fields(SCRIPT_PATH);
        fields.remove("Cache-Control");
        let fields = fields.with("Cache-Control", "no-cache");
        let content = Blob::Static(SCRIPT_CONTENT);
        let validators = Some(validators_of_generated(SCRIPT_CONTENT));
        let script = represent(content, Coding::Identity, &fields, validators, false);
        Lookup::Found(Arc::new(script.into()))
    }

    /// Generates a not-found page with the script, for a site without a page of its own. It also reloads when a page
    /// appears at the requested path.
    fn generated_error_page(&self, target: &Target<'_>) -> Option<Arc<Resource>> {
        let path = target.path();
        let name = last_segment(&path);
        let is_page = || is_html(&self.site.policy().media_types.media_type(name).value);
        if name.contains(&b'.') && !is_page() {
            return None;
        }
        let rules_path = rules_path(target);
        let policy = self.policy(&rules_path);
        let page = Response::html_page(Status::NotFound, "There is nothing under this address.");
        let page = page.representation?;
        let fields = policy.error_fields(page.media_type());
        let script = PageScript::new(self.site.options(), self.site.shared())?;
        let html = script.inject(page.content.in_memory()?, &fields, &path)?;
        let page = represent(html.into(), Coding::Identity, &fields, None, false);
        Some(Arc::new(page.into()))
    }

    /// Returns the policy for content that is generated at a path.
    fn policy<'p>(&'p self, rules_path: &'p [u8]) -> PathPolicy<'p> {
        let policy = self.site.policy().at(Some(rules_path));
        self.site
            .shared()
            .record(|| TraceEvent::FieldChanges(ResponseRole::Generated, policy.traced_changes()));
        policy
    }
}

impl Origin for Live {
    type Stream = LiveStream;

    fn find(&mut self, target: &Target<'_>, now: SystemTime) -> Finding {
        if self.live.is_none() {
            return self.site.find(target, now);
        }
        let place = Place::new(target, &self.site.options().prefix);
        let lookup = match place.path().filter(|_| !place.is_directory()) {
            Some(EVENTS_PATH) => Lookup::Events,
            Some(SCRIPT_PATH) => self.script(place.rules_path()),
            _ => {
                let mut finding = self.site.find(target, now);
                if let Lookup::NotFound(page @ None) | Lookup::SpaFallback(_, page @ None) =
                    &mut finding.lookup
                {
                    *page = self.generated_error_page(target);
                }
                return finding;
            }
        };
        Finding {
            cache_status: Some(CacheStatus::Miss),
            ..lookup.into()
        }
    }

    fn find_encoded(
        &mut self,
        target: &Target<'_>,
        found: &Finding,
        coding: Coding,
        now: SystemTime,
    ) -> Option<Lookup> {
        self.site.find_encoded(target, found, coding, now)
    }

    fn generated_fields(&self, target: Option<&Target<'_>>) -> Cow<'_, Fields> {
        self.site.generated_fields(target)
    }

    fn mark_stale(&mut self, is_notified: bool) {
        self.site.mark_stale(is_notified);
    }

    fn next_timer(&self) -> Option<SystemTime> {
        self.site.next_timer()
    }

    fn on_timer(&mut self, now: SystemTime) {
        self.site.on_timer(now);
    }

    fn open_stream(
        &mut self,
        target: &Target<'_>,
        kind: StreamKind,
    ) -> Result<Self::Stream, Lookup> {
        match (kind, &self.live) {
            (StreamKind::Events, Some(live)) => Ok(LiveStream::Events(live.event_stream())),
            _ => self.site.open_stream(target, kind).map(LiveStream::Listing),
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
            LiveStream::Listing(listing) => self.site.read_stream(listing, into, now),
        }
    }
}
