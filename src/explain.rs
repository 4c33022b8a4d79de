//! `docroot explain`: the response that a request would get, and why.
//!
//! The request goes through the same HTTP/1.1 session as any other, but without a socket. The printed head is the one
//! that the session queued. The site records its probes and decisions in a trace, and all reasons are read from that
//! trace: nothing is decided here.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::io;
use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use docroot::auth::Verifier;
use docroot::http::{
    AcceptEncoding, Coding, CodingReason, Fields, Lookup, LookupStatus, Origin, Request, Resource,
    Response, StreamKind, StreamProgress, Target, coding_reasons, is_navigation, respond, validate,
};
use docroot::http1::Http1;
use docroot::http1::parse::{self, FieldLines, Parsed};
use docroot::net::{Inbox, Io, Next, Now, Outbox, Peer, Protocol as _};
use docroot::service::Service;
use docroot::site::{
    ChosenFile, HiddenReason, LoadedPolicy, MediaTypeSource, ProbeResult, RedirectMatch,
    RedirectTarget, ResponseRole, Site, SiteStream, Symlink, Trace, TraceEvent, TracedFieldChange,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::config::{Config, ExplainRequest};
use crate::text::{escape_control, escape_json};

/// Returns the explanation of a response, as text or JSON: its outcome, the reasons for it, and its head.
///
/// # Errors
/// The system has no descriptor or no thread for verifying passwords.
pub(crate) fn explain(
    config: &Config,
    site: Site,
    policy: &LoadedPolicy,
    trace: &Trace,
    explain_request: &ExplainRequest,
) -> io::Result<String> {
    let request = request_head(explain_request);
    let recorded = RecordedLookup::default();
    let reason = Rc::new(Cell::new(None));
    let origin = RecordingOrigin {
        site,
        recorded: recorded.clone(),
        reason: reason.clone(),
    };
    let output = run_session(config, origin, &request)?;
    let recorded = recorded.borrow_mut().take();
    let rules_files = RulesFileNames {
        headers: policy.headers.as_deref().map(file_name),
        redirects: policy.redirects.as_deref().map(file_name),
    };

    let mut lines = FieldLines::new();
    let parsed = parse::request(&request, config.server.http1.max_head_bytes, &mut lines);
    let request = match &parsed {
        Ok(Parsed::Complete { request, .. }) => Some(request),
        _ => None,
    };
    let explainer = Explainer {
        request,
        lookup: recorded.as_ref(),
        reason: reason.get(),
        events: trace.events(),
        rules_files,
    };
    let explanation = explainer.explain(&output);
    Ok(match explain_request.json {
        true => explanation.to_json(explain_request),
        false => explanation.to_text(explain_request),
    })
}

/// Result of the last lookup; `None` before the first one.
type RecordedLookup = Rc<RefCell<Option<Lookup>>>;

/// Site whose lookups are recorded.
struct RecordingOrigin {
    site: Site,
    recorded: RecordedLookup,
    /// Reason for which the site found nothing, as in the access log.
    reason: Rc<Cell<Option<&'static str>>>,
}

impl Origin for RecordingOrigin {
    type Stream = SiteStream;

    fn find(&mut self, target: &Target<'_>, now: SystemTime) -> Lookup {
        let lookup = self.site.find(target, now);
        *self.recorded.borrow_mut() = Some(lookup.clone());
        lookup
    }

    fn lookup_status(&self) -> Option<LookupStatus> {
        let status = self.site.lookup_status()?;
        self.reason.set(status.reason);
        Some(status)
    }

    fn find_encoded(
        &mut self,
        target: &Target<'_>,
        found: &Lookup,
        coding: Coding,
        now: SystemTime,
    ) -> Option<Lookup> {
        let lookup = self.site.find_encoded(target, found, coding, now)?;
        *self.recorded.borrow_mut() = Some(lookup.clone());
        Some(lookup)
    }

    fn generated_fields(&self, target: Option<&Target<'_>>) -> Cow<'_, Fields> {
        self.site.generated_fields(target)
    }

    fn mark_stale(&mut self, is_notified: bool) {
        self.site.mark_stale(is_notified);
    }

    fn open_stream(&mut self, target: &Target<'_>, kind: StreamKind) -> Result<SiteStream, Lookup> {
        let stream = self.site.open_stream(target, kind);
        if let Err(instead) = &stream {
            *self.recorded.borrow_mut() = Some(instead.clone());
        }
        stream
    }

    fn read_stream(
        &mut self,
        stream: &mut SiteStream,
        into: &mut Vec<u8>,
        now: Instant,
    ) -> StreamProgress {
        self.site.read_stream(stream, into, now)
    }
}

/// Returns the request head, as a client on this machine would send it.
fn request_head(explain_request: &ExplainRequest) -> Vec<u8> {
    let ExplainRequest {
        method,
        target,
        fields,
        ..
    } = explain_request;
    let is_host = |field: &String| {
        let name = field.split(':').next().unwrap_or_default();
        name.eq_ignore_ascii_case("Host")
    };
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    if !fields.iter().any(is_host) {
        head.push_str("Host: localhost\r\n");
    }
    for field in fields {
        head.push_str(field);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// Passes the request to a session, and returns the bytes that it queues in memory: the response head, and the content
/// unless it is in a file.
fn run_session(config: &Config, origin: RecordingOrigin, request: &[u8]) -> io::Result<String> {
    let mut service = Service::new(origin, config.server.service.clone(), None);
    let verifier = config.server.users.clone();
    let verifier = verifier.map(|users| Verifier::new(users, NonZeroUsize::MIN));
    let verifier = verifier.transpose()?;
    let mut waker = None;
    if let Some(verifier) = &verifier {
        let auth = verifier.handle()?;
        waker = Some(auth.waker()?);
        service = service.with_auth(auth);
    }
    let mut http = Http1::new(service, config.server.http1.clone());
    let peer = Peer {
        address: (Ipv4Addr::LOCALHOST, 0).into(),
    };
    let mut session = http.on_accept(&peer);
    let (mut inbox, mut outbox, mut deadline) = (Inbox::default(), Outbox::default(), None);
    inbox.receive(request);
    http.on_turn_start(true);
    loop {
        let now = Now {
            instant: Instant::now(),
            wall: SystemTime::now(),
        };
        let mut io = Io {
            inbox: &mut inbox,
            outbox: &mut outbox,
            deadline: &mut deadline,
            now,
        };
        match (http.on_ready(&mut session, &mut io), &waker) {
            (Next::AwaitWake, Some(waker)) => wait_for_verdict(waker)?,
            _ => break,
        }
    }
    Ok(String::from_utf8_lossy(&outbox.take()).into_owned())
}

/// Waits until the credentials are verified, but at most a second.
fn wait_for_verdict(waker: &OwnedFd) -> io::Result<()> {
    let second = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(waker, PollFlags::IN)], Some(&second))?;
    // Reading resets the waker, which is an eventfd.
    let _ = rustix::io::read(waker, &mut [0; 8]);
    Ok(())
}

/// Names of the rules files, as they are printed.
struct RulesFileNames {
    headers: Option<String>,
    redirects: Option<String>,
}

/// Records from which the reasons are read.
struct Explainer<'a> {
    /// Request; `None` if the bytes are not a valid one.
    request: Option<&'a Request<'a>>,
    /// Result of the lookup; `None` if nothing was looked up.
    lookup: Option<&'a Lookup>,
    /// Reason for which the site found nothing; `None` if there simply is no such file.
    reason: Option<&'static str>,
    events: Vec<TraceEvent>,
    rules_files: RulesFileNames,
}

/// Response, and everything that is printed about it.
struct Explanation {
    /// Status line and field lines.
    head: Vec<String>,
    /// Kind of response, as one word.
    outcome: &'static str,
    file: Option<ChosenFile>,
    /// Reasons for the outcome, as sentences.
    reasons: Vec<String>,
    /// Probed paths, and the results.
    probes: Vec<(String, String)>,
    media_type: Option<ExplainedValue>,
    codings: Vec<CodingOffer>,
    cache_control: Option<ExplainedValue>,
    rules: Vec<AppliedRule>,
}

/// Value of a field, and the reason for it.
struct ExplainedValue {
    value: String,
    reason: String,
}

/// Content coding, and whether the content is available in it.
struct CodingOffer {
    coding: Coding,
    /// Length in bytes of the encoded content; `None` if it is not available.
    len: Option<u64>,
    is_chosen: bool,
    reason: String,
}

/// Rule that changed a field.
struct AppliedRule {
    field: String,
    /// New value; `None` if the field is removed.
    value: Option<String>,
    /// Source of the rule: file and lines, or the command line.
    source: String,
}

impl Explainer<'_> {
    fn explain(&self, output: &str) -> Explanation {
        let (head, content) = output.split_once("\r\n\r\n").unwrap_or((output, ""));
        let head: Vec<String> = head.split("\r\n").map(str::to_owned).collect();
        let target = self.request.and_then(|request| validate(request).ok());
        let response = match (self.request, &target, self.lookup) {
            (Some(request), Some(target), Some(lookup)) => Some(respond(request, target, lookup)),
            _ => None,
        };
        let role = self.role(response.as_ref());
        let file = self.chosen_file(role).cloned();
        let rules = self.applied_rules(role);
        let mut why = self.reasons(response.as_ref(), file.as_ref());
        let is_absent = matches!(
            self.lookup,
            Some(Lookup::NotFound(_) | Lookup::SpaFallback(..))
        );
        if role == ResponseRole::Generated
            && !is_absent
            && let Some(reason) = page_message(content)
        {
            why.push(reason);
        }
        Explanation {
            outcome: self.outcome(response.as_ref()),
            media_type: media_type_reason(
                &head,
                file.as_ref().filter(|_| role != ResponseRole::Generated),
                &rules,
            ),
            codings: self.coding_offers(response.as_ref()),
            cache_control: cache_reason(&head, file.as_ref(), role, &rules),
            probes: self.probes(),
            head,
            file,
            reasons: why,
            rules,
        }
    }

    /// Returns the role of the response, which decides which rules apply to it.
    fn role(&self, response: Option<&Response>) -> ResponseRole {
        match (self.lookup, response) {
            (_, None) => ResponseRole::Generated,
            (_, Some(response)) if !response.has_origin_fields => ResponseRole::Generated,
            (Some(Lookup::SpaFallback(..)), _) if self.request.is_some_and(is_navigation) => {
                ResponseRole::SpaFallback
            }
            (Some(Lookup::SpaFallback(..) | Lookup::NotFound(_)), _) => ResponseRole::NotFound,
            _ => ResponseRole::File,
        }
    }

    /// Returns the file that the response is about. The page of a 404 may be a file that a rule names. For a generated
    /// response, such as 304 or 412, it is the file that was found.
    fn chosen_file(&self, role: ResponseRole) -> Option<&ChosenFile> {
        let chosen_files = || {
            self.events.iter().rev().filter_map(|event| match event {
                TraceEvent::Chosen(chosen) => Some(chosen),
                _ => None,
            })
        };
        let last_with = |role| chosen_files().find(|chosen| chosen.role == role);
        match role {
            ResponseRole::NotFound => {
                last_with(ResponseRole::NotFound).or_else(|| last_with(ResponseRole::File))
            }
            ResponseRole::Generated => match self.lookup {
                Some(Lookup::Found(_)) => last_with(ResponseRole::File),
                _ => None,
            },
            role => last_with(role),
        }
    }

    fn outcome(&self, response: Option<&Response>) -> &'static str {
        match (self.lookup, response) {
            (None, _) | (_, None) => "refused",
            (Some(Lookup::Found(_)), _) => "file",
            (Some(Lookup::Directory), _) => "folder",
            (Some(Lookup::Listing(_)), _) => "listing",
            (Some(Lookup::Events), _) => "events",
            (Some(Lookup::NotFound(_)), _) => "absent",
            (Some(Lookup::SpaFallback(..)), _) => match self.request.is_some_and(is_navigation) {
                true => "shell",
                false => "absent",
            },
            (Some(Lookup::Redirect(..)), _) => "redirect",
            (Some(Lookup::Forbidden), _) => "forbidden",
            (Some(Lookup::Unavailable), _) => "unavailable",
        }
    }

    /// Returns the reasons, in the order of the decisions.
    fn reasons(&self, response: Option<&Response>, file: Option<&ChosenFile>) -> Vec<String> {
        let mut why: Vec<String> = Vec::new();
        for event in &self.events {
            match event {
                TraceEvent::OutsidePrefix => {
                    why.push("the path does not begin with --path-prefix".into());
                }
                TraceEvent::Hidden(path, HiddenReason::Dotfile) => why.push(format!(
                    "/{} is not served: a name in it begins with a dot; --hidden serves such files",
                    escape_control(path)
                )),
                TraceEvent::Hidden(path, HiddenReason::RulesFile) => why.push(format!(
                    "/{} is not served: it holds path rules",
                    escape_control(path)
                )),
                TraceEvent::Redirect(rule, applies) => {
                    why.push(self.describe_redirect(rule, *applies));
                }
                TraceEvent::Probed(_, ProbeResult::OutsideRoot(Some(link))) => {
                    let link_text = describe_symlink(link);
                    why.push(format!(
                        "the symbolic link {link_text} leads outside the root (see --symlinks and --symlink-root)"
                    ));
                }
                TraceEvent::SpaRoute(Err(reason)) => {
                    why.push(format!("the SPA fallback page is not sent: {reason}"));
                }
                TraceEvent::SpaRoute(Ok(())) => {
                    why.push(match self.request.is_some_and(is_navigation) {
                        true => "nothing is at this path, and the request is a navigation, so the SPA fallback page is \
                             sent"
                        .into(),
                        false => {
                            "the SPA fallback page is not sent: the request is not a navigation (Accept has no \
                              text/html)"
                                .into()
                        }
                    });
                }
                _ => {}
            }
        }
        why.extend(self.outcome_reason(response, file));
        why
    }

    /// Returns the reason that follows from the result of the lookup and the status.
    fn outcome_reason(
        &self,
        response: Option<&Response>,
        file: Option<&ChosenFile>,
    ) -> Option<String> {
        let lookup = self.lookup?;
        let status = response.map_or("", |response| response.status.code());
        Some(match (lookup, status) {
            (Lookup::Found(_), "304") => {
                "the client's copy is current: If-None-Match or If-Modified-Since says so".into()
            }
            (Lookup::Found(_), "206") => "the request has a Range".into(),
            (Lookup::Found(_), _) => {
                let target = self.request.and_then(|request| validate(request).ok())?;
                let path = target.path();
                let file = file?;
                let is_page = file.path.ends_with(b".html") && !path.ends_with(b".html");
                match target.is_directory() {
                    _ if *file.path == *path => return None,
                    // (If the names differ because of a rule, that reason is already in the list.)
                    true => format!(
                        "/{} is the directory's index file",
                        escape_control(&file.path)
                    ),
                    false if is_page => {
                        format!(
                            "/{} is served for this path (clean URLs)",
                            escape_control(&file.path)
                        )
                    }
                    false => return None,
                }
            }
            (Lookup::Directory, _) => {
                "it is a directory: redirected to the path with a slash".into()
            }
            (Lookup::Events, _) => "this is the event stream of --live-reload".into(),
            (Lookup::Listing(_), _) => "the directory has no index file, so it is listed".into(),
            (Lookup::NotFound(_) | Lookup::SpaFallback(..), "404") => {
                let page = file.map(|file| format!("/{} is sent", escape_control(&file.path)));
                let reasons = [self.absence(), page].into_iter().flatten();
                reasons.reduce(|reason, page| format!("{reason}; {page}"))?
            }
            _ => return None,
        })
    }

    /// Returns the reason for which nothing was found, unless an event has it already.
    fn absence(&self) -> Option<String> {
        let has_reason = |event: &TraceEvent| {
            matches!(event, TraceEvent::OutsidePrefix | TraceEvent::Hidden(..))
        };
        if self.events.iter().any(has_reason) {
            return None;
        }
        Some(match self.reason {
            Some(reason) => {
                let reason = reason.trim_end_matches('.');
                let mut chars = reason.chars();
                let first = chars.next().map(|first| first.to_ascii_lowercase());
                first.into_iter().chain(chars).collect()
            }
            None => "nothing is served at this path".to_owned(),
        })
    }

    fn describe_redirect(&self, rule: &RedirectMatch, applies: bool) -> String {
        let file = self
            .rules_files
            .redirects
            .as_deref()
            .unwrap_or("_redirects");
        let to = match &rule.target {
            RedirectTarget::Location(to) | RedirectTarget::Rewrite(to) => {
                escape_control(to.as_bytes())
            }
        };
        let RedirectMatch { line, status, .. } = rule;
        let to = format!("{} {to}", status.code());
        match (applies, rule.is_forced) {
            (true, true) => format!("{file}:{line} applies: {to}, even where a file exists"),
            (true, false) => format!("{file}:{line} applies: {to}"),
            (false, _) => {
                format!("{file}:{line} does not apply ({to}): a file exists at this path")
            }
        }
    }

    fn probes(&self) -> Vec<(String, String)> {
        let probes = self.events.iter().filter_map(|event| match event {
            TraceEvent::Probed(path, probe) => {
                let probe = match probe {
                    ProbeResult::File => "a file".to_owned(),
                    ProbeResult::Directory => "a directory".to_owned(),
                    ProbeResult::Special => "neither a file nor a directory".to_owned(),
                    ProbeResult::Missing => "nothing".to_owned(),
                    ProbeResult::OutsideRoot(Some(link)) => {
                        format!("behind the symbolic link {}", describe_symlink(link))
                    }
                    ProbeResult::OutsideRoot(None) => {
                        "behind a symbolic link that led outside the root".to_owned()
                    }
                    ProbeResult::Failed(why) => escape_control(why.as_bytes()),
                };
                Some((format!("/{}", escape_control(path)), probe))
            }
            _ => None,
        });
        probes.collect()
    }

    /// Returns the rules that changed fields of a response in this role.
    fn applied_rules(&self, role: ResponseRole) -> Vec<AppliedRule> {
        let changed = self.events.iter().rev().find_map(|event| match event {
            TraceEvent::FieldChanges(changed_role, changed) if *changed_role == role => {
                Some(changed)
            }
            _ => None,
        });
        let rule = |changed: &TracedFieldChange| {
            let numbers: Vec<String> = changed.lines.iter().map(usize::to_string).collect();
            let file = self.rules_files.headers.as_deref().unwrap_or("_headers");
            AppliedRule {
                field: changed.name.clone(),
                value: changed.value.clone(),
                source: match numbers.is_empty() {
                    true => "the command line".into(),
                    false => format!("{file}:{}", numbers.join(", ")),
                },
            }
        };
        changed.into_iter().flatten().map(rule).collect()
    }

    /// Returns the content codings of the resource, and for each the reason why it is sent or not.
    fn coding_offers(&self, response: Option<&Response>) -> Vec<CodingOffer> {
        let (Some(request), Some(response)) = (self.request, response) else {
            return Vec::new();
        };
        let Some(resource) = self.sent_resource(response) else {
            return Vec::new();
        };
        let offered: Vec<(Coding, u64)> = resource
            .representations
            .iter()
            .map(|each| (each.coding, each.content.len()))
            .collect();
        let offer_reasons = coding_reasons(&AcceptEncoding::from_request(request), &offered);
        let sent = response.representation.as_ref();
        let mut codings: Vec<CodingOffer> = Vec::new();
        for (each, reason) in resource.representations.iter().zip(offer_reasons) {
            let is_chosen = sent.is_some_and(|sent| Arc::ptr_eq(sent, each));
            codings.push(CodingOffer {
                coding: each.coding,
                len: Some(each.content.len()),
                is_chosen,
                reason: match (is_chosen, reason) {
                    _ if offered.len() == 1 => "the only coding".into(),
                    (false, CodingReason::Chosen) => {
                        "preferred, but a validator of the request names another".into()
                    }
                    (true, reason) if reason != CodingReason::Chosen => {
                        "a validator of the request names it, or no other is acceptable".into()
                    }
                    (_, reason) => reason.to_string(),
                },
            });
        }
        if let Some(coding) = response.wanted_coding {
            codings.push(CodingOffer {
                coding,
                len: None,
                is_chosen: false,
                reason: "compressed in the background for later responses, if that saves enough (--compress)".into(),
            });
        }
        for event in &self.events {
            if let TraceEvent::Sidecar(path, coding, Err(why)) = event
                && resource
                    .representations
                    .iter()
                    .all(|it| it.coding != *coding)
            {
                codings.push(CodingOffer {
                    coding: *coding,
                    len: None,
                    is_chosen: false,
                    reason: format!("/{} is not used: {why}", escape_control(path)),
                });
            }
        }
        codings
    }

    /// Returns the resource of the representation that is sent.
    fn sent_resource(&self, response: &Response) -> Option<&Resource> {
        let sent = response.representation.as_ref()?;
        let is_sent = |resource: &&Arc<Resource>| {
            let mut representations = resource.representations.iter();
            representations.any(|each| Arc::ptr_eq(each, sent))
        };
        let resources: [Option<&Arc<Resource>>; 2] = match self.lookup? {
            Lookup::Found(found) => [Some(found), None],
            Lookup::NotFound(page) => [page.as_ref(), None],
            Lookup::SpaFallback(fallback, page) => [Some(fallback), page.as_ref()],
            _ => [None, None],
        };
        resources
            .into_iter()
            .flatten()
            .find(is_sent)
            .map(|resource| &**resource)
    }
}

