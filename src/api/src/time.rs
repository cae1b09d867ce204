//! Timestamps as the API writes them, and ages as kubectl prints them. The present moment always comes from outside.

use jiff::Timestamp;

const SECONDS_PER_MINUTE: i64 = 60;
const SECONDS_PER_HOUR: i64 = 3600;

/// `metav1.Time`: UTC with seconds.
pub fn rfc3339_seconds(unix_s: i64) -> String {
    let moment = Timestamp::from_second(unix_s).unwrap_or(Timestamp::UNIX_EPOCH);
    moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `metav1.MicroTime`: UTC with exactly six digits of a second.
pub fn rfc3339_micros(unix_us: i64) -> String {
    let moment = Timestamp::from_microsecond(unix_us).unwrap_or(Timestamp::UNIX_EPOCH);
    moment.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Seconds since 1970 of an RFC 3339 timestamp with any offset.
pub fn parse_seconds(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

/// Microseconds since 1970 of an RFC 3339 timestamp with any offset.
pub fn parse_micros(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_microsecond)
}

/// The age of a timestamp as in the AGE column; `<unknown>` when there is none.
pub fn age(timestamp: Option<&str>, now_unix_s: i64) -> String {
    match timestamp.and_then(parse_seconds) {
        Some(then) => human_duration(now_unix_s - then),
        None => "<unknown>".to_owned(),
    }
}

/// Two significant units for short spans, one for long ones: `45s`, `3m20s`, `17m`, `5h2m`, `30h`, `6d4h`, `88d`,
/// `3y12d`.
pub fn human_duration(seconds: i64) -> String {
    let minutes = seconds / SECONDS_PER_MINUTE;
    let hours = seconds / SECONDS_PER_HOUR;
    let days = hours / 24;
    match seconds {
        s if s < -1 => "<invalid>".to_owned(),
        s if s < 0 => "0s".to_owned(),
        s if s < 2 * SECONDS_PER_MINUTE => format!("{s}s"),
        s if minutes < 10 => two_units(minutes, 'm', s % 60, 's'),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two_units(hours, 'h', minutes % 60, 'm'),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => two_units(days, 'd', hours % 24, 'h'),
        _ if days < 730 => format!("{days}d"),
        _ if days < 2920 => two_units(days / 365, 'y', days % 365, 'd'),
        _ => format!("{}y", days / 365),
    }
}

fn two_units(large: i64, large_unit: char, small: i64, small_unit: char) -> String {
    if small == 0 { format!("{large}{large_unit}") } else { format!("{large}{large_unit}{small}{small_unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_upstream_tests_expect() {
        let cases = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (1, "1s"),
            (119, "119s"),
            (120, "2m"),
            (130, "2m10s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (10_860, "3h1m"),
            (28_799, "7h59m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (691_199, "7d23h"),
            (691_200, "8d"),
            (63_071_999, "729d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (252_288_000, "8y"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(human_duration(seconds), expected, "{seconds} s");
        }
    }

    #[test]
    fn timestamps_round_trip() {
        assert_eq!(rfc3339_seconds(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(rfc3339_micros(1_700_000_000_000_000), "2023-11-14T22:13:20.000000Z");
        assert_eq!(parse_micros("2023-11-14T22:13:20.000005Z"), Some(1_700_000_000_000_005));
        assert_eq!(parse_seconds("2023-11-14T23:13:20+01:00"), Some(1_700_000_000));
        assert_eq!(parse_seconds("yesterday"), None);
        assert_eq!(age(None, 5), "<unknown>");
    }
}
