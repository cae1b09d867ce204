//! The grammar of names, labels and taints, as Kubernetes has it.

const MAX_LABEL_CHARACTERS: usize = 63;
const MAX_NAME_CHARACTERS: usize = 253;

/// Lower-case letters, digits and dashes, beginning and ending with a letter or digit (RFC 1123 label).
pub(crate) fn is_dns_label(text: &str) -> bool {
    (1..=MAX_LABEL_CHARACTERS).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// DNS labels joined by dots.
pub(crate) fn is_dns_name(text: &str) -> bool {
    text.len() <= MAX_NAME_CHARACTERS && text.split('.').all(is_dns_label)
}

fn is_qualified_part(text: &str) -> bool {
    (1..=MAX_LABEL_CHARACTERS).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.ends_with(|last: char| last.is_ascii_alphanumeric())
}

/// A label or taint key: `[prefix/]name`.
pub(crate) fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_name(prefix) && is_qualified_part(name),
        None => is_qualified_part(text),
    }
}

pub(crate) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_qualified_part(text)
}

/// The candidate that differs least from `text`, if it is near enough to be a slip of the finger.
pub(crate) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (text.chars().count() / 3).max(1) + 1;
    candidates
        .into_iter()
        .map(|candidate| (distance(&text.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        assert!(is_dns_label("w1") && !is_dns_label("W1") && !is_dns_label("-a") && !is_dns_label(""));
        assert!(is_dns_name("cluster.local") && !is_dns_name("cluster..local"));
        assert!(is_label_key("node-role.kubernetes.io/control-plane") && is_label_key("Disk_1"));
        assert!(!is_label_key("a/b/c") && !is_label_key("/x") && !is_label_key("bad key"));
        assert!(is_label_value("") && is_label_value("a.b-c_D") && !is_label_value("a b") && !is_label_value("-a"));
    }

    #[test]
    fn nearest_finds_slips_only() {
        assert_eq!(nearest("adress", ["name", "address", "role"]), Some("address"));
        assert_eq!(nearest("podCidr", ["podCIDR", "serviceCIDR"]), Some("podCIDR"));
        assert_eq!(nearest("colour", ["name", "address"]), None);
    }
}
