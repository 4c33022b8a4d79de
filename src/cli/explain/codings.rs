//! The content codings of a response, and the reasons why each is sent or not.

use std::sync::Arc;

use docroot::escape::TerminalText;
use docroot::http::{
    AcceptEncoding, Coding, CodingReason, Lookup, Request, Resource, Response, coding_reasons,
};
use docroot::site::TraceEvent;

use super::report::CodingOffer;

/// Returns the content codings of the resource, and for each the reason why it is sent or not.
pub(super) fn coding_offers(
    request: &Request<'_>,
    response: &Response,
    lookup: &Lookup,
    events: &[TraceEvent],
) -> Vec<CodingOffer> {
    let Some(resource) = sent_resource(response, lookup) else {
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

/// Returns the resource of the representation that is sent.
fn sent_resource<'a>(response: &Response, lookup: &'a Lookup) -> Option<&'a Resource> {
    let sent = response.representation.as_ref()?;
    let is_sent = |resource: &&Arc<Resource>| {
        let mut representations = resource.representations.iter();
        representations.any(|each| Arc::ptr_eq(each, sent))
    };
    let resources: [Option<&Arc<Resource>>; 2] = match lookup {
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
