//! Building of representations and resources from a file's content and its fields.

use std::sync::Arc;

use crate::blob::Blob;
use crate::files::read::seal_copy;
use crate::http::{Coding, Fields, Lookup, Representation, Resource, Validators};
use crate::site::rules::policy::{
    DEFAULT_FIELDS, is_content_encoding, is_content_type, media_type,
};

/// Builds a representation of the content in this coding, whatever `fields` say of it. They contain its Content-Type.
pub(crate) fn represent(content: Blob, coding: Coding, fields: &Fields) -> Representation {
    let representation = Representation::new(content, media_type(fields));
    let is_other = |name: &str| !is_content_type(name) && !is_content_encoding(name);
    let others = fields.lines().filter(|(name, _)| is_other(name));
    let representation = others.fold(representation, |all, line| match line {
        // A client that gets a 304 has received these with the stored response.
        (name, value) if DEFAULT_FIELDS.contains(&line) => all.with_content_field(name, value),
        (name, value) => all.with_metadata_field(name, value),
    });
    representation.with_coding(coding)
}

/// Adds validators, and Vary if the resource varies by Accept-Encoding.
pub(crate) fn with_validators(
    representation: Representation,
    validators: Option<Validators>,
    varies: bool,
) -> Representation {
    let representation = match varies {
        true => representation.with_metadata_field("Vary", "Accept-Encoding"),
        false => representation,
    };
    match validators {
        // Last-Modified is the same for all codings.
        Some(validators) if varies => representation.with_validators(validators.weakened()),
        Some(validators) => representation.with_validators(validators),
        None => representation,
    }
}

/// Rebuilds a resource with other fields, and without validators unless it is a representation of the target
/// (`is_asked_for`).
pub(crate) fn with_fields(
    resource: &Resource,
    fields: impl Fn(&Representation) -> Fields,
    is_asked_for: bool,
) -> Resource {
    let rebuild = |original: &Arc<Representation>| {
        let fields = fields(original);
        let representation = represent(original.content.clone(), original.coding, &fields);
        let validators = is_asked_for.then(|| original.validators.clone());
        Arc::new(with_validators(representation, validators, resource.varies))
    };
    Resource {
        name: resource.name.clone(),
        representations: resource.representations.iter().map(rebuild).collect(),
        ..*resource
    }
}

/// Replaces content on disk by copies in memory, for a target that is requested repeatedly. Returns `None` if there is
/// nothing to copy or copying fails; the content is then sent from disk as before.
pub(crate) fn with_sealed_content(lookup: &Lookup) -> Option<Lookup> {
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
            let copy = seal_copy(file, version).ok()?;
            Arc::make_mut(representation).content = copy;
        }
    }
    Some(Lookup::Found(Arc::new(resource)))
}
