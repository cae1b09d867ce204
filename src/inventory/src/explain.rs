//! The schema for people: every field with its type, default, meaning, allowed values and an example.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

use crate::names;

/// Deeper than the schema is, what refers to itself left out.
const MAX_DEPTH: usize = 16;
/// Columns of the text on a terminal.
const WIDTH: usize = 96;
/// What begins the sentence of a description that tells the default.
const DEFAULT: &str = "Default: ";

/// One field of the inventory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Field {
    /// `spec.hosts[].labels`.
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) is_required: bool,
    pub(crate) default: Option<String>,
    /// Without the sentence about the default.
    pub(crate) meaning: String,
    /// Values with their meaning, where there are only some.
    pub(crate) allowed: Vec<(String, String)>,
    /// Bounds of a number.
    pub(crate) bounds: Option<(Option<i64>, Option<i64>)>,
    pub(crate) example: Option<String>,
    pub(crate) children: Vec<Field>,
    /// The path of the same object further up, whose children these are.
    pub(crate) same_as: Option<String>,
}

/// A path that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no field `{path}`")]
pub struct UnknownField {
    pub path: String,
    /// The field that was probably meant.
    pub nearest: Option<String>,
    /// Fields at the place where the path leaves the schema.
    pub known: Vec<String>,
}

/// Explains a field of the inventory, such as `spec.controlPlane.store`; without a path all fields as a tree.
///
/// # Errors
/// When there is no such field; with the one that was probably meant.
pub fn explain(path: Option<&str>) -> Result<String, UnknownField> {
    let root = root();
    match path.map(str::trim).filter(|path| !path.is_empty()) {
        None => Ok(tree(&root)),
        Some(path) => find(&root, path).map(page),
    }
}

/// The whole inventory.
pub(crate) fn root() -> Field {
    let schema = crate::schema();
    let mut parents = Vec::new();
    Walker { root: &schema }.field("", "", &schema, true, &mut parents, 0)
}

struct Walker<'a> {
    root: &'a Json,
}

