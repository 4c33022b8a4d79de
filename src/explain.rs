//! `docroot explain`: the answer that a request would get, and why it is that one.
//!
//! The request goes through the same session as every other, on no socket, and its answer's head is what that has
//! queued. The site takes notes on the way, and keeps what it has found: the reasons are read from these, and
//! decided nowhere else.

use std::borrow::Cow;
use std::cell::RefCell;
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
    Accepted, Coding, Fields, Lookup, Origin, Progress, Request, Resource, Response, Standing,
    Streamed, Target, admit, is_navigation, respond, standings,
};
use docroot::http1::Http1;
use docroot::http1::parse::{self, Lines, Parsed};
use docroot::net::{Inbox, Io, Next, Now, Outbox, Peer, Protocol as _};
use docroot::site::{
    Changed, Chosen, Link, Match, Note, Reading, Role, Seen, Site, Source, Stream, To, Trail,
    Withheld,
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
    reading: &Reading,
    trail: &Trail,
    question: &Question,
) -> io::Result<String> {
    let request = head(question);
    let found = Found::default();
    let witness = Witness {
        site,
        found: found.clone(),
    };
    let said = ask(config, witness, &request)?;
    let found = found.borrow_mut().take();
    let sources = Sources {
        headers: reading.headers.as_deref().map(name),
        redirects: reading.redirects.as_deref().map(name),
    };

    let mut lines = Lines::new();
    let parsed = parse::request(&request, config.server.http1.max_header, &mut lines);
    let request = match &parsed {
        Ok(Parsed::Whole { request, .. }) => Some(request),
        _ => None,
    };
    let seen = Seeing {
        request,
        lookup: found.as_ref(),
        notes: trail.notes(),
        sources,
    };
    let account = seen.account(&said);
    Ok(match question.json {
        true => account.json(question),
        false => account.words(question),
    })
}

/// What was found for the request, once something was.
type Found = Rc<RefCell<Option<Lookup>>>;

/// A site, and whoever sees what it finds.
struct Witness {
    site: Site,
    found: Found,
}

impl Origin for Witness {
    type Stream = Stream;

    fn find(&mut self, target: &Target<'_>, now: SystemTime) -> Lookup {
        let lookup = self.site.find(target, now);
        *self.found.borrow_mut() = Some(lookup.clone());
        lookup
    }

    fn code(
        &mut self,
        target: &Target<'_>,
        found: &Lookup,
        coding: Coding,
        now: SystemTime,
    ) -> Option<Lookup> {
        let lookup = self.site.code(target, found, coding, now)?;
        *self.found.borrow_mut() = Some(lookup.clone());
        Some(lookup)
    }

    fn fields(&self, target: Option<&Target<'_>>) -> Cow<'_, Fields> {
        self.site.fields(target)
    }

    fn doubt(&mut self, told: bool) {
        self.site.doubt(told);
    }

    fn stream(&mut self, target: &Target<'_>, what: Streamed) -> Result<Stream, Lookup> {
        let stream = self.site.stream(target, what);
        if let Err(instead) = &stream {
            *self.found.borrow_mut() = Some(instead.clone());
        }
        stream
    }

    fn stream_on(&mut self, stream: &mut Stream, into: &mut Vec<u8>, now: Instant) -> Progress {
        self.site.stream_on(stream, into, now)
    }
}

/// The request's head, as somebody on this machine would send it.
fn head(question: &Question) -> Vec<u8> {
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
fn ask(config: &Config, origin: Witness, request: &[u8]) -> io::Result<String> {
    let options = config.server.http1.clone();
    let mut http = Http1::new(origin, options, None);
    let verifier = config.server.users.clone();
    let verifier = verifier.map(|users| Verifier::new(users, NonZeroUsize::MIN));
    let verifier = verifier.transpose()?;
    let mut bell = None;
    if let Some(verifier) = &verifier {
        let guard = verifier.guard()?;
        bell = Some(guard.bell()?);
        http = http.guarded_by(guard);
    }
    let peer = Peer {
        address: (Ipv4Addr::LOCALHOST, 0).into(),
    };
    let mut session = http.open(&peer);
    let (mut inbox, mut outbox, mut deadline) = (Inbox::default(), Outbox::default(), None);
    inbox.receive(request);
    http.begin(true);
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
        match (http.advance(&mut session, &mut io), &bell) {
            (Next::Wait, Some(bell)) => wait(bell)?,
            _ => break,
        }
    }
    Ok(String::from_utf8_lossy(&outbox.take()).into_owned())
}

/// Until credentials have been verified, or for a second.
fn wait(bell: &OwnedFd) -> io::Result<()> {
    let second = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(bell, PollFlags::IN)], Some(&second))?;
    // Whoever has heard it need not hear it again.
    let _ = rustix::io::read(bell, &mut [0; 8]);
    Ok(())
}

