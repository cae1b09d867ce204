//! The document against the JSON schema of the types: unknown, missing and mistyped fields, all of them. The outcome
//! is a JSON value that fits the types: a mistaken place holds a harmless stand-in, so that the semantic checks can
//! still look at everything else in the same run.

use serde_json::{Map, Value as Json, json};

use crate::diagnostic::Diagnostic;
use crate::document::{Node, Path, Value};
use crate::names;

/// The depth of the schema's own nesting; deeper means that the schema refers to itself.
const MAX_REFERENCES: usize = 8;

/// Where the schema describes references to secrets.
const SECRET: &str = "/$defs/Secret";

/// A mistake at a path; its position is looked up when it is reported.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) path: Path,
    pub(crate) of_key: bool,
    pub(crate) primary: String,
    pub(crate) detail: Option<String>,
    pub(crate) hint: Option<String>,
}

impl Finding {
    pub(crate) fn new(path: Path, primary: impl Into<String>) -> Self {
        Self { path, of_key: false, primary: primary.into(), detail: None, hint: None }
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn of_key(mut self) -> Self {
        self.of_key = true;
        self
    }
}

#[derive(Debug, Default)]
pub(crate) struct Findings {
    structural: Vec<Finding>,
    semantic: Vec<Finding>,
}

impl Findings {
    /// A semantic finding about a place that is structurally wrong is only an echo of that, so it is dropped.
    pub(crate) fn add_semantic(&mut self, finding: Finding) {
        if !self.structural.iter().any(|structural| structural.path.touches(&finding.path)) {
            self.semantic.push(finding);
        }
    }

    pub(crate) fn into_diagnostics(self, document: &Node) -> Vec<Diagnostic> {
        let all = self.structural.into_iter().chain(self.semantic);
        all.map(|finding| Diagnostic {
            position: document.position_of(&finding.path, finding.of_key),
            primary: finding.primary,
            detail: finding.detail,
            hint: finding.hint,
        })
        .collect()
    }
}

pub(crate) fn check(document: &Node, findings: &mut Findings) -> Json {
    let root = crate::schema();
    Checker { root: &root, findings }.value(&root, document, &Path::default())
}

struct Checker<'a> {
    root: &'a Json,
    findings: &'a mut Findings,
}

