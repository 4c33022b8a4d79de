//! Validators of a file: the entity tag and the date that tell its states apart.
//!
//! A strong entity tag must change whenever the bytes may have (RFC 9110 section 8.8.1). What can be known of that:
//!
//! - **The bytes themselves**, where they are in memory anyway, are full proof: their tag is a digest of them. Dates do
//!   not matter, so a build may give all files the same date, and two writes may fall into one tick of the clock; every
//!   replica of a release sends the same tag; a file that is restored has its old tag again.
//! - **Metadata** must do for larger files: length, time of the last write (mtime), time of the last change of any kind
//!   (ctime), inode. The ctime is what counts. Any user can set the mtime, and build tools do, to the same for every
//!   release (`SOURCE_DATE_EPOCH`), or to that of another file (`cp -p`, `touch -r`, `rsync -t`); the ctime cannot be
//!   set, and a rename moves it, too. The inode tells two files apart that were made in the same tick and then take
//!   each other's place. The device number is left out: it changes with a reboot, the bytes do not. The tag is a digest
//!   of all that, because a client need not know a file's inode. The price: replicas differ, and a chmod makes a new
//!   tag. With `digests.rs`, which reads all files, the tag depends on the bytes alone. That is not the default, not
//!   even for files that are copied into memory anyway: reading a file at its first request would delay a client that
//!   wants a range of it, or only to know whether it has changed; and with one tag until there is a copy and another
//!   while there is one, the tag would change back and forth with each eviction of the copy, and from worker to worker.
//! - **Within a tick** of the clock after a change, another one could leave no trace. Until then a large file has no
//!   tag: a weak one would not do, since If-None-Match compares weakly.
//! - **Where the ctime is no change time**, because the file system has none (squashfs returns the date of the image's
//!   creation) or counts in whole seconds, large files have no tag, and dates prove nothing. A fraction of a second
//!   shows that it is one. On NFS both times come from the server's clock, as old as the client's caches let them be;
//!   docroot sees what NFS shows.
//!
//! Not seen: stores through a shared, writable memory map, which the kernel dates when the page is first written to,
//! not at each store.
//!
//! A date alone proves less. Last-Modified is sent once its second is over, and a tick, as another write until then
//! could get the same date; and it is a validator only if the ctime lies in the same second, which shows that the date
//! was not set later. Otherwise two releases with one date would be taken for one. A client that has the tag loses
//! nothing, as the tag takes precedence wherever both are sent. One case remains: two directories whose files were
//! written in the same second, one of which takes the other's place later. Renaming a directory, or a link to one,
//! leaves no trace on the files in it. Their tags tell them apart; their dates cannot.

use std::time::{SystemTime, UNIX_EPOCH};

use twox_hash::XxHash3_128;

use super::digests::Digests;
use crate::blob::{Blob, FileVersion, TIMESTAMP_TICK};
use crate::http::{DateStrength, EntityTag, LastModified, Validators, http_date};

/// Seed that keeps digests of metadata apart from those of content.
const METADATA_HASH_SEED: u64 = 0x6669_6c65_7379_7374;

/// Returns the validators of a file with this content, which was of this version at `now` or later. With `digests`,
/// files that are not in memory are tagged by their content, too.
pub(crate) fn validators(
    content: &Blob,
    version: &FileVersion,
    digests: Option<&Digests>,
    now: SystemTime,
) -> Validators {
    Validators {
        tag: tag(content, version, digests, now),
        modified: modified(version, now),
    }
}

/// Returns the validators of content generated from a file: a tag of its bytes and no date, as the file's date does not
/// date it.
pub(crate) fn validators_of_generated(content: &[u8]) -> Validators {
    Validators {
        tag: Some(EntityTag::new(XxHash3_128::oneshot(content))),
        modified: None,
    }
}

/// Returns whether the validators of this version at `now` are the same at any later time: another change would be told
/// apart from the last one, and the strength of the date no longer changes.
pub(crate) fn are_final(version: &FileVersion, now: SystemTime) -> bool {
    let is_over = |past: SystemTime| second(version.modified) < second(past);
    version.is_settled(now) && now.checked_sub(TIMESTAMP_TICK).is_some_and(is_over)
}

fn tag(
    content: &Blob,
    version: &FileVersion,
    digests: Option<&Digests>,
    now: SystemTime,
) -> Option<EntityTag> {
    match (content.in_memory(), digests) {
        (Some(bytes), _) => Some(EntityTag::new(XxHash3_128::oneshot(bytes))),
        (None, Some(digests)) => digests.digest(content, version, now).map(EntityTag::new),
        (None, None) if version.is_settled(now) => {
            let words = [
                i128::from(version.len),
                nanos(version.modified),
                nanos(version.changed),
                i128::from(version.inode),
            ];
            let bytes = words.map(i128::to_le_bytes);
            let digest = XxHash3_128::oneshot_with_seed(METADATA_HASH_SEED, bytes.as_flattened());
            Some(EntityTag::new(digest))
        }
        (None, None) => None,
    }
}