/// The names of the files with rules, as they are told.
struct Sources {
    headers: Option<String>,
    redirects: Option<String>,
}

/// What there is to read the reasons from.
struct Seeing<'a> {
    /// `None` where the bytes are no request.
    request: Option<&'a Request<'a>>,
    /// `None` where nothing was looked up.
    lookup: Option<&'a Lookup>,
    notes: Vec<Note>,
    sources: Sources,
}

/// An answer, with all that is to be said of it.
struct Account {
    /// Status line and field lines.
    head: Vec<String>,
    /// One word for what it is.
    outcome: &'static str,
    file: Option<Chosen>,
    /// What became of it, and why: sentences.
    why: Vec<String>,
    /// Each place that was looked at, and what was there.
    looked: Vec<(String, String)>,
    media: Option<Reason>,
    codings: Vec<Offer>,
    cache: Option<Reason>,
    rules: Vec<Rule>,
}

/// The value of a field, and why it is this one.
struct Reason {
    value: String,
    why: String,
}

/// A coding that the content is to be had in, or not.
struct Offer {
    coding: Coding,
    /// Its length in bytes, if it is to be had.
    len: Option<u64>,
    is_chosen: bool,
    why: String,
}

/// A rule that has changed a field.
struct Rule {
    field: String,
    /// `None` if the field is taken away.
    value: Option<String>,
    /// Which file and line, or option.
    from: String,
}