impl Checker<'_> {
    fn value(&mut self, schema: &Json, node: &Node, path: &Path) -> Json {
        let schema = resolve(self.root, schema);
        if schema.is_secret {
            return self.secret(schema.nullable, node, path);
        }
        if let Some(names) = choices(&schema.schema) {
            return self.choice(&names, node, path);
        }
        let kind = schema.kind();
        match (kind, &node.value) {
            (_, Value::Null) if schema.nullable => Json::Null,
            ("object", Value::Map(_)) => self.object(&schema.schema, node, path),
            ("array", Value::List(items)) => {
                let item_schema = schema.schema.get("items").cloned().unwrap_or(Json::Bool(true));
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.value(&item_schema, item, &path.index(index)))
                    .collect()
            }
            // An empty `hosts:` or `labels:` is an empty list or mapping, as everybody means it.
            ("array", Value::Null) => json!([]),
            ("object", Value::Null) if schema.schema.get("required").is_none() => json!({}),
            ("string", Value::Text(text)) => json!(text),
            // Numbers that may also be written with a unit or a sign are text to everybody else.
            ("string", Value::Integer(_) | Value::Float(_) | Value::Bool(_)) if schema.takes(&node.value) => {
                json!(node.to_json().to_string())
            }
            ("boolean", Value::Bool(value)) => json!(value),
            ("integer", Value::Integer(value)) => self.integer(&schema.schema, *value, path),
            _ => self.mistyped(&schema.schema, kind, node, path),
        }
    }

    /// Whatever stands there instead of a reference may be the secret itself.
    fn secret(&mut self, nullable: bool, node: &Node, path: &Path) -> Json {
        match &node.value {
            Value::Null if nullable => Json::Null,
            Value::Text(text) if crate::secret::is_reference(text) => json!(text),
            _ => {
                let finding = Finding::new(path.clone(), "a secret does not belong into the inventory")
                    .detail("expected where to take it from: `${NAME}` of the environment, or `file:PATH`");
                self.findings.structural.push(finding.hint("the value is not shown here; change it if it was shared"));
                // Stands in for one, so that nothing else complains of its absence.
                json!("file:?")
            }
        }
    }

    fn integer(&mut self, schema: &Json, value: i64, path: &Path) -> Json {
        let minimum = schema.get("minimum").and_then(Json::as_i64).unwrap_or(0);
        let maximum = schema.get("maximum").and_then(Json::as_i64).unwrap_or(i64::from(u32::MAX));
        if (minimum..=maximum).contains(&value) {
            return json!(value);
        }
        let finding = Finding::new(path.clone(), format!("{value} is out of range"));
        self.findings.structural.push(finding.detail(format!("allowed are {minimum} to {maximum}")));
        json!(minimum)
    }

    fn choice(&mut self, names: &[String], node: &Node, path: &Path) -> Json {
        if let Value::Text(text) = &node.value {
            if names.contains(text) {
                return json!(text);
            }
            let mut finding = Finding::new(path.clone(), format!("`{text}` is not known here"))
                .detail(format!("expected {}", one_of(names)));
            if let Some(nearest) = names::nearest(text, names.iter().map(String::as_str)) {
                finding = finding.hint(format!("did you mean `{nearest}`?"));
            }
            self.findings.structural.push(finding);
        } else {
            let finding = Finding::new(path.clone(), format!("expected {}, found {}", one_of(names), node.describe()));
            self.findings.structural.push(finding);
        }
        json!(names.first())
    }

    fn object(&mut self, schema: &Json, node: &Node, path: &Path) -> Json {
        let Value::Map(entries) = &node.value else { return Json::Null };
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Json::as_object).unwrap_or(&empty);
        let mut object = Map::new();
        for entry in entries {
            let below = path.key(&entry.key);
            match (properties.get(&entry.key), schema.get("additionalProperties")) {
                (Some(property), _) => {
                    object.insert(entry.key.clone(), self.value(property, &entry.node, &below));
                }
                (None, Some(free)) if free.is_object() => {
                    object.insert(entry.key.clone(), self.value(free, &entry.node, &below));
                }
                _ => self.unknown(&entry.key, properties, below),
            }
        }
        let required = schema.get("required").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        for name in required.iter().filter_map(Json::as_str).filter(|name| node.entry(name).is_none()) {
            let finding = Finding::new(path.key(name), format!("`{name}` is missing"));
            let property = properties.get(name).unwrap_or(&Json::Null);
            let about = property.get("description").and_then(Json::as_str).map(str::to_owned);
            self.findings.structural.push(match about {
                Some(about) => finding.detail(first_sentence(&about)),
                None => finding,
            });
            object.insert(name.to_owned(), self.stand_in(property, 0));
        }
        Json::Object(object)
    }

    fn unknown(&mut self, key: &str, properties: &Map<String, Json>, path: Path) {
        let known: Vec<&str> = properties.keys().map(String::as_str).collect();
        let mut finding = Finding::new(path, format!("unknown field `{key}`"))
            .detail(format!("known here: {}", known.join(", ")))
            .of_key();
        if let Some(nearest) = names::nearest(key, known) {
            finding = finding.hint(format!("did you mean `{nearest}`?"));
        }
        self.findings.structural.push(finding);
    }

    fn mistyped(&mut self, schema: &Json, kind: &str, node: &Node, path: &Path) -> Json {
        let expected = match kind {
            "object" => "a mapping (`key: value`)",
            "array" => "a list (`- item`)",
            "string" => "text",
            "integer" => "a whole number",
            "boolean" => "true or false",
            other => other,
        };
        let mut finding = Finding::new(path.clone(), format!("expected {expected}, found {}", node.describe()));
        if kind == "string" && matches!(node.value, Value::Bool(_) | Value::Integer(_) | Value::Float(_)) {
            finding = finding.hint("put the value in quotes");
        }
        self.findings.structural.push(finding);
        self.stand_in(schema, 0)
    }

    /// A value of the right type for a place that has none.
    fn stand_in(&self, schema: &Json, depth: usize) -> Json {
        let schema = resolve(self.root, schema);
        if schema.nullable || depth > MAX_REFERENCES {
            return Json::Null;
        }
        if let Some(names) = choices(&schema.schema) {
            return json!(names.first());
        }
        match schema.kind() {
            "object" => {
                let required = schema.schema.get("required").and_then(Json::as_array).cloned().unwrap_or_default();
                let properties = schema.schema.get("properties").cloned().unwrap_or_default();
                let fields = required.iter().filter_map(Json::as_str);
                fields.map(|name| (name.to_owned(), self.stand_in(&properties[name], depth + 1))).collect()
            }
            "array" => json!([]),
            "integer" => json!(0),
            "boolean" => json!(false),
            _ => json!(""),
        }
    }
}

