//! Lists of hosts' names as people read them.

/// Names and ranges that are shown; more of them are counted.
const MAX_NAMES: usize = 6;

/// `w1..w40` for names that only a running number tells apart; otherwise the names, or the first and last of many.
pub(crate) fn ranges(names: &[&str]) -> String {
    let numbered = |name: &str| {
        let stem = name.trim_end_matches(|character: char| character.is_ascii_digit());
        let number = &name[stem.len()..];
        (!number.starts_with('0') || number == "0")
            .then(|| number.parse::<u64>().ok())
            .flatten()
            .map(|n| (stem.to_owned(), n))
    };
    let mut parts: Vec<String> = Vec::new();
    let mut index = 0;
    while index < names.len() {
        let mut end = index;
        if let Some((stem, first)) = numbered(names[index]) {
            while names
                .get(end + 1)
                .and_then(|next| numbered(next))
                .is_some_and(|(other, number)| other == stem && number == first + (end + 1 - index) as u64)
            {
                end += 1;
            }
        }
        match end - index {
            0 => parts.push(names[index].to_owned()),
            1 => parts.extend([names[index].to_owned(), names[end].to_owned()]),
            _ => parts.push(format!("{}..{}", names[index], names[end])),
        }
        index = end + 1;
    }
    if parts.len() > MAX_NAMES {
        let hidden = parts.len() - MAX_NAMES;
        parts.truncate(MAX_NAMES);
        parts.push(format!("{hidden} more"));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_numbers_are_ranges() {
        assert_eq!(ranges(&["w1", "w2", "w3", "w5", "db"]), "w1..w3, w5, db");
        assert_eq!(ranges(&["w9", "w10", "w11"]), "w9..w11");
        assert_eq!(ranges(&["a", "b", "c", "d", "e", "f", "g", "h"]), "a, b, c, d, e, f, 2 more");
        assert_eq!(ranges(&["w01", "w02", "w03"]), "w01, w02, w03");
    }
}
