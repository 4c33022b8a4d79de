//! The content codings of a response, and the reasons why each is sent or not.

use std::sync::Arc;

use docroot::escape::TerminalText;
use docroot::http::{Coding, CodingReason, Lookup, Outcome, Resource, coding_reasons};
use docroot::site::TraceEvent;

use super::exchange::Exchange;
use super::report::CodingOffer;

/// Returns the content codings of the resource that is sent, and for each the reason why it is sent or not.
pub(super) fn coding_offers(exchange: &Exchange, events: &[TraceEvent]) -> Vec<CodingOffer> {
    let Exchange {
        response,
        accept_encoding,
        ..
    } = exchange;
    let Some(resource) = sent_resource(exchange) else {
        return Vec::new();
    };
    let offered: Vec<(Coding, u64)> = resource
        .representations
        .iter()
        .map(|each| (each.coding, each.content.len()))
        .collect();
    let offer_reasons = coding_reasons(accept_encoding, &offered);
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
    for event in events {
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
                reason: format!("/{} is not used: {why}", TerminalText(path)),
            });
        }
    }
    codings
}

/// Returns the resource of which the response has a representation; `None` if the response is generated.
fn sent_resource(exchange: &Exchange) -> Option<&Resource> {
    let Exchange {
        response, lookup, ..
    } = exchange;
    match (lookup.as_ref()?, response.outcome) {
        _ if !response.has_origin_fields => None,
        (Lookup::Found(resource), _) => Some(resource),
        (Lookup::SpaFallback(page, _), Outcome::SpaFallback) => Some(page),
        (Lookup::SpaFallback(_, page) | Lookup::NotFound(page), _) => page.as_deref(),
        _ => None,
    }
}
