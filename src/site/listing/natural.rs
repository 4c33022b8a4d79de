//! Names in the order in which people count.

use std::cmp::Ordering;

/// Compares two names: digits by the number they make, letters of ASCII without regard to case, all other
/// bytes as they are. No two names are equal: what differs only in case or in leading zeros is in the order of
/// its bytes.
pub(super) fn compare(left: &[u8], right: &[u8]) -> Ordering {
    let (mut a, mut b) = (left, right);
    loop {
        let order = match (a, b) {
            ([], []) => return left.cmp(right),
            ([x, ..], [y, ..]) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (x, y) = (take_number(&mut a), take_number(&mut b));
                // Without leading zeros, the longer one is the larger one.
                x.len().cmp(&y.len()).then_with(|| x.cmp(y))
            }
            ([x, after @ ..], [y, behind @ ..]) => {
                (a, b) = (after, behind);
                x.to_ascii_lowercase().cmp(&y.to_ascii_lowercase())
            }
            (a, b) => a.len().cmp(&b.len()),
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Takes the digits at the front, and gives them without leading zeros.
fn take_number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let end = text.iter().position(|byte| !is_digit(byte));
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    *text = rest;
    let start = digits.iter().position(|&byte| byte != b'0');
    &digits[start.unwrap_or(digits.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_in_natural_order() {
        let names: &[&[u8]] = &[
            b"",
            b"-",
            b"0",
            b"00",
            b"01",
            b"1",
            b"2",
            b"10",
            b"18446744073709551616",
            b"100000000000000000000",
            b"A",
            b"a",
            b"a 2.txt",
            b"a 10.txt",
            b"a1b2",
            b"a1b10",
            b"a01b11",
            b"B",
            b"chapter-9",
            b"chapter-10",
            b"chapter-10a",
            b"file.txt",
            b"file1.txt",
            b"\xc3\xa9",
            b"\xff",
        ];
        for (place, left) in names.iter().enumerate() {
            for (other, right) in names.iter().enumerate() {
                let said = format!("{} {}", left.escape_ascii(), right.escape_ascii());
                assert_eq!(compare(left, right), place.cmp(&other), "{said}");
            }
        }
    }
}