/// Returns the value of a field in a head.
fn field_value<'a>(head: &'a [String], name: &str) -> Option<&'a str> {
    head.iter().find_map(|line| {
        let (other, value) = line.split_once(": ")?;
        other.eq_ignore_ascii_case(name).then_some(value)
    })
}

fn rule_for_field<'a>(rules: &'a [AppliedRule], field: &str) -> Option<&'a AppliedRule> {
    let mut rules = rules.iter().rev();
    rules.find(|rule| rule.field.eq_ignore_ascii_case(field))
}

fn media_type_reason(
    head: &[String],
    file: Option<&ChosenFile>,
    rules: &[AppliedRule],
) -> Option<ExplainedValue> {
    let output = field_value(head, "Content-Type");
    let Some(file) = file else {
        let value = output?.to_owned();
        let why = "a page of docroot's own".into();
        return Some(ExplainedValue { value, reason: why });
    };
    let why = match (
        rule_for_field(rules, "Content-Type"),
        file.media_type.source,
    ) {
        (Some(rule), _) => format!("by {}", rule.source),
        (None, MediaTypeSource::Configured) => "by --mime-types".into(),
        (None, MediaTypeSource::Corrected | MediaTypeSource::Known) => "by its extension".into(),
        (None, MediaTypeSource::Unknown) => "the extension is unknown, or missing".into(),
    };
    let value = output.unwrap_or(&file.media_type.value).to_owned();
    Some(ExplainedValue { value, reason: why })
}

