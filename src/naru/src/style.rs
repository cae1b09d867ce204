//! The few words, marks and colours that all verbs share. Colour is never the only carrier of meaning.

use naru_plan::Colour;

pub(crate) const GOOD: &str = "32";
pub(crate) const BAD: &str = "1;31";
pub(crate) const WARN: &str = "33";
pub(crate) const DIM: &str = "2";
pub(crate) const BOLD: &str = "1";

const MAX_NAMES: usize = 6;
const SECONDS_PER_DAY: i64 = 86_400;
const BYTES_PER_MB: u64 = 1_000_000;
const BYTES_PER_GB: u64 = 1_000_000_000;

pub(crate) fn paint(text: &str, code: &str, colour: Colour) -> String {
    match colour {
        Colour::Never => text.to_owned(),
        Colour::Always => format!("\x1b[{code}m{text}\x1b[0m"),
    }
}

/// Every line of a text that may have several, indented; without a line end at its end.
pub(crate) fn indent(text: &str, by: &str) -> String {
    text.trim_end().lines().map(|line| format!("{by}{line}").trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

pub(crate) fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// `w1, w2, w3`; of many the first few and how many there are.
pub(crate) fn names(names: &[&str]) -> String {
    if names.len() <= MAX_NAMES {
        return names.join(", ");
    }
    format!("{} … ({} hosts)", names[..MAX_NAMES].join(", "), names.len())
}

/// A time span as short as it is precise enough.
pub(crate) fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / SECONDS_PER_DAY),
    }
}

pub(crate) fn size(bytes: u64) -> String {
    if bytes < BYTES_PER_GB {
        return format!("{} MB", bytes / BYTES_PER_MB);
    }
    format!("{}.{} GB", bytes / BYTES_PER_GB, bytes % BYTES_PER_GB * 10 / BYTES_PER_GB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_short() {
        assert_eq!(names(&["w1", "w2"]), "w1, w2");
        assert_eq!(names(&["a"; 1_000]), "a, a, a, a, a, a … (1000 hosts)");
        assert_eq!(
            (age(119), age(7_199), age(100_000), age(200_000)),
            ("119s".into(), "119m".into(), "27h".into(), "2d".into())
        );
        assert_eq!((size(999_999_999), size(12_340_000_000)), ("999 MB".to_owned(), "12.3 GB".to_owned()));
        assert_eq!(indent("a\n\nb\n", "  "), "  a\n\n  b");
        assert_eq!((plural(1, "change"), plural(2, "change")), ("1 change".to_owned(), "2 changes".to_owned()));
    }
}
