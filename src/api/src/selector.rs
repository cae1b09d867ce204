//! Label selectors (text and `metav1.LabelSelector`) and field selectors.

use crate::meta;
use crate::resource::Resource;
use serde_json::{Map, Value};

/// What is wrong with a selector; the texts go to clients as 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error("unable to parse requirement: {0}")]
    Label(String),
    #[error("invalid selector: '{selector}'; can't understand '{part}'")]
    Field { selector: String, part: String },
    #[error("field label not supported: {0}")]
    UnknownField(String),
    #[error("{0}")]
    Object(String),
}

/// Requirements that all must hold. The default selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    pub requirements: Vec<Requirement>,
    /// From an absent `metav1.LabelSelector`, which selects nothing.
    nothing: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

impl Requirement {
    pub fn matches(&self, labels: &Map<String, Value>) -> bool {
        let value = labels.get(&self.key).and_then(Value::as_str);
        self.matches_value(value)
    }

    /// The rule on one value; `None` when the key is absent.
    pub fn matches_value(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|allowed| allowed == value);
        match self.operator {
            Operator::In => value.is_some_and(listed),
            Operator::NotIn => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => self.compare(value).is_some_and(|(left, right)| left > right),
            Operator::LessThan => self.compare(value).is_some_and(|(left, right)| left < right),
        }
    }

    fn compare(&self, value: Option<&str>) -> Option<(i64, i64)> {
        Some((value?.parse().ok()?, self.values.first()?.parse().ok()?))
    }
}

impl LabelSelector {
    /// A selector that no object matches.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    pub fn matches(&self, labels: &Map<String, Value>) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.matches(labels))
    }

    /// The `labelSelector` parameter: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for part in split_outside_parentheses(text) {
            let part = part.trim();
            if part.is_empty() {
                if text.trim().is_empty() {
                    break;
                }
                return Err(SelectorError::Label("found ',', expected: !, identifier, or 'end of string'".to_owned()));
            }
            requirements.push(parse_requirement(part)?);
        }
        Ok(Self { requirements, nothing: false })
    }

    /// A `metav1.LabelSelector`; null selects nothing, an empty one everything.
    pub fn from_object(selector: &Value) -> Result<Self, SelectorError> {
        if selector.is_null() {
            return Ok(Self::nothing());
        }
        let mut parsed = Self::from_map(meta::map_at(selector, &["matchLabels"]));
        for expression in meta::list_at(selector, &["matchExpressions"]) {
            let operator = match meta::string_at(expression, &["operator"]) {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError::Object(format!("\"{other}\" is not a valid label selector operator")));
                }
            };
            let values = meta::list_at(expression, &["values"]).iter().filter_map(Value::as_str).map(str::to_owned);
            let key = meta::string_at(expression, &["key"]).to_owned();
            parsed.requirements.push(Requirement { key, operator, values: values.collect() });
        }
        Ok(parsed)
    }

    /// A plain map of labels (Service, ReplicationController).
    pub fn from_map(labels: &Map<String, Value>) -> Self {
        let equal = |(key, value): (&String, &Value)| Requirement {
            key: key.clone(),
            operator: Operator::In,
            values: vec![value.as_str().unwrap_or_default().to_owned()],
        };
        Self { requirements: labels.iter().map(equal).collect(), nothing: false }
    }
}

impl std::fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut texts: Vec<String> = self.requirements.iter().map(ToString::to_string).collect();
        texts.sort();
        f.write_str(&texts.join(","))
    }
}

impl std::fmt::Display for Requirement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut values = self.values.clone();
        values.sort();
        let key = &self.key;
        match self.operator {
            Operator::In if values.len() == 1 => write!(f, "{key}={}", values[0]),
            Operator::In => write!(f, "{key} in ({})", values.join(",")),
            Operator::NotIn => write!(f, "{key} notin ({})", values.join(",")),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{}", values.join(",")),
            Operator::LessThan => write!(f, "{key}<{}", values.join(",")),
        }
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (index, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_requirement(part: &str) -> Result<Requirement, SelectorError> {
    let (key, operator, values) = if let Some(key) = part.strip_prefix('!').filter(|rest| !rest.contains('=')) {
        (key.trim(), Operator::DoesNotExist, Vec::new())
    } else if let Some((key, values)) = part.split_once('(') {
        parse_set(part, key, values)?
    } else if let Some((key, value)) = part.split_once("!=") {
        (key.trim(), Operator::NotIn, vec![value.trim()])
    } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (key.trim(), Operator::In, vec![value.trim()])
    } else if let Some((key, value)) = part.split_once('>') {
        (key.trim(), Operator::GreaterThan, vec![value.trim()])
    } else if let Some((key, value)) = part.split_once('<') {
        (key.trim(), Operator::LessThan, vec![value.trim()])
    } else {
        (part, Operator::Exists, Vec::new())
    };
    check_requirement(key, operator, &values)?;
    Ok(Requirement { key: key.to_owned(), operator, values: values.into_iter().map(str::to_owned).collect() })
}

