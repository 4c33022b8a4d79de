//! QR codes of URLs, for a terminal, and the address of this machine that a phone can reach.

use std::net::{IpAddr, SocketAddr};

use fast_qr::{ECL, QRBuilder};

/// Width of the margin around the code, in light modules (ISO/IEC 18004 requires 4).
const MARGIN_MODULES: usize = 4;

/// Escape sequences for black on white, whatever the colours of the terminal, and to end that.
const BLACK_ON_WHITE: &str = "\x1b[30;107m";
const RESET_COLOURS: &str = "\x1b[0m";

/// Renders the QR code of a text, two modules per character; `None` if the text is too long.
pub(crate) fn render(text: &str) -> Option<String> {
    let code = QRBuilder::new(text).ecl(ECL::L).build().ok()?;
    let size = code.size + 2 * MARGIN_MODULES;
    let is_dark = |row: usize, column: usize| {
        let module = row
            .checked_sub(MARGIN_MODULES)
            .zip(column.checked_sub(MARGIN_MODULES));
        module.is_some_and(|(row, column)| {
            row < code.size && column < code.size && code[row][column].value()
        })
    };
    let mut text = String::new();
    for row in (0..size).step_by(2) {
        text += "  ";
        text += BLACK_ON_WHITE;
        for column in 0..size {
            text.push(match (is_dark(row, column), is_dark(row + 1, column)) {
                (false, false) => ' ',
                (true, false) => '\u{2580}',
                (false, true) => '\u{2584}',
                (true, true) => '\u{2588}',
            });
        }
        text += RESET_COLOURS;
        text.push('\n');
    }
    Some(text)
}

/// Returns the listener's address that a phone in the same network can reach; `own` is this machine's network
/// address.
pub(crate) fn reachable_address(
    addresses: &[SocketAddr],
    own: Option<IpAddr>,
) -> Option<SocketAddr> {
    let reachable = |address: &SocketAddr| match address.ip() {
        ip if ip.to_canonical().is_loopback() => None,
        // [::] accepts IPv4 as well, unless another listener does; the address is the same.
        ip if ip.is_unspecified() => match own? {
            own if own.is_ipv6() && ip.is_ipv4() => None,
            own => Some(SocketAddr::new(own, address.port())),
        },
        _ => Some(*address),
    };
    addresses.iter().find_map(reachable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_address_is_not_reachable_for_a_phone() {
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
            assert_eq!(
                reachable_address(&parsed, own),
                expected,
                "{addresses:?} {own:?}"
            );
        }
    }

    #[test]
    fn code_is_square_and_has_finder_patterns() {
        let code = render("http://192.168.100.100:8080/").unwrap();
        let rows: Vec<String> = code
            .lines()
            .map(|line| line.replace(BLACK_ON_WHITE, "").replace(RESET_COLOURS, ""))
            .collect();
        let width = rows[0].trim_start_matches("  ").chars().count().max(33);
        assert_eq!(rows.len(), width.div_ceil(2));
        // The upper rows of two finder patterns, with the margin before, between and after them.
        let finder_patterns = &rows[MARGIN_MODULES / 2];
        assert_eq!(
            finder_patterns
                .matches("\u{2588}\u{2580}\u{2580}\u{2580}\u{2580}\u{2580}\u{2588}")
                .count(),
            2
        );
        assert!(super::render(&"x".repeat(5000)).is_none());
    }
}