impl Walker<'_> {
    fn field(
        &self,
        path: &str,
        name: &str,
        schema: &Json,
        is_required: bool,
        parents: &mut Vec<(String, String)>,
        depth: usize,
    ) -> Field {
        let merged = self.resolve(schema);
        let (meaning, told_default) = split_default(text(&merged, "description").unwrap_or_default());
        let mut field = Field {
            path: path.to_owned(),
            name: name.to_owned(),
            kind: self.kind(&merged),
            is_required,
            meaning,
            allowed: allowed(&merged),
            bounds: bounds(&merged),
            example: merged.get("examples").and_then(|examples| examples.get(0)).map(yaml),
            ..Field::default()
        };
        let default = merged.get("default").filter(|default| !is_empty(default)).map(yaml);
        field.default = if is_required { None } else { told_default.or(default) };
        let item = merged.get("items").map(|items| self.resolve(items));
        let holder = item.as_ref().unwrap_or(&merged);
        let below = if item.is_some() { format!("{path}[]") } else { path.to_owned() };
        let reference = text(holder, REFERENCE).map(str::to_owned);
        if let Some(same) = parents.iter().find(|(known, _)| Some(known) == reference.as_ref()) {
            field.same_as = Some(same.1.clone());
            return field;
        }
        if item.is_some() && field.allowed.is_empty() {
            field.allowed = allowed(holder);
        }
        let Some(properties) = holder.get("properties").and_then(Json::as_object).filter(|_| depth < MAX_DEPTH) else {
            return field;
        };
        let required = holder.get("required").and_then(Json::as_array).cloned().unwrap_or_default();
        let is_pushed = reference.is_some();
        parents.extend(reference.map(|reference| (reference, below.clone())));
        for (name, property) in in_order(properties) {
            let path = if below.is_empty() { name.clone() } else { format!("{below}.{name}") };
            let is_required = required.iter().any(|required| required == name);
            field.children.push(self.field(&path, name, property, is_required, parents, depth + 1));
        }
        if is_pushed {
            parents.pop();
        }
        field
    }

    /// Follows `$ref` and takes `null` away; what stands beside the reference wins.
    fn resolve(&self, schema: &Json) -> Json {
        let mut merged = schema.as_object().cloned().unwrap_or_default();
        for _ in 0..MAX_DEPTH {
            let next = if let Some(Json::String(reference)) = merged.remove("$ref") {
                let target = self.root.pointer(reference.trim_start_matches('#')).cloned().unwrap_or_default();
                merged.insert(REFERENCE.to_owned(), reference.into());
                target
            } else if let Some(Json::Array(alternatives)) = merged.remove("anyOf") {
                let is_null = |schema: &Json| schema.get("type").is_some_and(|kind| kind == "null");
                alternatives.into_iter().find(|schema| !is_null(schema)).unwrap_or_default()
            } else {
                break;
            };
            for (key, value) in next.as_object().into_iter().flatten() {
                merged.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        Json::Object(merged)
    }

    fn kind(&self, schema: &Json) -> String {
        if schema.get("oneOf").is_some() || schema.get("enum").is_some() {
            return "one word".to_owned();
        }
        if text(schema, REFERENCE).is_some_and(|reference| reference.ends_with("/Secret")) {
            return "reference to a secret".to_owned();
        }
        let kinds: Vec<&str> = match schema.get("type") {
            Some(Json::String(kind)) => vec![kind],
            Some(Json::Array(kinds)) => kinds.iter().filter_map(Json::as_str).filter(|kind| *kind != "null").collect(),
            _ => Vec::new(),
        };
        let name = |kind: &str| match kind {
            "string" => "text".to_owned(),
            "integer" => "whole number".to_owned(),
            "boolean" => "true or false".to_owned(),
            "array" => {
                let item = schema.get("items").map(|items| self.kind(&self.resolve(items))).unwrap_or_default();
                format!("list of {}s", item.trim_start_matches("one "))
            }
            "object" => match schema.get("additionalProperties").filter(|free| free.is_object()) {
                Some(free) => format!("mapping of names to {}", self.kind(&self.resolve(free))),
                None => "mapping".to_owned(),
            },
            other => other.to_owned(),
        };
        kinds.into_iter().map(name).collect::<Vec<_>>().join(" or ")
    }
}

/// Where `resolve` notes which definition it has followed.
const REFERENCE: &str = "x-reference";

fn text<'a>(schema: &'a Json, key: &str) -> Option<&'a str> {
    schema.get(key).and_then(Json::as_str)
}

/// The order of the types' fields; a JSON map is sorted, so required ones are put first, then the rest.
fn in_order(properties: &Map<String, Json>) -> impl Iterator<Item = (&String, &Json)> {
    let rank = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
    let mut ordered: Vec<_> = properties.iter().collect();
    ordered.sort_by_key(|(name, _)| rank(name));
    ordered.into_iter()
}

/// What one reads first.
const FIRST: [&str; 9] = ["apiVersion", "kind", "metadata", "spec", "name", "key", "role", "address", "version"];

fn split_default(description: &str) -> (String, Option<String>) {
    let Some((before, after)) = description.split_once(DEFAULT) else { return (description.to_owned(), None) };
    let end = sentence_end(after);
    let (default, rest) = (after[..end].trim_end_matches('.'), after[end..].trim());
    let meaning = [before.trim(), rest].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    (meaning, Some(default.to_owned()))
}

/// Behind the full stop that ends the first sentence; stops within names are none.
fn sentence_end(text: &str) -> usize {
    text.match_indices('.')
        .map(|(at, _)| at + 1)
        .find(|end| text[*end..].is_empty() || text[*end..].starts_with(' '))
        .unwrap_or(text.len())
}

fn allowed(schema: &Json) -> Vec<(String, String)> {
    let plain = schema.get("enum").and_then(Json::as_array).into_iter().flatten();
    let mut values: Vec<(String, String)> =
        plain.filter_map(Json::as_str).map(|value| (value.to_owned(), String::new())).collect();
    for alternative in schema.get("oneOf").and_then(Json::as_array).into_iter().flatten() {
        let meaning = text(alternative, "description").unwrap_or_default().to_owned();
        match text(alternative, "const") {
            Some(value) => values.push((value.to_owned(), meaning)),
            None => values.extend(allowed(alternative)),
        }
    }
    if let Some(only) = text(schema, "const") {
        values.push((only.to_owned(), String::new()));
    }
    values
}

