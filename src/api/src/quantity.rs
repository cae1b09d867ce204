//! Resource quantities (`500m`, `1.5Gi`, `2e3`): parsing, arithmetic and the one canonical spelling the API writes
//! back.

use serde_json::Value;
use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Sub};

const NANO: i128 = 1_000_000_000;
/// Larger numbers are capped, as upstream does.
const LARGEST: i128 = i64::MAX as i128 * NANO;
const DECIMAL: &[(&str, i32)] =
    &[("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: &[(&str, u32)] = &[("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// A fixed-point number with the family of suffixes it was written in.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Binary,
    Decimal,
    Exponent,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct QuantityError;

impl Quantity {
    pub const ZERO: Self = Self { nano: 0, format: Format::Decimal };

    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let split = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
        let (number, suffix) = text.split_at(split);
        let (negative, digits) = match number.as_bytes().first() {
            Some(b'-') => (true, &number[1..]),
            Some(b'+') => (false, &number[1..]),
            _ => (false, number),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
            return Err(QuantityError);
        }
        let (format, exponent, shift) = parse_suffix(suffix)?;
        let magnitude = scale(whole, fraction, exponent, shift).min(LARGEST);
        Ok(Self { nano: if negative { -magnitude } else { magnitude }, format })
    }

    /// From JSON: a string, or a bare number; null is zero.
    pub fn from_json(value: &Value) -> Result<Self, QuantityError> {
        match value {
            Value::Null => Ok(Self::ZERO),
            Value::String(text) => Self::parse(text),
            Value::Number(number) => Self::parse(&number.to_string()),
            _ => Err(QuantityError),
        }
    }

    pub fn from_units(units: i64) -> Self {
        Self { nano: i128::from(units) * NANO, format: Format::Decimal }
    }

    pub fn from_milli(milli: i64) -> Self {
        Self { nano: i128::from(milli) * (NANO / 1000), format: Format::Decimal }
    }

    pub fn from_bytes(bytes: i64) -> Self {
        Self { nano: i128::from(bytes) * NANO, format: Format::Binary }
    }

    /// Whole units, rounded up.
    pub fn value(self) -> i64 {
        ceiling(self.nano, NANO)
    }

    /// Thousandths, rounded up.
    pub fn milli_value(self) -> i64 {
        ceiling(self.nano, NANO / 1000)
    }

    pub fn is_zero(self) -> bool {
        self.nano == 0
    }

    pub fn is_negative(self) -> bool {
        self.nano < 0
    }

    /// Whether it has no fraction of a unit.
    pub fn is_whole(self) -> bool {
        self.nano % NANO == 0
    }
}

/// The canonical spelling of a quantity in JSON, or the text unchanged when it is none.
pub fn canonical(value: &Value) -> Value {
    Quantity::from_json(value).map_or_else(|_| value.clone(), |quantity| Value::String(quantity.to_string()))
}

fn ceiling(nano: i128, unit: i128) -> i64 {
    let whole = nano.div_euclid(unit) + i128::from(nano.rem_euclid(unit) != 0);
    whole.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

fn parse_suffix(suffix: &str) -> Result<(Format, i32, u32), QuantityError> {
    if let Some((_, shift)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Ok((Format::Binary, 0, *shift));
    }
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok((Format::Decimal, *exponent, 0));
    }
    let digits = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError)?;
    let exponent: i32 = digits.parse().map_err(|_| QuantityError)?;
    Ok((Format::Exponent, exponent, 0))
}

