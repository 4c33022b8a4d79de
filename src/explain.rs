//! `docroot explain`: the response that a request would get, and why.
//!
//! The request goes through the same session as every other, on no socket, and the printed head is the one that the
//! session queued. The site records what it probes and decides: the reasons are read from that record, and decided
//! nowhere else.

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
use docroot::site::{
    ChosenFile, HiddenReason, LoadedPolicy, MediaTypeSource, ProbeResult, RedirectMatch,
    RedirectTarget, ResponseRole, Site, SiteStream, Symlink, Trace, TraceEvent, TracedFieldChange,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::config::{Config, Question};
use crate::text::{json, shown};

/// The answer to a request, in words or as JSON: what it is, why it is that, and its head.
///
/// # Errors
/// When the system has no descriptor or no thread for what verifies passwords.
pub(crate) fn explain(
    config: &Config,
    site: Site,
    policy: &LoadedPolicy,
    trace: &Trace,
    question: &Question,
) -> io::Result<String> {
    let request = request_head(question);
    let found = RecordedLookup::default();
    let reason = Rc::new(Cell::new(None));
    let origin = RecordingOrigin {
        site,
        recorded: found.clone(),
        reason: reason.clone(),
    };
    let output = run_session(config, origin, &request)?;
    let found = found.borrow_mut().take();
    let sources = RulesFileNames {
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
        lookup: found.as_ref(),
        reason: reason.get(),
        events: trace.events(),
        rules_files: sources,
    };
    let explanation = explainer.explain(&output);
    Ok(match question.json {
        true => explanation.to_json(question),
        false => explanation.to_text(question),
    })
}

/// What was found for the request, once something was.
type RecordedLookup = Rc<RefCell<Option<Lookup>>>;

/// A site, and whoever sees what it finds.
struct RecordingOrigin {
    site: Site,
    recorded: RecordedLookup,
    /// Why the site found nothing, as the access log has it.
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

/// The request's head, as somebody on this machine would send it.
fn request_head(question: &Question) -> Vec<u8> {
    let Question {
        method,
        target,
        fields,
        ..
    } = question;
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

/// What a session says to this request: all that it queues in memory before anything has left.
fn run_session(config: &Config, origin: RecordingOrigin, request: &[u8]) -> io::Result<String> {
    let options = config.server.http1.clone();
    let mut http = Http1::new(origin, options, None);
    let verifier = config.server.users.clone();
    let verifier = verifier.map(|users| Verifier::new(users, NonZeroUsize::MIN));
    let verifier = verifier.transpose()?;
    let mut waker = None;
    if let Some(verifier) = &verifier {
        let auth = verifier.handle()?;
        waker = Some(auth.waker()?);
        http = http.with_auth(auth);
    }
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

/// Until credentials have been verified, or for a second.
fn wait_for_verdict(waker: &OwnedFd) -> io::Result<()> {
    let second = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(waker, PollFlags::IN)], Some(&second))?;
    // Whoever has heard it need not hear it again.
    let _ = rustix::io::read(waker, &mut [0; 8]);
    Ok(())
}

/// The names of the files with rules, as they are told.
struct RulesFileNames {
    headers: Option<String>,
    redirects: Option<String>,
}

/// What there is to read the reasons from.
struct Explainer<'a> {
    /// `None` where the bytes are no request.
    request: Option<&'a Request<'a>>,
    /// `None` where nothing was looked up.
    lookup: Option<&'a Lookup>,
    /// Why the site found nothing, where that is more than that nothing is there.
    reason: Option<&'static str>,
    events: Vec<TraceEvent>,
    rules_files: RulesFileNames,
}

/// An answer, with all that is to be said of it.
struct Explanation {
    /// Status line and field lines.
    head: Vec<String>,
    /// One word for what it is.
    outcome: &'static str,
    file: Option<ChosenFile>,
    /// What became of it, and why: sentences.
    reasons: Vec<String>,
    /// Each place that was looked at, and what was there.
    probes: Vec<(String, String)>,
    media_type: Option<ExplainedValue>,
    codings: Vec<CodingOffer>,
    cache_control: Option<ExplainedValue>,
    rules: Vec<AppliedRule>,
}

/// The value of a field, and why it is this one.
struct ExplainedValue {
    value: String,
    reason: String,
}

/// A coding that the content is to be had in, or not.
struct CodingOffer {
    coding: Coding,
    /// Its length in bytes, if it is to be had.
    len: Option<u64>,
    is_chosen: bool,
    reason: String,
}

/// A rule that has changed a field.
struct AppliedRule {
    field: String,
    /// `None` if the field is taken away.
    value: Option<String>,
    /// Which file and line, or option.
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

    /// What the answer is.
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

    /// The file that is sent. A rule may have made one the page for what is absent; and of what was found, something
    /// else may be said.
    fn chosen_file(&self, role: ResponseRole) -> Option<&ChosenFile> {
        let all = || {
            self.events.iter().rev().filter_map(|event| match event {
                TraceEvent::Chosen(chosen) => Some(chosen),
                _ => None,
            })
        };
        let of = |role| all().find(|chosen| chosen.role == role);
        match role {
            ResponseRole::NotFound => of(ResponseRole::NotFound).or_else(|| of(ResponseRole::File)),
            ResponseRole::Generated => match self.lookup {
                Some(Lookup::Found(_)) => of(ResponseRole::File),
                _ => None,
            },
            role => of(role),
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

    /// In the order in which it was decided.
    fn reasons(&self, response: Option<&Response>, file: Option<&ChosenFile>) -> Vec<String> {
        let mut why: Vec<String> = Vec::new();
        for event in &self.events {
            match event {
                TraceEvent::OutsidePrefix => {
                    why.push("the path does not begin with --path-prefix".into());
                }
                TraceEvent::Hidden(path, HiddenReason::Dotfile) => why.push(format!(
                    "/{} is not served: a name in it begins with a dot; --hidden serves such files",
                    shown(path)
                )),
                TraceEvent::Hidden(path, HiddenReason::RulesFile) => why.push(format!(
                    "/{} is not served: it holds path rules",
                    shown(path)
                )),
                TraceEvent::Redirect(rule, counts) => {
                    why.push(self.describe_redirect(rule, *counts));
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

    /// What the look-up has ended with, and what the request has made of it.
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
                    // (A rule or a prefix has been named.)
                    true => format!("/{} is the directory's index file", shown(&file.path)),
                    false if is_page => {
                        format!(
                            "/{} is served for this path (clean URLs)",
                            shown(&file.path)
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
                let page = file.map(|file| format!("/{} is sent", shown(&file.path)));
                let reasons = [self.absence(), page].into_iter().flatten();
                reasons.reduce(|reason, page| format!("{reason}; {page}"))?
            }
            _ => return None,
        })
    }

    /// Why nothing was found, unless a note has said so already.
    fn absence(&self) -> Option<String> {
        let is_named = |event: &TraceEvent| {
            matches!(event, TraceEvent::OutsidePrefix | TraceEvent::Hidden(..))
        };
        if self.events.iter().any(is_named) {
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

    fn describe_redirect(&self, rule: &RedirectMatch, counts: bool) -> String {
        let file = self
            .rules_files
            .redirects
            .as_deref()
            .unwrap_or("_redirects");
        let to = match &rule.target {
            RedirectTarget::Location(to) | RedirectTarget::Rewrite(to) => shown(to.as_bytes()),
        };
        let RedirectMatch { line, status, .. } = rule;
        let to = format!("{} {to}", status.code());
        match (counts, rule.is_forced) {
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
                    ProbeResult::Failed(why) => shown(why.as_bytes()),
                };
                Some((format!("/{}", shown(path)), probe))
            }
            _ => None,
        });
        probes.collect()
    }

    /// What rules have changed about an answer of this kind.
    fn applied_rules(&self, role: ResponseRole) -> Vec<AppliedRule> {
        let changed = self.events.iter().rev().find_map(|event| match event {
            TraceEvent::FieldChanges(of, changed) if *of == role => Some(changed),
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

    /// In which codings the content is to be had, and how each fares.
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
        let standings = coding_reasons(&AcceptEncoding::from_request(request), &offered);
        let sent = response.representation.as_ref();
        let mut codings: Vec<CodingOffer> = Vec::new();
        for (each, reason) in resource.representations.iter().zip(standings) {
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
                    reason: format!("/{} is not used: {why}", shown(path)),
                });
            }
        }
        codings
    }

    /// The resource that was asked about, or is shown instead.
    fn sent_resource(&self, response: &Response) -> Option<&Resource> {
        let sent = response.representation.as_ref()?;
        let has = |resource: &&Arc<Resource>| {
            let mut all = resource.representations.iter();
            all.any(|each| Arc::ptr_eq(each, sent))
        };
        let of_lookup: [Option<&Arc<Resource>>; 2] = match self.lookup? {
            Lookup::Found(found) => [Some(found), None],
            Lookup::NotFound(page) => [page.as_ref(), None],
            Lookup::SpaFallback(fallback, page) => [Some(fallback), page.as_ref()],
            _ => [None, None],
        };
        of_lookup
            .into_iter()
            .flatten()
            .find(has)
            .map(|found| &**found)
    }
}

/// The value of a field in a head.
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
    let is_kept = matches!(role, ResponseRole::File | ResponseRole::SpaFallback);
    let why = match (rule_for_field(rules, "Cache-Control"), file) {
        (Some(rule), _) if is_kept => format!("by {}", rule.source),
        (None, Some(file)) if is_kept => {
            let rule = file.cache_control.as_ref();
            rule.map_or_else(String::new, |rule| rule.reason.to_string())
        }
        _ => "responses other than files are not stored".into(),
    };
    Some(ExplainedValue { value, reason: why })
}

/// What one of our own pages says, in words.
fn page_message(content: &str) -> Option<String> {
    let (_, rest) = content.split_once("<p>")?;
    let (text, _) = rest.split_once("</p>")?;
    match text.contains('<') {
        // It is a link, which is among the fields as well.
        true => None,
        false => Some(text.to_owned()),
    }
}

/// A link, and where it leads.
fn describe_symlink(link: &Symlink) -> String {
    let shown = |path: &Path| shown(path.as_os_str().as_encoded_bytes());
    format!("/{} -> {}", shown(&link.path), shown(&link.target))
}

/// A file's name.
fn file_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or(file.as_os_str());
    shown(name.as_encoded_bytes())
}

impl Explanation {
    fn status(&self) -> &str {
        let line = self.head.first().map_or("", String::as_str);
        line.split_once(' ').map_or(line, |(_, status)| status)
    }

    /// The facts first, then the head.
    fn to_text(&self, question: &Question) -> String {
        let mut text = format!("{} {}\n", question.method, question.target);
        let mut say = |name: &str, output: &str| {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{name:<8} {output}");
        };
        say("status", self.status());
        if let Some(file) = &self.file {
            say(
                "file",
                &format!("/{}, {} bytes", shown(&file.path), file.len),
            );
            for link in &file.symlinks {
                say("link", &describe_symlink(link));
            }
        }
        for why in &self.reasons {
            say("why", why);
        }
        for (path, probe) in &self.probes {
            say("looked", &format!("{path}: {probe}"));
        }
        if let Some(ExplainedValue { value, reason: why }) = &self.media_type {
            say("type", &format!("{value} ({why})"));
        }
        for offer in &self.codings {
            let (coding, why) = (offer.coding, &offer.reason);
            let sent = if offer.is_chosen { "sent; " } else { "" };
            say(
                "coding",
                &match offer.len {
                    Some(len) => format!("{coding}, {len} bytes: {sent}{why}"),
                    None => format!("{coding}: {why}"),
                },
            );
        }
        if let Some(ExplainedValue { value, reason: why }) = &self.cache_control {
            say("cache", &format!("{value} ({why})"));
        }
        for rule in &self.rules {
            let value = rule.value.as_deref().unwrap_or("removed");
            let output = format!("{}: {value} ({})", rule.field, rule.source);
            say("rule", &shown(output.as_bytes()));
        }
        text.push('\n');
        for line in &self.head {
            let _ = writeln!(text, "{}", shown(line.as_bytes()));
        }
        text
    }

    /// One object, in a line.
    fn to_json(&self, question: &Question) -> String {
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
            json_string(&question.method),
            json_string(&question.target),
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
    format!("\"{}\"", json(text))
}

fn json_array(elements: impl Iterator<Item = String>) -> String {
    format!("[{}]", elements.collect::<Vec<_>>().join(","))
}