fn cache_reason(
    head: &[String],
    file: Option<&ChosenFile>,
    role: ResponseRole,
    rules: &[AppliedRule],
) -> Option<ExplainedValue> {
    let value = field_value(head, "Cache-Control")?.to_owned();
    let is_stored = matches!(role, ResponseRole::File | ResponseRole::SpaFallback);
    let why = match (rule_for_field(rules, "Cache-Control"), file) {
        (Some(rule), _) if is_stored => format!("by {}", rule.source),
        (None, Some(file)) if is_stored => {
            let rule = file.cache_control.as_ref();
            rule.map_or_else(String::new, |rule| rule.reason.to_string())
        }
        _ => "responses other than files are not stored".into(),
    };
    Some(ExplainedValue { value, reason: why })
}

/// Returns the sentence on a generated page.
fn page_message(content: &str) -> Option<String> {
    let (_, rest) = content.split_once("<p>")?;
    let (text, _) = rest.split_once("</p>")?;
    match text.contains('<') {
        // A link, as in a redirect, which is in the fields as well.
        true => None,
        false => Some(text.to_owned()),
    }
}

/// Returns a symbolic link and its target as text.
fn describe_symlink(link: &Symlink) -> String {
    let display = |path: &Path| escape_control(path.as_os_str().as_encoded_bytes());
    format!("/{} -> {}", display(&link.path), display(&link.target))
}

