//! Resources with known validators, and the time of the simulated clock.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use docroot::blob::Blob;
use docroot::http::{DateStrength, EntityTag, LastModified, Lookup, Representation, Validators};

/// Entity tag of every resource that has one.
pub const TAG: &str = "\"0000000000000000000000000000000a\"";

/// Modification time of every resource that has one, since 1970.
const DATE: Duration = Duration::from_secs(784_111_777);

/// [`DATE`] as an HTTP date.
pub const DATE_TEXT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// Validators of a resource.
#[derive(Clone, Copy, Debug)]
pub enum ValidatorKind {
    /// No validators.
    Nothing,
    /// Weak Last-Modified date.
    Date,
    /// Strong Last-Modified date.
    StrongDate,
    /// Entity tag, and a weak Last-Modified date.
    Tag,
}

/// Creates a lookup that finds a resource with this content.
#[must_use]
pub fn found(content: &[u8], kind: ValidatorKind) -> Lookup {
    let content = Blob::from(content.to_vec());
    let representation = Representation::new(content, "text/plain");
    let modified = |strength| LastModified {
        date: UNIX_EPOCH + DATE,
        strength,
    };
    let validators = Validators {
        tag: matches!(kind, ValidatorKind::Tag).then(|| EntityTag::new(0xa)),
        modified: match kind {
            ValidatorKind::Nothing => None,
            ValidatorKind::Date | ValidatorKind::Tag => Some(modified(DateStrength::Weak)),
            ValidatorKind::StrongDate => Some(modified(DateStrength::Strong)),
        },
    };
    Lookup::Found(Arc::new(representation.with_validators(validators).into()))
}

/// Returns a time long after the modification time of all resources.
#[must_use]
pub fn now() -> SystemTime {
    UNIX_EPOCH + 2 * DATE
}

/// Creates content of `len` bytes in which every line is different, and none begins like a response.
#[must_use]
pub fn filler(len: usize) -> Vec<u8> {
    let lines = (0_u32..).flat_map(|number| format!("{number:07}\n").into_bytes());
    lines.take(len).collect()
}
