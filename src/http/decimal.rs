//! Decimal formatting of numbers, without `core::fmt`.

/// Appends a number.
pub(crate) fn push(mut number: u64, into: &mut Vec<u8>) {
    // `u64::MAX` has 20 digits.
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        first -= 1;
        if number == 0 {
            break;
        }
    }
    into.extend_from_slice(digits.get(first..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_matches_std_formatting() {
        for number in [0, 9, 10, 99, 100, 65_536, 10_000_000_000, u64::MAX] {
            let mut digits = b"x".to_vec();
            push(number, &mut digits);
            assert_eq!(digits, format!("x{number}").as_bytes());
        }
    }
}