/// Returns the name of a file without its directory.
fn file_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or(file.as_os_str());
    escape_control(name.as_encoded_bytes())
}

impl Explanation {
    fn status(&self) -> &str {
        let line = self.head.first().map_or("", String::as_str);
        line.split_once(' ').map_or(line, |(_, status)| status)
    }

    /// Returns the explanation as lines: the facts, then the response head.
    fn to_text(&self, explain_request: &ExplainRequest) -> String {
        let mut text = format!("{} {}\n", explain_request.method, explain_request.target);
        let mut add_line = |name: &str, output: &str| {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{name:<8} {output}");
        };
        add_line("status", self.status());
        if let Some(file) = &self.file {
            add_line(
                "file",
                &format!("/{}, {} bytes", escape_control(&file.path), file.len),
            );
            for link in &file.symlinks {
                add_line("link", &describe_symlink(link));
            }
        }
        for why in &self.reasons {
            add_line("why", why);
        }
        for (path, probe) in &self.probes {
            add_line("looked", &format!("{path}: {probe}"));
        }
        if let Some(ExplainedValue { value, reason: why }) = &self.media_type {
            add_line("type", &format!("{value} ({why})"));
        }
        for offer in &self.codings {
            let (coding, why) = (offer.coding, &offer.reason);
            let sent = if offer.is_chosen { "sent; " } else { "" };
            add_line(
                "coding",
                &match offer.len {
                    Some(len) => format!("{coding}, {len} bytes: {sent}{why}"),
                    None => format!("{coding}: {why}"),
                },
            );
        }
        if let Some(ExplainedValue { value, reason: why }) = &self.cache_control {
            add_line("cache", &format!("{value} ({why})"));
        }
        for rule in &self.rules {
            let value = rule.value.as_deref().unwrap_or("removed");
            let output = format!("{}: {value} ({})", rule.field, rule.source);
            add_line("rule", &escape_control(output.as_bytes()));
        }
        text.push('\n');
        for line in &self.head {
            let _ = writeln!(text, "{}", escape_control(line.as_bytes()));
        }
        text
    }

