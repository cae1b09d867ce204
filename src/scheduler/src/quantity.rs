//! Quantities as the scheduler counts them. Pure.

/// Thousandths of a unit, rounded up: `100m` is 100, `2` is 2000.
pub(crate) fn milli(text: &str) -> i64 {
    parse(text).map_or(0, |value| clamp((value * 1000.0).ceil()))
}

/// Whole units, rounded up: `1Ki` is 1024.
pub(crate) fn whole(text: &str) -> i64 {
    parse(text).map_or(0, |value| clamp(value.ceil()))
}

fn clamp(value: f64) -> i64 {
    // Casting saturates; quantities near the limits of i64 exist in no cluster.
    value as i64
}

fn parse(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        return Some(number);
    }
    let split = text.find(|letter: char| !letter.is_ascii_digit() && !".+-".contains(letter))?;
    let (number, suffix) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0f64.powi(4),
        "Pi" => 1024.0f64.powi(5),
        "Ei" => 1024.0f64.powi(6),
        _ => return None,
    };
    Some(number * factor)
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
