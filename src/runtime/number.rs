//! Numbers as messages show them.

use std::fmt::{Display, Formatter, LowerExp, Result};

/// Longer than any number that people write out: those of 64 bits have 20 digits at most.
const MOST: usize = 20;

/// Shows a number as it is where that is short, and 1e300 as that, instead of with 301 digits.
pub struct Short<T>(pub T);

impl<T: Display + LowerExp> Display for Short<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let plain = self.0.to_string();
        if plain.len() <= MOST {
            return f.write_str(&plain);
        }
        write!(f, "{:e}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_numbers_are_shown_short_and_others_as_they_are() {
        for (number, expected) in [
            (0.5, "0.5"),
            (1000.0, "1000"),
            (1.0 / 3.0, "0.3333333333333333"),
            (1e300, "1e300"),
            (-1e300, "-1e300"),
            (f64::MAX, "1.7976931348623157e308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(Short(number).to_string(), expected);
        }
        assert_eq!(Short(i64::MIN).to_string(), i64::MIN.to_string());
        assert_eq!(Short(u64::MAX).to_string(), u64::MAX.to_string());
    }
}
