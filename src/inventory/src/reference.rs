//! The reference page of the inventory, written from the schema.

use std::fmt::Write as _;

use crate::explain::{Field, root};

const HEAD: &str = "\
# The inventory

<!-- Written by `cargo xtask docs` from the types in src/inventory/src/spec.rs; changes here are overwritten. -->

One YAML file says what a cluster is. `naru init` writes one, `naru plan` reads it and shows what would change,
`naru explain-field PATH` says on the terminal what this page says, and `naru schema` prints the JSON Schema for editors
(`# yaml-language-server: $schema=cluster.schema.json` in the first line makes many of them use it).

- Every mistake of the file is told in one go, with its line; unknown fields are mistakes.
- Passwords are references: `${NAME}` is taken from the environment, `file:PATH` from a file beside the inventory.
- Further documents of the file, separated by `---`, are Kubernetes objects that are applied once the cluster stands.
- `naru upgrade` and `naru node` edit the file; comments and order stay.
";

/// The page `docs/reference/inventory.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    section(&mut page, &root());
    page
}

/// A section for every field that has fields of its own.
fn section(page: &mut String, field: &Field) {
    if field.children.is_empty() {
        return;
    }
    if field.path.is_empty() {
        page.push_str("\n## The document\n");
    } else {
        let _ = write!(page, "\n## {}\n\n{}\n", field.path, field.meaning);
        if let Some(example) = &field.example {
            let _ = write!(page, "\n    {}: {example}\n", field.name);
        }
    }
    page.push_str("\n| field | type | default | meaning |\n|---|---|---|---|\n");
    for child in &field.children {
        let _ = writeln!(page, "| {} | {} | {} | {} |", link(child), kind(child), default(child), meaning(child));
    }
    field.children.iter().for_each(|child| section(page, child));
}

fn link(field: &Field) -> String {
    if field.children.is_empty() {
        return format!("`{}`", field.name);
    }
    // As common renderers make anchors of headings.
    let anchor: String = field
        .path
        .to_lowercase()
        .chars()
        .filter(|character| character.is_ascii_alphanumeric() || *character == '-')
        .collect();
    format!("[`{}`](#{anchor})", field.name)
}

fn kind(field: &Field) -> String {
    match field.bounds_text() {
        Some(bounds) => format!("{} {bounds}", field.kind),
        None => field.kind.clone(),
    }
}

fn default(field: &Field) -> String {
    match &field.default {
        _ if field.is_required => "(required)".to_owned(),
        Some(default) => cell(default),
        None => String::new(),
    }
}

fn meaning(field: &Field) -> String {
    let mut text = cell(&field.meaning);
    let is_said = field.allowed.len() == 1 && field.is_required;
    if !field.allowed.is_empty() && !is_said {
        let values = field.allowed.iter().map(|(value, meaning)| match meaning.trim_end_matches('.') {
            "" => format!("`{value}`"),
            meaning => format!("`{value}`: {}", cell(meaning)),
        });
        let _ = write!(text, "<br>{}", values.collect::<Vec<_>>().join("<br>"));
    }
    if let Some(same) = &field.same_as {
        let _ = write!(text, "<br>Its fields are those of `{same}`.");
    }
    if let Some(example) = field.example.as_ref().filter(|_| field.children.is_empty()) {
        let _ = write!(text, "<br>Example: `{}: {}`", field.name, example.replace('|', "\\|"));
    }
    text
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