struct Resolved {
    schema: Json,
    nullable: bool,
    is_secret: bool,
}

impl Resolved {
    fn kind(&self) -> &str {
        match self.schema.get("type") {
            Some(Json::String(kind)) => kind,
            Some(Json::Array(kinds)) => {
                kinds.iter().filter_map(Json::as_str).find(|kind| *kind != "null").unwrap_or("")
            }
            _ => "",
        }
    }

    /// Whether a value that is no text may stand for one.
    fn takes(&self, value: &Value) -> bool {
        let kind = match value {
            Value::Integer(_) => &["integer", "number"][..],
            Value::Float(_) => &["number"],
            Value::Bool(_) => &["boolean"],
            _ => &[],
        };
        let kinds = self.schema.get("type").and_then(Json::as_array);
        kinds.is_some_and(|kinds| kinds.iter().filter_map(Json::as_str).any(|known| kind.contains(&known)))
    }
}

/// Follows `$ref` and takes `null` out of `anyOf` and `type`.
fn resolve(root: &Json, schema: &Json) -> Resolved {
    let mut schema = schema.clone();
    let (mut nullable, mut is_secret) = (false, false);
    for _ in 0..MAX_REFERENCES {
        if let Some(reference) = schema.get("$ref").and_then(Json::as_str) {
            let pointer = reference.trim_start_matches('#');
            is_secret |= pointer == SECRET;
            schema = root.pointer(pointer).cloned().unwrap_or_default();
        } else if let Some(alternatives) = schema.get("anyOf").and_then(Json::as_array) {
            let is_null = |schema: &&Json| schema.get("type") == Some(&json!("null"));
            nullable |= alternatives.iter().any(|schema| is_null(&schema));
            schema = alternatives.iter().find(|schema| !is_null(schema)).cloned().unwrap_or_default();
        } else {
            break;
        }
    }
    nullable |= schema.get("type").and_then(Json::as_array).is_some_and(|kinds| kinds.contains(&json!("null")));
    Resolved { schema, nullable, is_secret }
}

/// The names of an enumeration: `enum`, or `oneOf` of constants where variants are documented.
fn choices(schema: &Json) -> Option<Vec<String>> {
    let text = |value: &Json| value.as_str().map(str::to_owned);
    let mut names = Vec::new();
    if let Some(values) = schema.get("enum").and_then(Json::as_array) {
        names.extend(values.iter().filter_map(text));
    }
    for alternative in schema.get("oneOf").and_then(Json::as_array).into_iter().flatten() {
        names.extend(alternative.get("const").and_then(text));
        names.extend(choices(alternative).into_iter().flatten());
    }
    (!names.is_empty()).then_some(names)
}

fn one_of(names: &[String]) -> String {
    match names {
        [only] => format!("`{only}`"),
        names => format!("one of {}", names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    }
}

fn first_sentence(text: &str) -> String {
    text.split("\n\n").next().unwrap_or_default().replace('\n', " ")
}
