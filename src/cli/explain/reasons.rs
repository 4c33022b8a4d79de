//! The reasons for a response, from the records of its session.

use docroot::escape::TerminalText;
use docroot::http::{Lookup, Request, Response, is_navigation, respond, validate};
use docroot::site::{
    Absence, ChosenFile, MediaTypeSource, ProbeResult, RedirectMatch, RedirectTarget, ResponseRole,
    TraceEvent, TracedFieldChange,
};

use super::cache_reason::describe_cache_reason;
use super::codings::coding_offers;
use super::report::{AppliedRule, ExplainedValue, Explanation};
use crate::cli::output::describe_symlink;

/// Names of the rules files, as they are printed.
pub(super) struct RulesFileNames {
    pub(super) headers: Option<String>,
    pub(super) redirects: Option<String>,
}

/// Records from which the reasons are read.
pub(super) struct Explainer<'a> {
    /// Request; `None` if the bytes are not a valid one.
    pub(super) request: Option<&'a Request<'a>>,
    /// Result of the lookup; `None` if nothing was looked up.
    pub(super) lookup: Option<&'a Lookup>,
    pub(super) events: Vec<TraceEvent>,
    pub(super) rules_files: RulesFileNames,
}

impl Explainer<'_> {
    /// Returns the explanation of the bytes that the session queued.
    pub(super) fn explain(&self, output: &str) -> Explanation {
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
        let codings = match (self.request, &response, self.lookup) {
            (Some(request), Some(response), Some(lookup)) => {
                coding_offers(request, response, lookup, &self.events)
            }
            _ => Vec::new(),
        };
        Explanation {
            outcome: self.outcome(response.as_ref()),
            media_type: media_type_reason(
                &head,
                file.as_ref().filter(|_| role != ResponseRole::Generated),
                &rules,
            ),
            codings,
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
                TraceEvent::Absent(_, Absence::OutsidePrefix) => {
                    why.push("the path does not begin with --path-prefix".into());
                }
                TraceEvent::Absent(path, Absence::Dotfile) => why.push(format!(
                    "/{} is not served: a name in it begins with a dot; --hidden serves such files",
                    TerminalText(path)
                )),
                TraceEvent::Absent(path, Absence::RulesFile) => why.push(format!(
                    "/{} is not served: it holds path rules",
                    TerminalText(path)
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
                        TerminalText(&file.path)
                    ),
                    false if is_page => {
                        format!(
                            "/{} is served for this path (clean URLs)",
                            TerminalText(&file.path)
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
                let page = file.map(|file| format!("/{} is sent", TerminalText(&file.path)));
                let reasons = [self.absence(), page].into_iter().flatten();
                reasons.reduce(|reason, page| format!("{reason}; {page}"))?
            }
            _ => return None,
        })
    }

    /// Returns the reason for which nothing was found, unless it is in the list of reasons already.
    fn absence(&self) -> Option<String> {
        let absence = self.events.iter().find_map(|event| match event {
            TraceEvent::Absent(_, absence) => Some(absence),
            _ => None,
        });
        match absence {
            Some(Absence::OutsidePrefix | Absence::Dotfile | Absence::RulesFile) => None,
            Some(absence) => {
                let reason = absence.sentence().trim_end_matches('.');
                let mut chars = reason.chars();
                let first = chars.next().map(|first| first.to_ascii_lowercase());
                Some(first.into_iter().chain(chars).collect())
            }
            None => Some("nothing is served at this path".to_owned()),
        }
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