impl Seeing<'_> {
    fn account(&self, said: &str) -> Account {
        let (head, content) = said.split_once("\r\n\r\n").unwrap_or((said, ""));
        let head: Vec<String> = head.split("\r\n").map(str::to_owned).collect();
        let target = self.request.and_then(|request| admit(request).ok());
        let response = match (self.request, &target, self.lookup) {
            (Some(request), Some(target), Some(lookup)) => Some(respond(request, target, lookup)),
            _ => None,
        };
        let role = self.role(response.as_ref());
        let file = self.chosen(role).cloned();
        let rules = self.rules(role);
        let mut why = self.why(response.as_ref(), file.as_ref());
        if role == Role::Ours
            && let Some(reason) = explained(content)
        {
            why.push(reason);
        }
        Account {
            outcome: self.outcome(response.as_ref()),
            media: media(&head, file.as_ref().filter(|_| role != Role::Ours), &rules),
            codings: self.codings(response.as_ref()),
            cache: cache(&head, file.as_ref(), role, &rules),
            looked: self.looked(),
            head,
            file,
            why,
            rules,
        }
    }

    /// What the answer is.
    fn role(&self, response: Option<&Response>) -> Role {
        match (self.lookup, response) {
            (_, None) => Role::Ours,
            (_, Some(response)) if !response.is_represented => Role::Ours,
            (Some(Lookup::Shell(..)), _) if self.request.is_some_and(is_navigation) => Role::Shell,
            (Some(Lookup::Shell(..) | Lookup::Absent(_)), _) => Role::NotFound,
            _ => Role::File,
        }
    }

    /// The file that is sent. A rule may have made one the page for what is absent; and of what was found, something
    /// else may be said.
    fn chosen(&self, role: Role) -> Option<&Chosen> {
        let all = || {
            self.notes.iter().rev().filter_map(|note| match note {
                Note::Chosen(chosen) => Some(chosen),
                _ => None,
            })
        };
        let of = |role| all().find(|chosen| chosen.role == role);
        match role {
            Role::NotFound => of(Role::NotFound).or_else(|| of(Role::File)),
            Role::Ours => match self.lookup {
                Some(Lookup::Found(_)) => of(Role::File),
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
            (Some(Lookup::Absent(_)), _) => "absent",
            (Some(Lookup::Shell(..)), _) => match self.request.is_some_and(is_navigation) {
                true => "shell",
                false => "absent",
            },
            (Some(Lookup::Moved(..)), _) => "redirect",
            (Some(Lookup::Forbidden), _) => "forbidden",
            (Some(Lookup::Unavailable), _) => "unavailable",
        }
    }

    /// In the order in which it was decided.
    fn why(&self, response: Option<&Response>, file: Option<&Chosen>) -> Vec<String> {
        let mut why: Vec<String> = Vec::new();
        for note in &self.notes {
            match note {
                Note::Outside => {
                    why.push("the address does not begin with the path prefix".into());
                }
                Note::Withheld(path, Withheld::Hidden) => why.push(format!(
                    "/{} is not shown: a name in it begins with a dot (see --hidden)",
                    shown(path)
                )),
                Note::Withheld(path, Withheld::Rules) => why.push(format!(
                    "/{} is not shown: rules are read from it",
                    shown(path)
                )),
                Note::Rule(rule, counts) => why.push(self.rule(rule, *counts)),
                Note::Looked(_, Seen::Refused(Some(link))) => {
                    let way = way(link);
                    why.push(format!(
                        "the link {way} leads where none may (see --symlinks)"
                    ));
                }
                Note::Route(Err(reason)) => {
                    why.push(format!("it is no place for the page of --spa: {reason}"));
                }
                Note::Route(Ok(())) => why.push(match self.request.is_some_and(is_navigation) {
                    true => "somebody navigates to it, so the page of --spa is shown".into(),
                    false => "it may be a place that the page of --spa knows, but the request is \
                              no navigation"
                        .into(),
                }),
                _ => {}
            }
        }
        why.extend(self.found(response, file));
        why
    }

    /// What the look-up has ended with, and what the request has made of it.
    fn found(&self, response: Option<&Response>, file: Option<&Chosen>) -> Option<String> {
        let lookup = self.lookup?;
        let status = response.map_or("", |response| response.status.code());
        Some(match (lookup, status) {
            (Lookup::Found(_), "304") => {
                "what the request says that it has is what there is".into()
            }
            (Lookup::Found(_), "206") => "the request asks for a part of it".into(),
            (Lookup::Found(_), _) => {
                let target = self.request.and_then(|request| admit(request).ok())?;
                let path = target.path();
                let file = file?;
                let is_page = file.path.ends_with(b".html") && !path.ends_with(b".html");
                match target.is_directory() {
                    _ if *file.path == *path => return None,
                    // (A rule or a prefix has been named.)
                    true => format!("/{} is what the folder shows", shown(&file.path)),
                    false if is_page => {
                        format!("/{} is what the address means", shown(&file.path))
                    }
                    false => return None,
                }
            }
            (Lookup::Directory, _) => "it is a folder, whose address ends in a slash".into(),
            (Lookup::Events, _) => "pages hear there of changes, with --live-reload".into(),
            (Lookup::Listing(_), _) => "the folder has no page of its own, so it is listed".into(),
            (Lookup::Absent(Some(_)) | Lookup::Shell(..), "404") => match file {
                Some(file) => format!("there is nothing, so /{} is shown", shown(&file.path)),
                None => return None,
            },
            (Lookup::Absent(None), _) => "there is nothing, and no page that says so".into(),
            _ => return None,
        })
    }

    fn rule(&self, rule: &Match, counts: bool) -> String {
        let file = self.sources.redirects.as_deref().unwrap_or("_redirects");
        let to = match &rule.to {
            To::Location(to) | To::Target(to) => shown(to.as_bytes()),
        };
        let Match { line, status, .. } = rule;
        let to = format!("{} {to}", status.code());
        match (counts, rule.is_forced) {
            (true, true) => format!("{file}:{line} says {to}, whatever is there"),
            (true, false) => format!("{file}:{line} says {to}"),
            (false, _) => {
                format!("{file}:{line} says {to} where nothing is, but something is there")
            }
        }
    }

    fn looked(&self) -> Vec<(String, String)> {
        let looked = self.notes.iter().filter_map(|note| match note {
            Note::Looked(path, seen) => {
                let seen = match seen {
                    Seen::File => "a file".to_owned(),
                    Seen::Folder => "a folder".to_owned(),
                    Seen::Special => "neither a file nor a folder".to_owned(),
                    Seen::Nothing => "nothing".to_owned(),
                    Seen::Refused(Some(link)) => format!("behind the link {}", way(link)),
                    Seen::Refused(None) => "behind a link that led where none may".to_owned(),
                    Seen::Failed(why) => shown(why.as_bytes()),
                };
                Some((format!("/{}", shown(path)), seen))
            }
            _ => None,
        });
        looked.collect()
    }

    /// What rules have changed about an answer of this kind.
    fn rules(&self, role: Role) -> Vec<Rule> {
        let changed = self.notes.iter().rev().find_map(|note| match note {
            Note::Changed(of, changed) if *of == role => Some(changed),
            _ => None,
        });
        let rule = |changed: &Changed| {
            let numbers: Vec<String> = changed.lines.iter().map(usize::to_string).collect();
            let file = self.sources.headers.as_deref().unwrap_or("_headers");
            Rule {
                field: changed.name.clone(),
                value: changed.value.clone(),
                from: match numbers.is_empty() {
                    true => "the command line".into(),
                    false => format!("{file}:{}", numbers.join(", ")),
                },
            }
        };
        changed.into_iter().flatten().map(rule).collect()
    }

    /// In which codings the content is to be had, and how each fares.
    fn codings(&self, response: Option<&Response>) -> Vec<Offer> {
        let (Some(request), Some(response)) = (self.request, response) else {
            return Vec::new();
        };
        let Some(resource) = self.resource(response) else {
            return Vec::new();
        };
        let offered: Vec<(Coding, u64)> = resource
            .representations
            .iter()
            .map(|each| (each.coding, each.content.len()))
            .collect();
        let standings = standings(&Accepted::of(request), &offered);
        let sent = response.representation.as_ref();
        let mut codings: Vec<Offer> = Vec::new();
        for (each, standing) in resource.representations.iter().zip(standings) {
            let is_chosen = sent.is_some_and(|sent| Arc::ptr_eq(sent, each));
            codings.push(Offer {
                coding: each.coding,
                len: Some(each.content.len()),
                is_chosen,
                why: match (is_chosen, standing) {
                    _ if offered.len() == 1 => "the only one that there is".into(),
                    (false, Standing::Chosen) => "preferred, but the request names another".into(),
                    (true, standing) if standing != Standing::Chosen => {
                        "the request names it, or nothing else is acceptable".into()
                    }
                    (_, standing) => standing.to_string(),
                },
            });
        }
        if let Some(coding) = response.wanted {
            codings.push(Offer {
                coding,
                len: None,
                is_chosen: false,
                why: "made for later answers, if it saves enough (--compress)".into(),
            });
        }
        for note in &self.notes {
            if let Note::Beside(path, coding, Err(why)) = note
                && resource
                    .representations
                    .iter()
                    .all(|it| it.coding != *coding)
            {
                codings.push(Offer {
                    coding: *coding,
                    len: None,
                    is_chosen: false,
                    why: format!("/{} is not used: {why}", shown(path)),
                });
            }
        }
        codings
    }

    /// The resource that was asked about, or is shown instead.
    fn resource(&self, response: &Response) -> Option<&Resource> {
        let sent = response.representation.as_ref()?;
        let has = |resource: &&Arc<Resource>| {
            let mut all = resource.representations.iter();
            all.any(|each| Arc::ptr_eq(each, sent))
        };
        let of_lookup: [Option<&Arc<Resource>>; 2] = match self.lookup? {
            Lookup::Found(found) => [Some(found), None],
            Lookup::Absent(page) => [page.as_ref(), None],
            Lookup::Shell(shell, page) => [Some(shell), page.as_ref()],
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
fn value<'a>(head: &'a [String], name: &str) -> Option<&'a str> {
    head.iter().find_map(|line| {
        let (other, value) = line.split_once(": ")?;
        other.eq_ignore_ascii_case(name).then_some(value)
    })
}

fn changing<'a>(rules: &'a [Rule], field: &str) -> Option<&'a Rule> {
    let mut rules = rules.iter().rev();
    rules.find(|rule| rule.field.eq_ignore_ascii_case(field))
}

