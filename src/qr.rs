//! A URL as a QR code for the camera of a phone.

use std::net::{IpAddr, SocketAddr};

use fast_qr::{ECL, QRBuilder};

/// Light modules around the code (ISO/IEC 18004 demands 4).
const MARGIN: usize = 4;

/// Black on white, whatever the terminal's colours are.
const PAPER: &str = "\x1b[30;107m";
const PLAIN: &str = "\x1b[0m";

/// Returns the code of a text, two modules per character; `None` if the text is too long.
pub(crate) fn code(text: &str) -> Option<String> {
    let code = QRBuilder::new(text).ecl(ECL::L).build().ok()?;
    let size = code.size + 2 * MARGIN;
    let is_dark = |row: usize, column: usize| {
        let place = row.checked_sub(MARGIN).zip(column.checked_sub(MARGIN));
        place.is_some_and(|(row, column)| {
            row < code.size && column < code.size && code[row][column].value()
        })
    };
    let mut drawn = String::new();
    for row in (0..size).step_by(2) {
        drawn += "  ";
        drawn += PAPER;
        for column in 0..size {
            drawn.push(match (is_dark(row, column), is_dark(row + 1, column)) {
                (false, false) => ' ',
                (true, false) => '\u{2580}',
                (false, true) => '\u{2584}',
                (true, true) => '\u{2588}',
            });
        }
        drawn += PLAIN;
        drawn.push('\n');
    }
    Some(drawn)
}

/// Returns the listener's address that a phone in the same network can reach; `own` is this machine's network
/// address.
pub(crate) fn reachable(addresses: &[SocketAddr], own: Option<IpAddr>) -> Option<SocketAddr> {
    let reached = |address: &SocketAddr| match address.ip() {
        ip if ip.to_canonical().is_loopback() => None,
        // [::] accepts IPv4 as well, unless another listener does, with the same result.
        ip if ip.is_unspecified() => match own? {
            own if own.is_ipv6() && ip.is_ipv4() => None,
            own => Some(SocketAddr::new(own, address.port())),
        },
        _ => Some(*address),
    };
    addresses.iter().find_map(reached)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_needs_an_address_that_is_not_only_ours() {
        for (addresses, own, expected) in [
            (&["127.0.0.1:80", "[::1]:80"][..], Some("10.0.0.5"), None),
            (&["127.0.0.1:80", "10.0.0.7:81"], None, Some("10.0.0.7:81")),
            (&["[::]:80"], Some("10.0.0.5"), Some("10.0.0.5:80")),
            (&["[::]:80"], Some("fd00::5"), Some("[fd00::5]:80")),
            (&["0.0.0.0:80"], Some("10.0.0.5"), Some("10.0.0.5:80")),
            (&["0.0.0.0:80"], Some("fd00::5"), None),
            (&["0.0.0.0:80"], None, None),
            (&["[::ffff:127.0.0.1]:80"], Some("10.0.0.5"), None),
        ] {
            let parsed: Vec<SocketAddr> = addresses.iter().map(|it| it.parse().unwrap()).collect();
            let own = own.map(|own| own.parse().unwrap());
            let expected = expected.map(|expected| expected.parse().unwrap());
            assert_eq!(reachable(&parsed, own), expected, "{addresses:?} {own:?}");
        }
    }

    #[test]
    fn a_code_is_square_and_has_its_three_eyes() {
        let code = code("http://192.168.100.100:8080/").unwrap();
        let rows: Vec<String> = code
            .lines()
            .map(|line| line.replace(PAPER, "").replace(PLAIN, ""))
            .collect();
        let width = rows[0].trim_start_matches("  ").chars().count().max(33);
        assert_eq!(rows.len(), width.div_ceil(2));
        // The upper rows of two eyes, the margin before, between and behind them.
        let eyes = &rows[MARGIN / 2];
        assert_eq!(
            eyes.matches("\u{2588}\u{2580}\u{2580}\u{2580}\u{2580}\u{2580}\u{2588}")
                .count(),
            2
        );
        assert!(super::code(&"x".repeat(5000)).is_none());
    }
}
