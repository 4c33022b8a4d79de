//! The reasons for a response, from the response and the trace of its lookup.

use docroot::escape::TerminalText;
use docroot::http::{Outcome, RequestField};
use docroot::site::{
    Absence, ChosenFile, MediaTypeSource, ProbeResult, RedirectMatch, RedirectTarget, ResponseRole,
    TraceEvent, TracedFieldChange,
};

use super::cache_reason::describe_cache_reason;
use super::codings::coding_offers;
use super::exchange::Exchange;
use super::report::{AppliedRule, ExplainedValue, Explanation};
use crate::cli::output::describe_symlink;

/// Names of the rules files, as they are printed.
pub(super) struct RulesFileNames {
    pub(super) headers: Option<String>,
    pub(super) redirects: Option<String>,
}

/// Records from which the reasons are read.
pub(super) struct Explainer {
    pub(super) exchange: Exchange,
    pub(super) events: Vec<TraceEvent>,
    pub(super) rules_files: RulesFileNames,
}

impl Explainer {
    /// Returns the explanation of the response.
    pub(super) fn explain(self) -> Explanation {
        let role = self.role();
        let file = self.chosen_file(role);
        let rules = self.applied_rules(role);
        let head = &self.exchange.head;
        let sent_file = file.filter(|_| role != ResponseRole::Generated);
        Explanation {
            outcome: self.exchange.response.outcome,
            reasons: self.reasons(file),
            probes: self.probes(),
            media_type: media_type_reason(head, sent_file, &rules),
            codings: coding_offers(&self.exchange, &self.events),
            cache_control: cache_reason(head, file, role, &rules),
            file: file.cloned(),
            rules,
            head: self.exchange.head,
        }
    }

    /// Returns the role of the response, which decides which rules apply to it.
    fn role(&self) -> ResponseRole {
        match self.exchange.response.outcome {
            _ if !self.exchange.response.has_origin_fields => ResponseRole::Generated,
            Outcome::SpaFallback => ResponseRole::SpaFallback,
            Outcome::NotFound => ResponseRole::NotFound,
            _ => ResponseRole::File,
        }
    }

    /// Returns the file that the response is about. The page of a 404 may be a file that a rule names. For a generated
    /// response, such as 412, it is the file that was found.
    fn chosen_file(&self, role: ResponseRole) -> Option<&ChosenFile> {
        let last_with = |role| {
            let mut events = self.events.iter().rev();
            events.find_map(|event| match event {
                TraceEvent::Chosen(chosen) if chosen.role == role => Some(chosen),
                _ => None,
            })
        };
        match (role, self.exchange.response.outcome) {
            (ResponseRole::NotFound, _) => {
                last_with(role).or_else(|| last_with(ResponseRole::File))
            }
            (ResponseRole::Generated, Outcome::Found) => last_with(ResponseRole::File),
            (role, _) => last_with(role),
        }
    }

    /// Returns the reasons, in the order of the decisions.
    fn reasons(&self, file: Option<&ChosenFile>) -> Vec<String> {
        let events = self.events.iter();
        let reasons = events.filter_map(|event| self.event_reason(event));
        reasons.chain(self.response_reason(file)).collect()
    }

    /// Returns the reason that an event of the lookup gives.
    fn event_reason(&self, event: &TraceEvent) -> Option<String> {
        Some(match event {
            TraceEvent::Absent(path, Absence::Dotfile) => format!(
                "/{} is not served: a name in it begins with a dot; --hidden serves such files",
                TerminalText(path)
            ),
            TraceEvent::Absent(path, Absence::RulesFile) => {
                format!("/{} is not served: it holds path rules", TerminalText(path))
            }
            TraceEvent::Absent(_, reason @ Absence::OutsidePrefix) => clause(reason.sentence()),
            TraceEvent::Redirect(rule, applies) => self.describe_redirect(rule, *applies),
            TraceEvent::Probed(_, ProbeResult::OutsideRoot(Some(link))) => format!(
                "the symbolic link {} leads outside the root (see --symlinks and --symlink-root)",
                describe_symlink(link)
            ),
            TraceEvent::IndexFile(path) => {
                format!("/{} is the directory's index file", TerminalText(path))
            }
            TraceEvent::CleanUrl(path) => {
                let path = TerminalText(path);
                format!("/{path} is served for this path (clean URLs)")
            }
            TraceEvent::SpaRoute(Err(reason)) => {
                format!("the SPA fallback page is not sent: {reason}")
            }
            TraceEvent::SpaRoute(Ok(())) => match self.exchange.response.outcome {
                Outcome::SpaFallback => "nothing is at this path, and the request is a navigation, so the SPA \
                                         fallback page is sent",
                _ => "the SPA fallback page is not sent: the request is not a navigation (Accept has no text/html)",
            }
            .into(),
            _ => return None,
        })
    }

    /// Returns the reason that the response itself gives.
    fn response_reason(&self, file: Option<&ChosenFile>) -> Option<String> {
        let response = &self.exchange.response;
        Some(match (response.outcome, response.reduced_by) {
            (_, Some(RequestField::Range)) => "the request has a Range".into(),
            (_, Some(RequestField::IfNoneMatch)) => {
                "the client's copy is current: If-None-Match says so".into()
            }
            (_, Some(_)) => "the client's copy is current: If-Modified-Since says so".into(),
            (Outcome::Directory, _) => {
                "it is a directory: redirected to the path with a slash".into()
            }
            (Outcome::Events, _) => "this is the event stream of --live-reload".into(),
            (Outcome::Listing, _) => "the directory has no index file, so it is listed".into(),
            (Outcome::NotFound, _) => {
                let mut events = self.events.iter();
                let reason = events.find_map(|event| match event {
                    TraceEvent::Absent(_, reason @ Absence::NoIndex) => {
                        Some(Some(clause(reason.sentence())))
                    }
                    // It is in the list already.
                    TraceEvent::Absent(..) => Some(None),
                    _ => None,
                });
                let reason =
                    reason.unwrap_or_else(|| Some("nothing is served at this path".into()));
                let page = file.map(|file| format!("/{} is sent", TerminalText(&file.path)));
                let reasons = [reason, page].into_iter().flatten();
                reasons.reduce(|reason, page| format!("{reason}; {page}"))?
            }
            // An event that names the symbolic link says more.
            (Outcome::Forbidden, _) if self.names_link() => return None,
            _ => response.reason?.into(),
        })
    }

    fn names_link(&self) -> bool {
        let mut events = self.events.iter();
        events.any(|event| {
            matches!(
                event,
                TraceEvent::Probed(_, ProbeResult::OutsideRoot(Some(_)))
            )
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
                TerminalText(to.as_bytes())
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
                    ProbeResult::Failed(why) => TerminalText(why.as_bytes()).to_string(),
                };
                Some((format!("/{}", TerminalText(path)), probe))
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
            rule.map_or_else(String::new, |rule| describe_cache_reason(&rule.reason))
        }
        _ => "responses other than files are not stored".into(),
    };
    Some(ExplainedValue { value, reason: why })
}

/// Returns a sentence without its capital letter and its period.
fn clause(sentence: &str) -> String {
    let mut chars = sentence.trim_end_matches('.').chars();
    let first = chars.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}
