//! What a resource looks like when it is sent.

use std::fmt;
use std::sync::Arc;

use super::coding::Coding;
use super::date::http_date;
use super::fields::Fields;
use super::validator::{DateStrength, LastModified, Validators};
use crate::blob::Blob;

/// A resource: one thing that a target names, in the forms in which it can be sent.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its representations; the first is the one without a content coding. Never empty.
    pub representations: Vec<Arc<Representation>>,
    /// Whether it depends on the request which of its representations is sent.
    pub varies: bool,
    /// Whether others can be made of the first, each with a coding, if they are asked for.
    pub is_encodable: bool,
}

/// One form of a resource (RFC 9110 section 3.2): its content and the fields that go with it.
///
/// The fields are rendered, in one piece, when they are added: a response is written by copying that, or the
/// beginning of it.
#[derive(Clone, Debug)]
pub struct Representation {
    /// The content. It is carried like a sealed letter: never opened here.
    pub content: Blob,
    /// The coding that the content is in.
    pub coding: Coding,
    /// What tells this content from what was, or will be, in its place.
    pub validators: Validators,
    /// What is told of it, what its type is, what describes it, and its length: one after the other.
    fields: Fields,
    /// Where in `fields` its type begins, where that ends, and where its length begins.
    offsets: (usize, usize, usize),
}

impl Representation {
    /// A representation of this media type, without a coding.
    #[must_use]
    pub fn new(content: Blob, media_type: &str) -> Self {
        let fields = Fields::new().with("Content-Type", media_type);
        let typed = fields.as_str().len();
        let fields = fields.with("Content-Length", content.len());
        Self {
            content,
            coding: Coding::Identity,
            validators: Validators::default(),
            fields,
            offsets: (0, typed, typed),
        }
    }

    /// The same representation with a field that is sent with every response about it, one without content
    /// included: ETag, Cache-Control.
    #[must_use]
    pub fn with_metadata_field(mut self, name: &str, value: impl fmt::Display) -> Self {
        let grown = self.fields.insert(self.offsets.0, name, value);
        let (about, typed, described) = self.offsets;
        self.offsets = (about + grown, typed + grown, described + grown);
        self
    }

    /// The same representation with a field that is sent only with content, beside its Content-Type:
    /// Last-Modified, Content-Encoding.
    #[must_use]
    pub fn with_content_field(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.offsets.2 += self.fields.insert(self.offsets.2, name, value);
        self
    }

    /// The same representation as one whose content is in this coding (RFC 9110 section 8.4).
    #[must_use]
    pub fn with_coding(mut self, coding: Coding) -> Self {
        self.coding = coding;
        match coding {
            Coding::Identity => self,
            _ => self.with_content_field("Content-Encoding", coding.name()),
        }
    }

    /// The same representation as one of a target that may be asked for again, if it has not changed
    /// (ETag, Last-Modified) or in part (Accept-Ranges).
    #[must_use]
    pub fn with_validators(mut self, validators: Validators) -> Self {
        let told = |modified: LastModified| match modified.strength {
            DateStrength::TooRecent => None,
            DateStrength::Strong | DateStrength::Weak => http_date(modified.date),
        };
        let date = validators.modified.and_then(told);
        self = match (validators.tag, date) {
            (Some(tag), None) => self.with_metadata_field("ETag", tag),
            // Without content it says nothing that the tag does not (RFC 9110 section 15.4.5).
            (Some(tag), Some(date)) => self
                .with_metadata_field("ETag", tag)
                .with_content_field("Last-Modified", date),
            (None, Some(date)) => self.with_metadata_field("Last-Modified", date),
            (None, None) => self,
        };
        self.validators = validators;
        self.with_content_field("Accept-Ranges", "bytes")
    }

    /// The fields of a response without content: what is told of it.
    #[must_use]
    pub fn metadata_fields(&self) -> &str {
        self.fields_between(0, self.offsets.0)
    }

    /// The fields of a response with all of its content, or that withholds it: its length is the last.
    #[must_use]
    pub fn full_fields(&self) -> &str {
        self.fields.as_str()
    }

    /// The fields of a response with a part of its content: all but its length.
    #[must_use]
    pub fn partial_fields(&self) -> &str {
        self.fields_between(0, self.offsets.2)
    }

    /// What describes it, its type and its length left out.
    #[must_use]
    pub fn content_fields(&self) -> &str {
        self.fields_between(self.offsets.1, self.offsets.2)
    }

    /// The media type of the content, with its parameters.
    #[must_use]
    pub fn media_type(&self) -> &str {
        let line = self.fields_between(self.offsets.0, self.offsets.1);
        let value = line.strip_prefix("Content-Type: ").unwrap_or_default();
        value.strip_suffix("\r\n").unwrap_or_default()
    }

    fn fields_between(&self, start: usize, end: usize) -> &str {
        self.fields.as_str().get(start..end).unwrap_or_default()
    }
}

impl From<Representation> for Resource {
    fn from(representation: Representation) -> Self {
        Self {
            representations: vec![Arc::new(representation)],
            varies: false,
            is_encodable: false,
        }
    }
}
