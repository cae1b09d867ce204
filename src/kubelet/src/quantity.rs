//! Resource quantities ("250m", "64Mi", "1e3") as whole numbers.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

const NANO: i128 = 1_000_000_000;
/// Decimal digits kept right of the point; more are rounded up, as the API does.
const FRACTION_DIGITS: usize = 9;

/// The value in units of 10⁻⁹, or `None` if the text is no quantity.
pub(crate) fn parse_nano(text: &str) -> Option<i128> {
    let text = text.trim();
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nano = whole.checked_mul(NANO)?;
    if !fraction.is_empty() {
        let kept: String = fraction.chars().chain("000000000".chars()).take(FRACTION_DIGITS).collect();
        nano += kept.parse::<i128>().ok()?;
        if fraction.chars().skip(FRACTION_DIGITS).any(|c| c != '0') {
            nano += 1;
        }
    }
    let (multiplier, divisor) = scale(suffix)?;
    let product = nano.checked_mul(multiplier)?;
    let scaled = product / divisor + i128::from(product % divisor != 0);
    Some(if negative { -scaled } else { scaled })
}

fn scale(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, NANO),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let factor = 10_i128.checked_pow(power.unsigned_abs().min(18))?;
            if power >= 0 { (factor, 1) } else { (1, factor) }
        }
    })
}

fn ceil(nano: i128, unit: i128) -> i64 {
    let units = nano / unit + i128::from(nano % unit > 0);
    i64::try_from(units).unwrap_or(i64::MAX)
}

pub(crate) fn millis(quantity: &Quantity) -> i64 {
    ceil(parse_nano(&quantity.0).unwrap_or(0), 1_000_000)
}

pub(crate) fn units(quantity: &Quantity) -> i64 {
    ceil(parse_nano(&quantity.0).unwrap_or(0), NANO)
}

/// `value / divisor`, rounded up: how resourceFieldRef prints.
pub(crate) fn divided(value_nano: i128, divisor: &Quantity) -> i64 {
    let divisor = parse_nano(&divisor.0).filter(|nano| *nano > 0).unwrap_or(NANO);
    ceil(value_nano, divisor)
}

/// One entry of a resource list in milli-units, if set.
pub(crate) fn list_millis(list: Option<&BTreeMap<String, Quantity>>, name: &str) -> Option<i64> {
    list?.get(name).map(millis)
}

/// One entry of a resource list in whole units, if set.
pub(crate) fn list_units(list: Option<&BTreeMap<String, Quantity>>, name: &str) -> Option<i64> {
    list?.get(name).map(units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_every_notation() {
        let quantity = |text: &str| Quantity(text.into());
        assert_eq!(millis(&quantity("250m")), 250);
        assert_eq!(millis(&quantity("1.5")), 1500);
        assert_eq!(millis(&quantity("0.0001")), 1);
        assert_eq!(units(&quantity("64Mi")), 64 << 20);
        assert_eq!(units(&quantity("1e3")), 1000);
        assert_eq!(units(&quantity("1E")), 1_000_000_000_000_000_000);
        assert_eq!(units(&quantity("100m")), 1);
        assert_eq!(parse_nano("12x"), None);
        assert_eq!(parse_nano("Mi"), None);
        assert_eq!(divided(parse_nano("1500m").unwrap(), &quantity("1")), 2);
        assert_eq!(divided(parse_nano("64Mi").unwrap(), &quantity("1Mi")), 64);
    }
}