fn parse_set<'a>(
    part: &'a str,
    head: &'a str,
    values: &'a str,
) -> Result<(&'a str, Operator, Vec<&'a str>), SelectorError> {
    let (key, word) = head.trim().rsplit_once(char::is_whitespace).unwrap_or((head.trim(), ""));
    let operator = match word {
        "in" => Operator::In,
        "notin" => Operator::NotIn,
        _ => return Err(SelectorError::Label(format!("found '{word}', expected: in, notin, =, ==, !=, gt, lt"))),
    };
    let inner = values.trim_end().strip_suffix(')');
    let inner = inner.ok_or_else(|| SelectorError::Label(format!("found '{part}', expected: ',', or ')'")))?;
    Ok((key.trim(), operator, inner.split(',').map(str::trim).collect()))
}

fn check_requirement(key: &str, operator: Operator, values: &[&str]) -> Result<(), SelectorError> {
    if key.chars().any(char::is_whitespace) {
        let word = key.split_whitespace().nth(1).unwrap_or_default();
        return Err(SelectorError::Label(format!(
            "found '{word}', expected: in, notin, =, ==, !=, gt, lt, ',' or 'end of string'"
        )));
    }
    let problems = crate::names::qualified_name(key);
    if !problems.is_empty() {
        return Err(SelectorError::Label(format!("<nil>: Invalid value: \"{key}\": {}", problems.join("; "))));
    }
    for value in values {
        if matches!(operator, Operator::GreaterThan | Operator::LessThan) && value.parse::<i64>().is_err() {
            let text = "for 'Gt', 'Lt' operators, the value must be an integer";
            return Err(SelectorError::Label(format!("values[0][{key}]: Invalid value: \"{value}\": {text}")));
        }
        let problems = crate::names::label_value(value);
        if !problems.is_empty() {
            let text = problems.join("; ");
            return Err(SelectorError::Label(format!("values[0][{key}]: Invalid value: \"{value}\": {text}")));
        }
    }
    Ok(())
}

/// A parsed `fieldSelector`: all terms must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    pub terms: Vec<FieldTerm>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTerm {
    pub field: String,
    pub equal: bool,
    pub value: String,
}

impl FieldSelector {
    /// `a=b,c!=d`; commas, equal signs and backslashes in values are escaped by a backslash.
    pub fn parse(resource: &Resource, text: &str) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        for part in split_unescaped(text) {
            if part.is_empty() {
                continue;
            }
            let term = parse_term(part)
                .ok_or_else(|| SelectorError::Field { selector: text.to_owned(), part: part.to_owned() })?;
            if !is_selectable(resource, &term.field) {
                return Err(SelectorError::UnknownField(term.field));
            }
            terms.push(term);
        }
        Ok(Self { terms })
    }

    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that this field must have, when the selector demands one.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }

    pub fn matches(&self, resource: &Resource, object: &Value) -> bool {
        self.terms.iter().all(|term| {
            let value = field_value(resource, object, &term.field).unwrap_or_default();
            (value == term.value) == term.equal
        })
    }
}

/// Whether a field can be selected on for this kind.
pub fn is_selectable(resource: &Resource, field: &str) -> bool {
    matches!(field, "metadata.name" | "metadata.namespace") || resource.fields.iter().any(|(label, _)| *label == field)
}

