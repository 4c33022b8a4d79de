//! Natural order of names: numbers in them compare by value.

use std::cmp::Ordering;

/// Compares two names: digits by their number, ASCII letters without regard to case, all other bytes by value. No
/// two different names are equal: names that differ only in case or leading zeros compare by their bytes.
pub(super) fn compare(left: &[u8], right: &[u8]) -> Ordering {
    let (mut a, mut b) = (left, right);
    loop {
        let order = match (a, b) {
            ([], []) => return left.cmp(right),
            ([x, ..], [y, ..]) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (x, y) = (take_number(&mut a), take_number(&mut b));
                // Without leading zeros, the longer number is the larger one.
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

/// Takes the digits at the front, and returns them without leading zeros.
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
        for (position, left) in names.iter().enumerate() {
            for (other, right) in names.iter().enumerate() {
                let names_text = format!("{} {}", left.escape_ascii(), right.escape_ascii());
                assert_eq!(compare(left, right), position.cmp(&other), "{names_text}");
            }
        }
    }
}
