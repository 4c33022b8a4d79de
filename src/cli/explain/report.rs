//! The printed explanation: as text, or as JSON.

use std::fmt::Write as _;

use docroot::escape::TerminalText;
use docroot::http::{Coding, Outcome};
use docroot::site::ChosenFile;

use crate::cli::options::ExplainRequest;
use crate::cli::output::{describe_symlink, json_string};

/// Response, and everything that is printed about it.
pub(super) struct Explanation {
    /// Status line and field lines.
    pub(super) head: Vec<String>,
    pub(super) outcome: Outcome,
    pub(super) file: Option<ChosenFile>,
    /// Reasons for the outcome, as sentences.
    pub(super) reasons: Vec<String>,
    /// Probed paths, and the results.
    pub(super) probes: Vec<(String, String)>,
    pub(super) media_type: Option<ExplainedValue>,
    pub(super) codings: Vec<CodingOffer>,
    pub(super) cache_control: Option<ExplainedValue>,
    pub(super) rules: Vec<AppliedRule>,
}

/// Value of a field, and the reason for it.
pub(super) struct ExplainedValue {
    pub(super) value: String,
    pub(super) reason: String,
}

/// Content coding, and whether the content is available in it.
pub(super) struct CodingOffer {
    pub(super) coding: Coding,
    /// Length in bytes of the encoded content; `None` if it is not available.
    pub(super) len: Option<u64>,
    pub(super) is_chosen: bool,
    pub(super) reason: String,
}

/// Rule that changed a field.
pub(super) struct AppliedRule {
    pub(super) field: String,
    /// New value; `None` if the field is removed.
    pub(super) value: Option<String>,
    /// Source of the rule: file and lines, or the command line.
    pub(super) source: String,
}

impl Explanation {
    fn status(&self) -> &str {
        let line = self.head.first().map_or("", String::as_str);
        line.split_once(' ').map_or(line, |(_, status)| status)
    }

    /// Returns the explanation as lines: the facts, then the response head.
    pub(super) fn to_text(&self, explain_request: &ExplainRequest) -> String {
        let mut text = format!("{} {}\n", explain_request.method, explain_request.target);
        let mut add_line = |name: &str, output: &str| {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{name:<8} {output}");
        };
        add_line("status", self.status());
        if let Some(file) = &self.file {
            add_line(
                "file",
                &format!("/{}, {} bytes", TerminalText(&file.path), file.len),
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
            add_line("rule", &TerminalText(output.as_bytes()).to_string());
        }
        text.push('\n');
        for line in &self.head {
            let _ = writeln!(text, "{}", TerminalText(line.as_bytes()));
        }
        text
    }

    /// Returns the explanation as one line of JSON.
    pub(super) fn to_json(&self, explain_request: &ExplainRequest) -> String {
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
            outcome_word(self.outcome),
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

/// Returns the name of an outcome in JSON.
fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotLookedUp => "refused",
        Outcome::Found => "file",
        Outcome::Directory => "folder",
        Outcome::Listing => "listing",
        Outcome::Events => "events",
        Outcome::NotFound => "absent",
        Outcome::SpaFallback => "shell",
        Outcome::Redirect => "redirect",
        Outcome::Forbidden => "forbidden",
        Outcome::Unavailable => "unavailable",
    }
}

fn json_array(elements: impl Iterator<Item = String>) -> String {
    format!("[{}]", elements.collect::<Vec<_>>().join(","))
}
