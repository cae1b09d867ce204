//! The documents of a file. They are told apart by their markers alone, before any YAML is read, so that a mistake in
//! one leaves the others readable.

use crate::document::{Node, Value};

/// One document of the file, its marker included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    pub(crate) text: &'a str,
    /// Where it begins in the file.
    pub(crate) byte_start: usize,
    /// Lines of the file before it.
    pub(crate) lines_before: usize,
}

/// Cuts at lines that begin with `---` or `...`: nothing within a YAML document may begin a line so.
pub(crate) fn split(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut byte_start, mut lines_before) = (0, 0);
    let mut has_begun = false;
    let (mut offset, mut line_number) = (0, 0);
    let part = |from: usize, to: usize, lines_before| Part { text: &text[from..to], byte_start: from, lines_before };
    for line in text.split_inclusive('\n') {
        let after = offset + line.len();
        if is_marker(line, "...") {
            parts.push(part(byte_start, offset, lines_before));
            (byte_start, lines_before, has_begun) = (after, line_number + 1, false);
        } else if is_marker(line, "---") {
            if has_begun {
                parts.push(part(byte_start, offset, lines_before));
                (byte_start, lines_before) = (offset, line_number);
            }
            has_begun = true;
        } else if !line.trim().is_empty() && !line.trim_start().starts_with('#') && !line.starts_with('%') {
            has_begun = true;
        }
        offset = after;
        line_number += 1;
    }
    if has_begun || parts.is_empty() {
        parts.push(part(byte_start, text.len(), lines_before));
    }
    parts
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Which document is the inventory. `whole` says whether all documents could be read.
pub(crate) fn inventory_of(documents: &[Option<Node>]) -> Option<usize> {
    let find =
        |wanted: &dyn Fn(&Node) -> bool| documents.iter().position(|document| document.as_ref().is_some_and(wanted));
    let text_of = |node: &Node, key: &str| match node.entry(key).map(|entry| &entry.node.value) {
        Some(Value::Text(text)) => text.clone(),
        _ => String::new(),
    };
    let is_ours = |node: &Node| text_of(node, "apiVersion").starts_with("naru.dev/");
    let is_cluster = |node: &Node| text_of(node, "kind") == crate::KIND;
    let is_empty = |document: &&Option<Node>| matches!(document, Some(Node { value: Value::Null, .. }));
    find(&|node| is_ours(node) && is_cluster(node))
        .or_else(|| find(&is_ours))
        .or_else(|| find(&|node| is_cluster(node) && node.entry("apiVersion").is_none()))
        .or_else(|| {
            // The only document there is must be meant as one.
            let filled = documents.iter().filter(|document| !is_empty(document)).count();
            (filled <= 1).then(|| find(&|node| node.value != Value::Null).or_else(|| find(&|_| true))).flatten()
        })
}

/// Whether a document says that it is an inventory.
pub(crate) fn is_inventory(node: &Node) -> bool {
    inventory_of(&[None, Some(node.clone()), None]).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_cut_at_their_markers_only() {
        let text = "# head\n---\na: |\n  ---\n  text\n---# no marker\n--- {b: 1}\n...\n# between\n---\nc: 1\n";
        let parts: Vec<(&str, usize)> = split(text).iter().map(|part| (part.text, part.lines_before)).collect();
        let expected = [
            ("# head\n---\na: |\n  ---\n  text\n---# no marker\n", 0),
            ("--- {b: 1}\n", 6),
            ("# between\n---\nc: 1\n", 8),
        ];
        assert_eq!(parts, expected);
        assert_eq!(split("").len(), 1);
        assert_eq!(split("a: 1\n---\n---\r\nb: 1").len(), 3);
    }
}