fn media(head: &[String], file: Option<&Chosen>, rules: &[Rule]) -> Option<Reason> {
    let said = value(head, "Content-Type");
    let Some(file) = file else {
        let value = said?.to_owned();
        let why = "no file is sent".into();
        return Some(Reason { value, why });
    };
    let why = match (changing(rules, "Content-Type"), file.media.source) {
        (Some(rule), _) => format!("{} says so", rule.from),
        (None, Source::Added) => "--mime-types says so".into(),
        (None, Source::Corrected | Source::Known) => "by its extension".into(),
        (None, Source::Unknown) => "nothing is known of its extension, or it has none".into(),
    };
    let value = said.unwrap_or(&file.media.text).to_owned();
    Some(Reason { value, why })
}

fn cache(head: &[String], file: Option<&Chosen>, role: Role, rules: &[Rule]) -> Option<Reason> {
    let value = value(head, "Cache-Control")?.to_owned();
    let is_kept = matches!(role, Role::File | Role::Shell);
    let why = match (changing(rules, "Cache-Control"), file) {
        (Some(rule), _) if is_kept => format!("{} says so", rule.from),
        (None, Some(file)) if is_kept => {
            let rule = file.cache.as_ref();
            rule.map_or_else(String::new, |rule| rule.reason.to_string())
        }
        _ => "what is said instead of a file may be otherwise for the next request".into(),
    };
    Some(Reason { value, why })
}

