//! Unified diffs of text files, as a person reads them in a plan.

use similar::TextDiff;

const CONTEXT_LINES: usize = 3;
/// A longer diff is cut; a plan is read by people.
const MAX_DIFF_BYTES: usize = 64 * 1024;

/// The diff from `old` (`None`: no such file) to `new`; `None` when the old bytes are no text.
pub(crate) fn unified(path: &str, old: Option<&[u8]>, new: &str) -> Option<String> {
    let old_text = std::str::from_utf8(old.unwrap_or_default()).ok()?;
    let before = if old.is_some() { path } else { "/dev/null" };
    let diff = TextDiff::from_lines(old_text, new);
    let mut text = diff.unified_diff().context_radius(CONTEXT_LINES).header(before, path).to_string();
    if text.len() > MAX_DIFF_BYTES {
        let end = text.floor_char_boundary(MAX_DIFF_BYTES);
        text.truncate(end);
        text.push_str("\n… (cut)\n");
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_and_a_changed_line() {
        assert_eq!(unified("/etc/a", None, "x\n").unwrap(), "--- /dev/null\n+++ /etc/a\n@@ -0,0 +1 @@\n+x\n");
        let changed = unified("/etc/a", Some(b"x\ny\n"), "x\nz\n").unwrap();
        assert!(changed.starts_with("--- /etc/a\n+++ /etc/a\n"), "{changed}");
        assert!(changed.contains("-y\n+z\n"), "{changed}");
    }

    #[test]
    fn no_diff_for_binaries_and_none_for_the_same() {
        assert_eq!(unified("/etc/a", Some(&[0xff, 0xfe]), "x"), None);
        assert_eq!(unified("/etc/a", Some(b"x"), "x"), None);
    }

    #[test]
    fn a_huge_diff_is_cut() {
        let text = "ä\n".repeat(MAX_DIFF_BYTES);
        assert!(unified("/etc/a", None, &text).unwrap().len() < MAX_DIFF_BYTES + 64);
    }
}