/// digits × 10^exponent × 2^shift in billionths, rounded up; saturates.
fn scale(whole: &str, fraction: &str, exponent: i32, shift: u32) -> i128 {
    let mut mantissa: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        mantissa = mantissa.saturating_mul(10).saturating_add(i128::from(digit - b'0'));
    }
    let power = exponent - i32::try_from(fraction.len()).unwrap_or(i32::MAX) + 9;
    let factor = 1_i128 << shift;
    if power >= 0 {
        let ten = 10_i128.checked_pow(power.unsigned_abs()).unwrap_or(i128::MAX);
        return mantissa.saturating_mul(factor).saturating_mul(ten);
    }
    let Some(divisor) = 10_i128.checked_pow(power.unsigned_abs()) else {
        return i128::from(mantissa != 0);
    };
    let product = mantissa.saturating_mul(factor);
    product / divisor + i128::from(product % divisor != 0)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        let small = self.nano.abs() < 1024 * NANO;
        match self.format {
            Format::Binary if !small && self.is_whole() => {
                let units = self.nano / NANO;
                let fits = |(_, shift): &&(&str, u32)| units % (1_i128 << shift) == 0;
                match BINARY.iter().rev().find(fits) {
                    Some((suffix, shift)) => write!(f, "{}{suffix}", units >> shift),
                    None => write!(f, "{units}"),
                }
            }
            Format::Exponent => {
                let (digits, exponent) = decimal_parts(self.nano);
                if exponent == 0 { write!(f, "{digits}") } else { write!(f, "{digits}e{exponent}") }
            }
            _ => {
                let (digits, exponent) = decimal_parts(self.nano);
                let suffix = DECIMAL.iter().find(|(_, power)| *power == exponent).map_or("", |(suffix, _)| *suffix);
                write!(f, "{digits}{suffix}")
            }
        }
    }
}

/// The shortest integer and the power of a thousand that give the number.
fn decimal_parts(nano: i128) -> (i128, i32) {
    let (mut digits, mut exponent) = (nano, -9);
    while exponent < 18 && digits % 1000 == 0 {
        digits /= 1000;
        exponent += 3;
    }
    (digits, exponent)
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let format = if self.nano == 0 { other.format } else { self.format };
        Self { nano: (self.nano + other.nano).clamp(-LARGEST, LARGEST), format }
    }
}

impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let format = if self.nano == 0 { other.format } else { self.format };
        Self { nano: (self.nano - other.nano).clamp(-LARGEST, LARGEST), format }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn canonical_spellings() {
        let cases = [
            ("0", "0"),
            ("0Ki", "0"),
            ("1", "1"),
            ("1000m", "1"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("1.5", "1500m"),
            ("100m", "100m"),
            ("1500m", "1500m"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("1536Mi", "1536Mi"),
            ("1.5Gi", "1536Mi"),
            ("0.1Gi", "107374182400m"),
            ("512", "512"),
            ("0.5Ki", "512"),
            ("1e3", "1e3"),
            ("12e6", "12e6"),
            ("1E3", "1e3"),
            ("2E", "2E"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("-1", "-1"),
            ("+2", "2"),
            ("1G", "1G"),
            ("128974848", "128974848"),
            ("5.", "5"),
            ("64Ki", "64Ki"),
        ];
        for (text, expected) in cases {
            assert_eq!(Quantity::parse(text).map(|q| q.to_string()).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn wrong_spellings() {
        for text in ["", "a", "1x", "1 Gi", "1.2.3", "--1", "Gi", "1e", "1ki", "."] {
            assert_eq!(Quantity::parse(text), Err(QuantityError), "{text:?}");
        }
    }

    #[test]
    fn values_round_up_and_compare() {
        let parse = |text| Quantity::parse(text).unwrap();
        assert_eq!(parse("1500m").value(), 2);
        assert_eq!(parse("1").milli_value(), 1000);
        assert_eq!(parse("1Gi").value(), 1 << 30);
        assert_eq!(parse("100u").milli_value(), 1);
        assert_eq!(parse("-1500m").value(), -1);
        assert!(parse("1Gi") > parse("1G"));
        assert_eq!((parse("1Gi") + parse("512Mi")).to_string(), "1536Mi");
        assert_eq!((parse("1") - parse("250m")).to_string(), "750m");
        assert_eq!(parse("1e40").value(), i64::MAX);
    }

    proptest! {
        #[test]
        fn canonical_form_is_stable(units in 0_i64..1_000_000_000_000, suffix in "(n|u|m|k|M|Ki|Mi|Gi|)") {
            let first = Quantity::parse(&format!("{units}{suffix}")).unwrap();
            let second = Quantity::parse(&first.to_string()).unwrap();
            prop_assert_eq!(first, second);
            prop_assert_eq!(first.to_string(), second.to_string());
        }
    }
}
