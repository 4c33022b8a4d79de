//! A file's content, and the fields that go with it -> a resource.

use std::sync::Arc;

use super::disk::seal;
use super::policy::{DEFAULTS, is_type, media_type};
use crate::blob::Blob;
use crate::http::{Coding, Fields, Lookup, Representation, Resource, Validators};

/// A representation that goes with these fields, its type among them.
pub(super) fn represent(content: Blob, coding: Coding, fields: &Fields) -> Representation {
    let representation = Representation::new(content, media_type(fields));
    let others = fields.lines().filter(|(name, _)| !is_type(name));
    let told = others.fold(representation, |all, line| match line {
        // Whoever is told that nothing has changed has been told that.
        (name, value) if DEFAULTS.contains(&line) => all.describing(name, value),
        (name, value) => all.telling(name, value),
    });
    told.coded(coding)
}

/// A representation with all that is said of it.
pub(super) fn finished(
    representation: Representation,
    validators: Option<Validators>,
    varies: bool,
) -> Representation {
    let representation = match varies {
        true => representation.telling("Vary", "Accept-Encoding"),
        false => representation,
    };
    match validators {
        // A date does not tell one coding from another.
        Some(validators) if varies => representation.with(validators.weakened()),
        Some(validators) => representation.with(validators),
        None => representation,
    }
}

/// The same with other fields; without validators, if it is no representation of what was asked for.
pub(super) fn again(
    resource: &Resource,
    fields: impl Fn(&Representation) -> Fields,
    is_asked_for: bool,
) -> Resource {
    let again = |former: &Arc<Representation>| {
        let fields = fields(former);
        let representation = represent(former.content.clone(), former.coding, &fields);
        let validators = is_asked_for.then(|| former.validators.clone());
        Arc::new(finished(representation, validators, resource.varies))
    };
    Resource {
        representations: resource.representations.iter().map(again).collect(),
        ..*resource
    }
}

/// The same, with what is on disk sent from copies in memory: it is asked for again. Where that cannot be, it is
/// sent as it was before.
pub(super) fn sealed(lookup: &Lookup) -> Option<Lookup> {
    let Lookup::Found(resource) = lookup else {
        return None;
    };
    let is_on_disk = |each: &Arc<Representation>| matches!(each.content, Blob::File { .. });
    if !resource.representations.iter().any(is_on_disk) {
        return None;
    }
    let mut resource = Resource::clone(resource);
    for representation in &mut resource.representations {
        if let Blob::File { file, version, .. } = &representation.content {
            let copy = seal(file, version).ok()?;
            Arc::make_mut(representation).content = copy;
        }
    }
    Some(Lookup::Found(Arc::new(resource)))
}