fn bounds(schema: &Json) -> Option<(Option<i64>, Option<i64>)> {
    let bound = |key: &str| schema.get(key).and_then(Json::as_i64);
    // The largest number of its type is no bound that anybody meets.
    let maximum = bound("maximum").filter(|maximum| *maximum != i64::from(u32::MAX));
    let minimum = bound("minimum").filter(|minimum| *minimum > 0 || maximum.is_some());
    (minimum.is_some() || maximum.is_some()).then_some((minimum, maximum))
}

fn is_empty(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::String(text) => text.is_empty(),
        Json::Array(items) => items.is_empty(),
        // The defaults of an object are those of its fields.
        Json::Object(_) => true,
        _ => false,
    }
}

/// A value on one line, as it would be written in the inventory.
fn yaml(value: &Json) -> String {
    crate::edit::flow(value)
}

fn find<'a>(root: &'a Field, path: &str) -> Result<&'a Field, UnknownField> {
    let mut field = root;
    for segment in segments(path) {
        // What refers to itself goes on with the children further up.
        let children = match &field.same_as {
            Some(same) => &find(root, same)?.children,
            None => &field.children,
        };
        let next = children.iter().find(|child| child.name == segment);
        field = next.ok_or_else(|| unknown(root, children, path, &segment))?;
    }
    Ok(field)
}

fn unknown(root: &Field, children: &[Field], path: &str, segment: &str) -> UnknownField {
    let known: Vec<String> = children.iter().map(|child| child.name.clone()).collect();
    let here = names::nearest(segment, known.iter().map(String::as_str));
    let nearest =
        here.and_then(|name| children.iter().find(|child| child.name == name)).map(|child| child.path.clone());
    // A field of that name somewhere else: `naru explain-field podCIDR`.
    let last = segments(path).last().unwrap_or_default();
    let mut paths = Vec::new();
    every(root, &mut |field| paths.push((field.name.clone(), field.path.clone())));
    let elsewhere = || paths.iter().find(|(name, _)| *name == last).map(|(_, path)| path.clone());
    let by_slip = || names::nearest(path, paths.iter().map(|(_, path)| path.as_str())).map(str::to_owned);
    UnknownField { path: path.to_owned(), nearest: nearest.or_else(elsewhere).or_else(by_slip), known }
}

/// `spec.hosts[0].labels`, `spec.hosts[].labels` and `spec.hosts.labels` are the same.
fn segments(path: &str) -> impl Iterator<Item = String> + '_ {
    let names = path.trim_start_matches('.').split('.');
    names.map(|name| name.split('[').next().unwrap_or_default().to_owned()).filter(|name| !name.is_empty())
}

pub(crate) fn every(field: &Field, visit: &mut dyn FnMut(&Field)) {
    for child in &field.children {
        visit(child);
        every(child, visit);
    }
}

fn tree(root: &Field) -> String {
    let mut rows = Vec::new();
    every(root, &mut |field| {
        let depth = field.path.matches('.').count();
        let list = if field.kind.starts_with("list") { "[]" } else { "" };
        rows.push((format!("{}{}{list}", "  ".repeat(depth), field.name), first_sentence(&field.meaning).to_owned()));
    });
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for (name, meaning) in rows {
        let room = WIDTH.saturating_sub(width + 2);
        let _ = writeln!(out, "{}", format!("{name:width$}  {}", shortened(&meaning, room)).trim_end());
    }
    out
}

fn shortened(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let cut: String = text.chars().take(room.saturating_sub(1)).collect();
    format!("{}…", cut.rsplit_once(' ').map_or(cut.as_str(), |(whole, _)| whole))
}

pub(crate) fn first_sentence(text: &str) -> &str {
    text[..sentence_end(text)].trim_end_matches(['.', ':'])
}

