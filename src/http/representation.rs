//! Resources and their representations.

use std::fmt;
use std::sync::Arc;

use super::coding::Coding;
use super::date::http_date;
use super::fields::Fields;
use super::validator::{DateStrength, LastModified, Validators};
use crate::blob::Blob;

/// A resource: what a target identifies, with its representations.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Name for messages: the path of its file below the root; empty if it is generated.
    pub name: Vec<u8>,
    /// Representations; the first is the file itself, which has no content coding unless a rule says so. Never empty.
    pub representations: Vec<Arc<Representation>>,
    /// Whether the representation sent depends on the request.
    pub varies: bool,
    /// Whether the first can be compressed into others, on request.
    pub is_encodable: bool,
}

/// A representation of a resource (RFC 9110 section 3.2): its content and the fields that go with it.
///
/// The fields are rendered into one string as they are added, so writing a response copies that string, or its
/// beginning.
#[derive(Clone, Debug)]
pub struct Representation {
    /// Content. It is never read here.
    pub content: Blob,
    /// Content coding of the content.
    pub coding: Coding,
    /// Validators, which distinguish this content from earlier and later content of the target.
    pub validators: Validators,
    /// Metadata fields, Content-Type, content fields, and Content-Length, in this order.
    fields: Fields,
    /// Offsets in `fields`: start and end of Content-Type, start of Content-Length.
    type_start: usize,
    type_end: usize,
    length_start: usize,
}

impl Representation {
    /// Creates a representation of this media type, without a coding.
    #[must_use]
    pub fn new(content: Blob, media_type: &str) -> Self {
        let fields = Fields::new().with("Content-Type", media_type);
        let type_end = fields.as_str().len();
        let fields = fields.with("Content-Length", content.len());
        Self {
            content,
            coding: Coding::Identity,
            validators: Validators::default(),
            fields,
            type_start: 0,
            type_end,
            length_start: type_end,
        }
    }

    /// Adds a field that every response with this representation has, even one without content: ETag, Cache-Control.
    #[must_use]
    pub fn with_metadata_field(mut self, name: &str, value: impl fmt::Display) -> Self {
        let grown = self.fields.insert(self.type_start, name, value);
        self.type_start += grown;
        self.type_end += grown;
        self.length_start += grown;
        self
    }

    /// Adds a field that only responses with content have, as they have Content-Type: Last-Modified, Content-Encoding.
    #[must_use]
    pub fn with_content_field(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.length_start += self.fields.insert(self.length_start, name, value);
        self
    }

    /// Declares the content to be in this coding (RFC 9110 section 8.4).
    #[must_use]
    pub fn with_coding(mut self, coding: Coding) -> Self {
        self.coding = coding;
        match coding {
            Coding::Identity => self,
            _ => self.with_content_field("Content-Encoding", coding.name()),
        }
    }

    /// Adds validators (ETag, Last-Modified) for conditional requests, and Accept-Ranges for range requests.
    #[must_use]
    pub fn with_validators(mut self, validators: Validators) -> Self {
        let sent_date = |modified: LastModified| match modified.strength {
            DateStrength::TooRecent => None,
            DateStrength::Strong | DateStrength::Weak => http_date(modified.date),
        };
        let date = validators.modified.and_then(sent_date);
        self = match (validators.tag, date) {
            (Some(tag), None) => self.with_metadata_field("ETag", tag),
            // Without content it adds nothing to the tag (RFC 9110 section 15.4.5).
            (Some(tag), Some(date)) => self
                .with_metadata_field("ETag", tag)
                .with_content_field("Last-Modified", date),
            (None, Some(date)) => self.with_metadata_field("Last-Modified", date),
            (None, None) => self,
        };
        self.validators = validators;
        self.with_content_field("Accept-Ranges", "bytes")
    }

    /// Fields of a response without content: the metadata fields.
    #[must_use]
    pub fn metadata_fields(&self) -> &str {
        self.fields_between(0, self.type_start)
    }

    /// Fields of a response with all of the content, or to HEAD: Content-Length is the last.
    #[must_use]
    pub fn full_fields(&self) -> &str {
        self.fields.as_str()
    }

    /// Fields of a response with a part of the content: all but Content-Length.
    #[must_use]
    pub fn partial_fields(&self) -> &str {
        self.fields_between(0, self.length_start)
    }

    /// Content fields, without Content-Type and Content-Length.
    #[must_use]
    pub fn content_fields(&self) -> &str {
        self.fields_between(self.type_end, self.length_start)
    }

    /// Media type of the content, with its parameters.
    #[must_use]
    pub fn media_type(&self) -> &str {
        let line = self.fields_between(self.type_start, self.type_end);
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
            name: Vec::new(),
            representations: vec![Arc::new(representation)],
            varies: false,
            is_encodable: false,
        }
    }
}
