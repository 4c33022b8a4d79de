//! Description of the sandbox in force, for the banner, `--check` and error messages.

use docroot::server::sandbox::{Confinement, Unconfined};

use super::exit_codes::Failure;

/// Returns the degree of confinement in words, in one line.
pub(super) fn describe_confinement(confinement: &Confinement) -> String {
    match confinement {
        Confinement::Off => "not confined (--sandbox off)".to_owned(),
        Confinement::None(why) => format!("not confined: {why}"),
        Confinement::Landlock {
            abi,
            unsupported,
            reads_everywhere,
        } => {
            let degree = if unsupported.is_empty() {
                ""
            } else {
                "partly "
            };
            let mut text = format!("{degree}confined by Landlock {abi}");
            if *reads_everywhere {
                text += ", but may read everything (--symlinks follow)";
            }
            if !unsupported.is_empty() {
                text = text + ", which cannot forbid " + &unsupported.join(", nor ");
            }
            text
        }
    }
}

impl From<Unconfined> for Failure {
    fn from(Unconfined(confinement): Unconfined) -> Self {
        let confinement = describe_confinement(&confinement);
        Self::at_run_time(format!(
            "--sandbox on: {confinement}; the whole sandbox needs Linux 6.7; --sandbox auto uses what the kernel has"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confinement_is_described() {
        let landlock =
            |abi, unsupported: &[&'static str], reads_everywhere| Confinement::Landlock {
                abi,
                unsupported: unsupported.to_vec(),
                reads_everywhere,
            };
        let (files, tcp) = ("to cut files off", "to bind and to connect over TCP");
        for (confinement, text) in [
            (Confinement::Off, "not confined (--sandbox off)"),
            (
                Confinement::None("it is too old".into()),
                "not confined: it is too old",
            ),
            (
                landlock(1, &[files, tcp], false),
                "partly confined by Landlock 1, which cannot forbid to cut files off, \
                 nor to bind and to connect over TCP",
            ),
            (
                landlock(3, &[tcp], false),
                "partly confined by Landlock 3, which cannot forbid to bind and to connect over TCP",
            ),
            (landlock(4, &[], false), "confined by Landlock 4"),
            (
                landlock(7, &[], true),
                "confined by Landlock 7, but may read everything (--symlinks follow)",
            ),
        ] {
            assert_eq!(describe_confinement(&confinement), text);
        }
    }
}