impl Field {
    /// `from 1 to 253`.
    pub(crate) fn bounds_text(&self) -> Option<String> {
        self.bounds.map(|bounds| match bounds {
            (Some(least), Some(most)) => format!("from {least} to {most}"),
            (Some(least), None) => format!("from {least} on"),
            (None, Some(most)) => format!("up to {most}"),
            (None, None) => String::new(),
        })
    }
}

fn page(field: &Field) -> String {
    let mut out = format!("{}\n\n", field.path);
    for line in wrapped(&field.meaning, WIDTH - 2) {
        let _ = writeln!(out, "  {line}");
    }
    let kind = match field.bounds_text() {
        Some(bounds) => format!("{} {bounds}", field.kind),
        None => field.kind.clone(),
    };
    let _ = writeln!(out, "\n  type      {kind}");
    match &field.default {
        _ if field.is_required => out.push_str("  required  yes\n"),
        Some(default) => {
            let _ = writeln!(out, "  default   {default}");
        }
        None => {}
    }
    if let Some(example) = &field.example {
        let _ = writeln!(out, "  example   {}: {example}", field.name);
    }
    if let Some(same) = &field.same_as {
        let _ = writeln!(out, "  fields    those of {same}");
    }
    table(&mut out, "Allowed", field.allowed.iter().map(|(value, meaning)| (value.clone(), meaning.clone())));
    table(
        &mut out,
        "Fields",
        field.children.iter().map(|child| (child.name.clone(), first_sentence(&child.meaning).to_owned())),
    );
    out
}

fn table(out: &mut String, title: &str, rows: impl Iterator<Item = (String, String)>) {
    let rows: Vec<_> = rows.collect();
    let Some(width) = rows.iter().map(|(name, _)| name.chars().count()).max() else { return };
    let _ = writeln!(out, "\n  {title}:");
    for (name, meaning) in rows {
        let meaning = shortened(meaning.trim_end_matches('.'), WIDTH.saturating_sub(width + 6));
        let _ = writeln!(out, "{}", format!("    {name:width$}  {meaning}").trim_end());
    }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always a line");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_explained() {
        let mut all = String::new();
        for path in [
            "spec.controlPlane.store",
            "spec.hosts[].labels",
            "spec.hosts[0].bastion",
            "spec.ssh.bastion.bastion",
            "spec.rollout.maxUnavailable",
            "spec.runtime.registries.password",
            "spec.kubelet.extraArgs",
            "spec.kubelet.extraArgs.container-log-max-size",
            "spec.kubelet.maxPods",
            "spec.hooks[].when",
        ] {
            all += &explain(Some(path)).unwrap();
            all += "----\n";
        }
        insta::assert_snapshot!("explained", all);
        insta::assert_snapshot!("tree", explain(None).unwrap());
    }

    #[test]
    fn wrong_paths_find_what_was_meant() {
        let nearest = |path: &str| explain(Some(path)).unwrap_err().nearest;
        assert_eq!(nearest("spec.controlplane.store").as_deref(), Some("spec.controlPlane"));
        assert_eq!(nearest("spec.hosts.lables").as_deref(), Some("spec.hosts[].labels"));
        assert_eq!(nearest("podCIDR").as_deref(), Some("spec.network.podCIDR"));
        assert_eq!(nearest("spec.netwrok.podCIDR").as_deref(), Some("spec.network"));
        assert_eq!(nearest("altogether.elsewhere.zzzz"), None);
        assert!(explain(Some("spec.ssh.bastion.bastion.bastion.bastion.user")).is_ok());
    }

    #[test]
    fn every_field_says_what_it_means() {
        every(&root(), &mut |field| {
            assert!(!field.meaning.is_empty(), "{} has no description", field.path);
            assert!(!field.kind.is_empty(), "{} has no type", field.path);
            assert!(!field.kind.contains("one word") || !field.allowed.is_empty(), "{}", field.path);
            let has_default = field.default.is_some() || !field.children.is_empty() || field.same_as.is_some();
            let is_collection = field.kind.starts_with("list") || field.kind.starts_with("mapping");
            assert!(field.is_required || has_default || is_collection, "{} has no default", field.path);
            for (value, meaning) in &field.allowed {
                assert!(!meaning.is_empty() || field.allowed.len() == 1, "{}: {value}", field.path);
            }
        });
    }
}