    /// Returns the explanation as one line of JSON.
    fn to_json(&self, explain_request: &ExplainRequest) -> String {
        let status = self.status();
        let code = status.get(..3).unwrap_or("0");
        let file = match &self.file {
            None => "null".to_owned(),
            Some(file) => {
                let links = file.symlinks.iter().map(|link| {
                    let path = json_string(&format!("/{}", link.path.to_string_lossy()));
                    let target = json_string(&link.target.to_string_lossy());
                    format!("{{\"path\":{path},\"target\":{target}}}")
                });
                format!(
                    "{{\"path\":{},\"bytes\":{},\"links\":{}}}",
                    json_string(&format!("/{}", String::from_utf8_lossy(&file.path))),
                    file.len,
                    json_array(links)
                )
            }
        };
        let probes = self.probes.iter().map(|(path, probe)| {
            let (path, probe) = (json_string(path), json_string(probe));
            format!("{{\"path\":{path},\"found\":{probe}}}")
        });
        let codings = self.codings.iter().map(|offer| {
            format!(
                "{{\"coding\":{},\"bytes\":{},\"sent\":{},\"why\":{}}}",
                json_string(offer.coding.name()),
                offer.len.map_or("null".to_owned(), |len| len.to_string()),
                offer.is_chosen,
                json_string(&offer.reason)
            )
        });
        let rules = self.rules.iter().map(|rule| {
            format!(
                "{{\"field\":{},\"value\":{},\"from\":{}}}",
                json_string(&rule.field),
                rule.value.as_deref().map_or("null".to_owned(), json_string),
                json_string(&rule.source)
            )
        });
        let reason = |reason: &Option<ExplainedValue>| match reason {
            None => "null".to_owned(),
            Some(ExplainedValue { value, reason: why }) => {
                format!(
                    "{{\"value\":{},\"why\":{}}}",
                    json_string(value),
                    json_string(why)
                )
            }
        };
        format!(
            "{{\"method\":{},\"target\":{},\"status\":{code},\"outcome\":\"{}\",\"file\":{file},\"why\":{},\
             \"looked\":{},\"type\":{},\"codings\":{},\"cache\":{},\"rules\":{},\"head\":{}}}\n",
            json_string(&explain_request.method),
            json_string(&explain_request.target),
            self.outcome,
            json_array(self.reasons.iter().map(|why| json_string(why))),
            json_array(probes),
            reason(&self.media_type),
            json_array(codings),
            reason(&self.cache_control),
            json_array(rules),
            json_array(self.head.iter().map(|line| json_string(line))),
        )
    }
}

fn json_string(text: &str) -> String {
    format!("\"{}\"", escape_json(text))
}

fn json_array(elements: impl Iterator<Item = String>) -> String {
    format!("[{}]", elements.collect::<Vec<_>>().join(","))
}
