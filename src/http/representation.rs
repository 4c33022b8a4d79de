//! What a resource looks like when it is sent.

use std::sync::Arc;

use super::fields::Fields;
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
    /// Sent with every response about it, one without content included: Last-Modified.
    pub about: Fields,
    /// Sent only with content: Content-Type.
    pub describing: Fields,
}

impl Representation {
    /// A representation of this media type, which a recipient is not to guess at.
    #[must_use]
    pub fn new(content: Blob, media_type: &str) -> Self {
        let describing = Fields::new()
            .with("Content-Type", media_type)
            .with("X-Content-Type-Options", "nosniff");
        Self {
            content,
            about: Fields::new(),
            describing,
        }
    }
}

impl From<Representation> for Resource {
    fn from(representation: Representation) -> Self {
        Self {
            representations: vec![Arc::new(representation)],
        }
    }
}
