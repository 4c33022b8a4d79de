//! What a resource looks like when it is sent.

use std::fmt;
use std::sync::Arc;

use super::coding::Coding;
use super::date::date;
use super::fields::Fields;
use super::validator::{Modified, Strength, Validators};
use crate::blob::Blob;

/// A resource: one thing that a target names, in the forms in which it can be sent.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its representations; the first is the one without a content coding. Never empty.
    pub representations: Vec<Arc<Representation>>,
    /// Whether it depends on the request which of its representations is sent.
    pub varies: bool,
    /// Whether others can be made of the first, each with a coding, if they are asked for.
    pub is_codable: bool,
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
    marks: (usize, usize, usize),
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
            marks: (0, typed, typed),
        }
    }

    /// The same representation with a field that is sent with every response about it, one without content
    /// included: ETag, Cache-Control.
    #[must_use]
    pub fn telling(mut self, name: &str, value: impl fmt::Display) -> Self {
        let grown = self.fields.insert(self.marks.0, name, value);
        let (about, typed, described) = self.marks;
        self.marks = (about + grown, typed + grown, described + grown);
        self
    }

    /// The same representation with a field that is sent only with content, beside its Content-Type:
    /// Last-Modified, Content-Encoding.
    #[must_use]
    pub fn describing(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.marks.2 += self.fields.insert(self.marks.2, name, value);
        self
    }

    /// The same representation as one whose content is in this coding (RFC 9110 section 8.4).
    #[must_use]
    pub fn coded(mut self, coding: Coding) -> Self {
        self.coding = coding;
        match coding {
            Coding::Identity => self,
            _ => self.describing("Content-Encoding", coding.name()),
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
        self = match (validators.tag, date) {
            (Some(tag), None) => self.telling("ETag", tag),
            // Without content it says nothing that the tag does not (RFC 9110 section 15.4.5).
            (Some(tag), Some(date)) => self.telling("ETag", tag).describing("Last-Modified", date),
            (None, Some(date)) => self.telling("Last-Modified", date),
            (None, None) => self,
        };
        self.validators = validators;
        self.describing("Accept-Ranges", "bytes")
    }

    /// The fields of a response without content: what is told of it.
    #[must_use]
    pub fn told(&self) -> &str {
        self.between(0, self.marks.0)
    }

    /// The fields of a response with all of its content, or that withholds it: its length is the last.
    #[must_use]
    pub fn all(&self) -> &str {
        self.fields.as_str()
    }

    /// The fields of a response with a part of its content: all but its length.
    #[must_use]
    pub fn in_part(&self) -> &str {
        self.between(0, self.marks.2)
    }

    /// What describes it, its type and its length left out.
    #[must_use]
    pub fn described(&self) -> &str {
        self.between(self.marks.1, self.marks.2)
    }

    /// The media type of the content, with its parameters.
    #[must_use]
    pub fn media_type(&self) -> &str {
        let line = self.between(self.marks.0, self.marks.1);
        let value = line.strip_prefix("Content-Type: ").unwrap_or_default();
        value.strip_suffix("\r\n").unwrap_or_default()
    }

    fn between(&self, start: usize, end: usize) -> &str {
        self.fields.as_str().get(start..end).unwrap_or_default()
    }
}

impl From<Representation> for Resource {
    fn from(representation: Representation) -> Self {
        Self {
            representations: vec![Arc::new(representation)],
            varies: false,
            is_codable: false,
        }
    }
}