/// What one of our own pages says, in words.
fn explained(content: &str) -> Option<String> {
    let (_, rest) = content.split_once("<p>")?;
    let (text, _) = rest.split_once("</p>")?;
    match text.contains('<') {
        // It is a link, which is among the fields as well.
        true => None,
        false => Some(text.to_owned()),
    }
}

/// A link, and where it leads.
fn way(link: &Link) -> String {
    let shown = |path: &Path| shown(path.as_os_str().as_encoded_bytes());
    format!("/{} -> {}", shown(&link.path), shown(&link.target))
}

/// A file's name.
fn name(file: &Path) -> String {
    let name = file.file_name().unwrap_or(file.as_os_str());
    shown(name.as_encoded_bytes())
}

impl Account {
    fn status(&self) -> &str {
        let line = self.head.first().map_or("", String::as_str);
        line.split_once(' ').map_or(line, |(_, status)| status)
    }

    /// The facts first, then the head.
    fn words(&self, question: &Question) -> String {
        let mut text = format!("{} {}\n", question.method, question.target);
        let mut say = |name: &str, said: &str| {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{name:<8} {said}");
        };
        say("status", self.status());
        if let Some(file) = &self.file {
            say(
                "file",
                &format!("/{}, {} bytes", shown(&file.path), file.len),
            );
            for link in &file.links {
                say("link", &way(link));
            }
        }
        for why in &self.why {
            say("why", why);
        }
        for (path, seen) in &self.looked {
            say("looked", &format!("{path}: {seen}"));
        }
        if let Some(Reason { value, why }) = &self.media {
            say("type", &format!("{value} ({why})"));
        }
        for offer in &self.codings {
            let (coding, why) = (offer.coding, &offer.why);
            let sent = if offer.is_chosen { "sent; " } else { "" };
            say(
                "coding",
                &match offer.len {
                    Some(len) => format!("{coding}, {len} bytes: {sent}{why}"),
                    None => format!("{coding}: {why}"),
                },
            );
        }
        if let Some(Reason { value, why }) = &self.cache {
            say("cache", &format!("{value} ({why})"));
        }
        for rule in &self.rules {
            let value = rule.value.as_deref().unwrap_or("left out");
            let said = format!("{}: {value} ({})", rule.field, rule.from);
            say("rule", &shown(said.as_bytes()));
        }
        text.push('\n');
        for line in &self.head {
            let _ = writeln!(text, "{}", shown(line.as_bytes()));
        }
        text
    }