/// The value of a selectable field, as text; `None` when the kind has no such field.
pub fn field_value(resource: &Resource, object: &Value, field: &str) -> Option<String> {
    let pointer = match field {
        "metadata.name" => return Some(meta::name(object).to_owned()),
        "metadata.namespace" => return Some(meta::namespace(object).to_owned()),
        _ => resource.fields.iter().find(|(label, _)| *label == field)?.1,
    };
    // A field may have a second place, which counts when the first is empty: `/source/component|/reportingComponent`.
    let text = pointer.split('|').map(|one| scalar_text(object.pointer(one))).find(|text| !text.is_empty());
    Some(text.unwrap_or_else(|| zero_of(field).to_owned()))
}

fn scalar_text(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn zero_of(field: &str) -> &'static str {
    match field {
        "spec.hostNetwork" | "spec.unschedulable" => "false",
        "status.replicas" | "status.successful" => "0",
        _ => "",
    }
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let (mut parts, mut escaped, mut start) = (Vec::new(), false, 0);
    for (index, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_term(part: &str) -> Option<FieldTerm> {
    let index = part.find('=')?;
    let (field, rest, equal) = match part[..index].strip_suffix('!') {
        Some(field) => (field, &part[index + 1..], false),
        None => (&part[..index], part[index + 1..].strip_prefix('=').unwrap_or(&part[index + 1..]), true),
    };
    let mut value = String::with_capacity(rest.len());
    let mut characters = rest.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => value.push(characters.next().filter(|next| matches!(next, '\\' | ',' | '='))?),
            ',' | '=' => return None,
            other => value.push(other),
        }
    }
    (!field.is_empty()).then(|| FieldTerm { field: field.to_owned(), equal, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn label_selectors() {
        let object = labels(json!({"app": "web", "tier": "front", "size": "5"}));
        let cases = [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app = web", true),
            ("app!=web", false),
            ("other!=web", true),
            ("app in (db,web)", true),
            ("app in (db)", false),
            ("app notin (db, web)", false),
            ("other notin (a)", true),
            ("app", true),
            ("other", false),
            ("!other", true),
            ("!app", false),
            ("app=web,tier=front", true),
            ("app=web,tier=back", false),
            ("size>4", true),
            ("size<5", false),
            ("app in (web),!other,tier", true),
            ("app=", false),
            ("app in (,web)", true),
        ];
        for (text, expected) in cases {
            let selector = LabelSelector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(selector.matches(&object), expected, "{text}");
        }
    }

    #[test]
    fn wrong_label_selectors() {
        for text in ["a b", "a in b", "a in (b", "=b", "a=b=c", "a,,b", "-a=b", "a foo (b)", "a>x"] {
            assert!(LabelSelector::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn selector_objects() {
        let selector = json!({"matchLabels": {"a": "b"}, "matchExpressions": [
            {"key": "c", "operator": "NotIn", "values": ["d"]}, {"key": "e", "operator": "DoesNotExist"}]});
        let selector = LabelSelector::from_object(&selector).unwrap();
        assert!(selector.matches(&labels(json!({"a": "b"}))));
        assert!(!selector.matches(&labels(json!({"a": "b", "c": "d"}))));
        assert_eq!(selector.to_string(), "!e,a=b,c notin (d)");
        assert!(LabelSelector::from_object(&json!({})).unwrap().matches(&labels(json!({}))));
        assert!(!LabelSelector::from_object(&Value::Null).unwrap().matches(&labels(json!({}))));
    }

    #[test]
    fn field_selectors() {
        let pods = crate::by_kind("", "v1", "Pod").unwrap();
        let pod = json!({"metadata": {"name": "a", "namespace": "x"}, "spec": {"nodeName": "n1"}});
        let matches = |text| FieldSelector::parse(pods, text).map(|selector| selector.matches(pods, &pod));
        assert_eq!(matches("spec.nodeName=n1,metadata.name==a"), Ok(true));
        assert_eq!(matches("status.phase!=Failed"), Ok(true));
        assert_eq!(matches("spec.hostNetwork=false"), Ok(true));
        assert_eq!(matches("spec.nodeName="), Ok(false));
        let error = FieldSelector::parse(pods, "spec.color=red").unwrap_err();
        assert_eq!(error.to_string(), "field label not supported: spec.color");
        let error = FieldSelector::parse(pods, "nonsense").unwrap_err();
        assert_eq!(error.to_string(), "invalid selector: 'nonsense'; can't understand 'nonsense'");
        assert_eq!(FieldSelector::parse(pods, "metadata.name=a").unwrap().required("metadata.name"), Some("a"));
    }
}