fn modified(version: &FileVersion, now: SystemTime) -> Option<LastModified> {
    http_date(version.modified)?;
    let written = second(version.modified);
    let strength = if written > second(now) {
        // A time in the future is replaced by the present (RFC 9110 section 8.8.2.1).
        DateStrength::Weak
    } else if now
        .checked_sub(TIMESTAMP_TICK)
        .is_none_or(|past| written >= second(past))
    {
        // Until a tick after its second, another write may get this date.
        DateStrength::TooRecent
    } else if version.has_subsecond_ctime() && written == second(version.changed) {
        DateStrength::Strong
    } else {
        DateStrength::Weak
    };
    Some(LastModified {
        date: version.modified.min(now),
        strength,
    })
}

fn second(time: SystemTime) -> i128 {
    nanos(time).div_euclid(1_000_000_000)
}

/// Returns the nanoseconds since 1970, negative before it.
fn nanos(time: SystemTime) -> i128 {
    let signed = |nanos| i128::try_from(nanos).unwrap_or(i128::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => signed(since.as_nanos()),
        Err(before) => -signed(before.duration().as_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn at(millis: i64) -> SystemTime {
        let distance = Duration::from_millis(millis.unsigned_abs());
        match millis < 0 {
            true => UNIX_EPOCH - distance,
            false => UNIX_EPOCH + distance,
        }
    }

    fn version(modified: i64, changed: i64) -> FileVersion {
        FileVersion {
            len: 5,
            modified: at(modified),
            changed: at(changed),
            device: 1,
            inode: 1,
            links: 1,
        }
    }

    fn tag_of_file(version: FileVersion, now: i64) -> Option<EntityTag> {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let is_steady = true;
        let blob = Blob::File {
            file,
            version,
            is_steady,
        };
        tag(&blob, &version, None, at(now))
    }

    #[test]
    fn content_in_memory_is_tagged_by_its_bytes() {
        let tag = |bytes: &[u8], version| tag(&bytes.to_vec().into(), &version, None, at(0));
        let some = tag(b"hello", version(1, 1));
        assert!(some.is_some());
        assert_eq!(some, tag(b"hello", version(99, 77)));
        assert_ne!(some, tag(b"olleh", version(1, 1)));
    }

    #[test]
    fn large_file_is_tagged_by_its_metadata() {
        let some = version(1_001, 5_001);
        let tag = |version| tag_of_file(version, 9_000).unwrap();
        assert_eq!(tag(some), tag(some));
        for other in [
            FileVersion { len: 6, ..some },
            FileVersion {
                modified: at(1_002),
                ..some
            },
            FileVersion {
                changed: at(5_002),
                ..some
            },
            FileVersion { inode: 2, ..some },
        ] {
            assert_ne!(tag(some), tag(other), "{other:?}");
        }
    }

    #[test]
    fn large_file_has_no_tag_before_it_has_settled() {
        assert_eq!(tag_of_file(version(1_001, 5_001), 5_010), None);
        assert_eq!(tag_of_file(version(1_001, 5_001), 4_000), None);
        assert!(tag_of_file(version(1_001, 5_001), 5_100).is_some());
        assert_eq!(
            tag_of_file(version(1_001, 5_000), 99_000),
            None,
            "no fraction"
        );
    }

    #[test]
    fn last_modified_is_strong_if_ctime_agrees_and_its_second_is_over() {
        use DateStrength::{Strong, TooRecent, Weak};
        let check = |written, changed, now, expected: Option<(i64, DateStrength)>| {
            let found = modified(&version(written, changed), at(now));
            let expected = expected.map(|(date, strength)| LastModified {
                date: at(date),
                strength,
            });
            assert_eq!(found, expected, "{written} {changed} at {now}");
        };
        check(1_100, 1_900, 2_020, Some((1_100, Strong)));
        check(1_100, 1_900, 2_019, Some((1_100, TooRecent)));
        check(1_000, 1_000, 9_000, Some((1_000, Weak)));
        check(1_100, 2_000, 3_000, Some((1_100, Weak)));
        check(1_100, 900, 3_000, Some((1_100, Weak)));
        check(5_000, 1_000, 3_000, Some((3_000, Weak)));
        check(0, 0, 3_000, Some((0, Weak)));
        check(0, 1, 3_000, Some((0, Strong)));
        check(0, 1_001, 1_021, Some((0, Weak)));
        check(-1, 1_000, 3_000, None);
    }
}
