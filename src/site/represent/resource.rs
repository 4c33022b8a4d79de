//! Building of representations and resources from a file's content and its fields.

use std::sync::Arc;

use crate::blob::Blob;
use crate::files::read::seal_copy;
use crate::http::{Coding, Fields, Lookup, Representation, Resource, Validators};
use crate::site::rules::policy::{
    DEFAULT_FIELDS, is_content_encoding, is_content_type, media_type,
};

/// Builds a representation of the content in this coding, whatever `fields` say of it, with validators if it has any,
/// and with Vary if the resource `varies` by Accept-Encoding. `fields` contains its Content-Type.
pub(crate) fn represent(
    content: Blob,
    coding: Coding,
    fields: &Fields,
    validators: Option<Validators>,
    varies: bool,
) -> Representation {
    let representation = Representation::new(content, media_type(fields));
    let is_other = |name: &str| !is_content_type(name) && !is_content_encoding(name);
    let others = fields.lines().filter(|(name, _)| is_other(name));
    let representation = others.fold(representation, |all, line| match line {
        // A client that gets a 304 has received these with the stored response.
        (name, value) if DEFAULT_FIELDS.contains(&line) => all.with_content_field(name, value),
        (name, value) => all.with_metadata_field(name, value),
    });
    let mut representation = representation.with_coding(coding);
    if varies {
        representation = representation.with_metadata_field("Vary", "Accept-Encoding");
    }
    match validators {
        // Last-Modified is the same for all codings.
        Some(validators) if varies => representation.with_validators(validators.weakened()),
        Some(validators) => representation.with_validators(validators),
        None => representation,
    }
}

/// Rebuilds a resource with other fields, and without validators unless it is a representation of the target
/// (`represents_target`).
pub(crate) fn with_fields(
    resource: &Resource,
    fields: impl Fn(&Representation) -> Fields,
    represents_target: bool,
) -> Resource {
    let rebuild = |original: &Arc<Representation>| {
        let validators = represents_target.then(|| original.validators.clone());
        let content = original.content.clone();
        let fields = fields(original);
        Arc::new(represent(
            content,
            original.coding,
            &fields,
            validators,
            resource.varies,
        ))
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
