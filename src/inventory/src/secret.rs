//! References to secrets: the only form in which an inventory names them.

/// The grammar of references, for the schema.
pub(crate) const PATTERN: &str = r"^(\$\{[A-Za-z_][A-Za-z0-9_]*\}|file:.+)$";

/// `${NAME}` or `file:PATH`.
pub(crate) fn is_reference(text: &str) -> bool {
    if let Some(name) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
        return name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    }
    text.strip_prefix("file:").is_some_and(|path| !path.is_empty() && !path.contains(['\n', '\0']))
}

#[cfg(test)]
mod tests {
    use super::is_reference;

    #[test]
    fn references_are_told_from_plain_text() {
        for good in ["${A}", "${_PASSWORD_2}", "file:secret", "file:/run/secrets/x", "file:../a b"] {
            assert!(is_reference(good), "{good}");
        }
        for bad in ["", "hunter2", "$A", "${}", "${1A}", "${A-B}", "${A", "file:", "x${A}", "${A}${B}", "File:x"] {
            assert!(!is_reference(bad), "{bad}");
        }
    }
}
