//! Something to serve, and the time at which it is served.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use docroot::blob::Blob;
use docroot::http::{DateStrength, EntityTag, LastModified, Lookup, Representation, Validators};

/// The entity tag of everything that has one here.
pub const TAG: &str = "\"0000000000000000000000000000000a\"";

/// The date of everything that has one here, as [`DATE_TEXT`] says it.
const DATE: Duration = Duration::from_secs(784_111_777);

/// The same as an HTTP date.
pub const DATE_TEXT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// What is known of a resource beside its content.
#[derive(Clone, Copy, Debug)]
pub enum Known {
    /// Nothing.
    Nothing,
    /// A date that others may have.
    Date,
    /// A date that no others have.
    StrongDate,
    /// A tag, and a date that others may have.
    Tag,
}

/// A resource with this content.
#[must_use]
pub fn found(content: &[u8], known: Known) -> Lookup {
    let content = Blob::from(content.to_vec());
    let representation = Representation::new(content, "text/plain");
    let modified = |strength| LastModified {
        date: UNIX_EPOCH + DATE,
        strength,
    };
    let validators = Validators {
        tag: matches!(known, Known::Tag).then(|| EntityTag::new(0xa)),
        modified: match known {
            Known::Nothing => None,
            Known::Date | Known::Tag => Some(modified(DateStrength::Weak)),
            Known::StrongDate => Some(modified(DateStrength::Strong)),
        },
    };
    Lookup::Found(Arc::new(representation.with_validators(validators).into()))
}

/// A time long after everything served here was made.
#[must_use]
pub fn now() -> SystemTime {
    UNIX_EPOCH + 2 * DATE
}

/// So many bytes, in which no two places look the same, and none like the beginning of an answer.
#[must_use]
pub fn filling(len: usize) -> Vec<u8> {
    let lines = (0_u32..).flat_map(|number| format!("{number:07}\n").into_bytes());
    lines.take(len).collect()
}