    /// One object, in a line.
    fn json(&self, question: &Question) -> String {
        let status = self.status();
        let code = status.get(..3).unwrap_or("0");
        let file = match &self.file {
            None => "null".to_owned(),
            Some(file) => {
                let links = file.links.iter().map(|link| {
                    let path = string(&format!("/{}", link.path.to_string_lossy()));
                    let target = string(&link.target.to_string_lossy());
                    format!("{{\"path\":{path},\"target\":{target}}}")
                });
                format!(
                    "{{\"path\":{},\"bytes\":{},\"links\":{}}}",
                    string(&format!("/{}", String::from_utf8_lossy(&file.path))),
                    file.len,
                    array(links)
                )
            }
        };
        let looked = self.looked.iter().map(|(path, seen)| {
            let (path, seen) = (string(path), string(seen));
            format!("{{\"path\":{path},\"found\":{seen}}}")
        });
        let codings = self.codings.iter().map(|offer| {
            format!(
                "{{\"coding\":{},\"bytes\":{},\"sent\":{},\"why\":{}}}",
                string(offer.coding.name()),
                offer.len.map_or("null".to_owned(), |len| len.to_string()),
                offer.is_chosen,
                string(&offer.why)
            )
        });
        let rules = self.rules.iter().map(|rule| {
            format!(
                "{{\"field\":{},\"value\":{},\"from\":{}}}",
                string(&rule.field),
                rule.value.as_deref().map_or("null".to_owned(), string),
                string(&rule.from)
            )
        });
        let reason = |reason: &Option<Reason>| match reason {
            None => "null".to_owned(),
            Some(Reason { value, why }) => {
                format!("{{\"value\":{},\"why\":{}}}", string(value), string(why))
            }
        };
        format!(
            "{{\"method\":{},\"target\":{},\"status\":{code},\"outcome\":\"{}\",\"file\":{file},\"why\":{},\
             \"looked\":{},\"type\":{},\"codings\":{},\"cache\":{},\"rules\":{},\"head\":{}}}\n",
            string(&question.method),
            string(&question.target),
            self.outcome,
            array(self.why.iter().map(|why| string(why))),
            array(looked),
            reason(&self.media),
            array(codings),
            reason(&self.cache),
            array(rules),
            array(self.head.iter().map(|line| string(line))),
        )
    }
}

fn string(text: &str) -> String {
    format!("\"{}\"", json(text))
}

fn array(elements: impl Iterator<Item = String>) -> String {
    format!("[{}]", elements.collect::<Vec<_>>().join(","))
}
