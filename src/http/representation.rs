//! What a resource looks like when it is sent.

use std::sync::Arc;

use super::date::date;
use super::fields::Fields;
use super::validator::{Modified, Strength, Validators};
use crate::blob::Blob;

/// A resource: one thing that a target names, in the forms in which it can be sent.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its representations; the first is the one without a content coding. Never empty.
    pub representations: Vec<Arc<Representation>>,
}

/// One form of a resource (RFC 9110 section 3.2): its content and the fields that go with it.
#[derive(Clone, Debug)]
pub struct Representation {
    /// The content. It is carried like a sealed letter: never opened here.
    pub content: Blob,
    /// The media type of the content, with its parameters.
    pub media_type: String,
    /// What tells this content from what was, or will be, in its place.
    pub validators: Validators,
    /// Sent with every response about it, one without content included: ETag, Cache-Control.
    pub about: Fields,
    /// Sent only with content, beside its Content-Type: Last-Modified, Accept-Ranges.
    pub describing: Fields,
}

impl Representation {
    /// A representation of this media type, which a recipient is not to guess at.
    #[must_use]
    pub fn new(content: Blob, media_type: &str) -> Self {
        Self {
            content,
            media_type: media_type.to_owned(),
            validators: Validators::default(),
            about: Fields::new(),
            describing: Fields::new().with("X-Content-Type-Options", "nosniff"),
        }
    }

    /// The same representation as one of a target that may be asked for again, if it has not changed
    /// (ETag, Last-Modified) or in part (Accept-Ranges).
    #[must_use]
    pub fn with(mut self, validators: Validators) -> Self {
        let told = |modified: Modified| match modified.strength {
            Strength::Fleeting => None,
            Strength::Strong | Strength::Weak => date(modified.date),
        };
        let date = validators.modified.and_then(told);
        match (validators.tag, date) {
            (Some(tag), date) => {
                self.about.push("ETag", tag);
                // Without content it says nothing that the tag does not (RFC 9110 section 15.4.5).
                if let Some(date) = date {
                    self.describing.push("Last-Modified", date);
                }
            }
            (None, Some(date)) => self.about.push("Last-Modified", date),
            (None, None) => {}
        }
        self.describing.push("Accept-Ranges", "bytes");
        self.validators = validators;
        self
    }
}

impl From<Representation> for Resource {
    fn from(representation: Representation) -> Self {
        Self {
            representations: vec![Arc::new(representation)],
        }
    }
}
