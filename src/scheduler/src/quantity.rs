//! Quantities as the scheduler counts them; a text that is none counts nothing. Pure.

use naru_api::quantity::Quantity;

/// Thousandths of a unit, rounded up: `100m` is 100, `2` is 2000.
pub(crate) fn milli(text: &str) -> i64 {
    Quantity::parse(text.trim()).map_or(0, Quantity::milli_value)
}

/// Whole units, rounded up: `1Ki` is 1024.
pub(crate) fn whole(text: &str) -> i64 {
    Quantity::parse(text.trim()).map_or(0, Quantity::value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, expected) in [("100m", 100), ("2", 2000), ("0.5", 500), ("1500u", 2), ("1e3", 1_000_000), ("x", 0)] {
            assert_eq!(milli(text), expected, "{text}");
        }
        for (text, expected) in [("1Ki", 1024), ("1.5Gi", 1_610_612_736), ("10M", 10_000_000), ("100m", 1), ("7", 7)] {
            assert_eq!(whole(text), expected, "{text}");
        }
    }
}
