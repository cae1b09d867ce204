//! Query parameters, and the options that lists, writes and deletions take from them.

use serde_json::{Value, json};

use crate::status::ApiError;

#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|part| !part.is_empty());
        let decoded = pairs.map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(key), percent_decode(value))
        });
        Self(decoded.collect())
    }

    /// The first value of the parameter, empty when absent.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.0.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(name, _)| name == key)
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        self.has(key) && !matches!(self.get(key), "false" | "0")
    }

    pub(crate) fn number(&self, key: &str) -> Result<Option<u64>, ApiError> {
        match self.get(key) {
            "" => Ok(None),
            text => match text.parse::<u64>() {
                Ok(number) => Ok(Some(number)),
                Err(error) => Err(ApiError::bad_request(format!("invalid value {text:?} of {key}: {error}"))),
            },
        }
    }

    /// `dryRun=All`; any other value is an error.
    pub(crate) fn dry_run(&self) -> Result<bool, ApiError> {
        match self.get("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => {
                let text = format!("dryRun: Unsupported value: {other:?}: supported values: \"All\"");
                Err(ApiError::new(422, "Invalid", format!(" \"\" is invalid: {text}")))
            }
        }
    }
}

/// `+` is a space in a query, never in a path.
fn percent_decode(text: &str) -> String {
    decode(text, true)
}

pub(crate) fn decode(text: &str, plus_is_space: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(if *first == b'+' && plus_is_space { b' ' } else { *first });
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `DeleteOptions`, from the body or else from the query.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct DeleteOptions {
    pub(crate) grace_period_seconds: Option<i64>,
    pub(crate) propagation_policy: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    pub(crate) dry_run: bool,
}

impl DeleteOptions {
    pub(crate) fn parse(query: &Query, body: &Value) -> Result<Self, ApiError> {
        let from_query = |key: &str| match query.get(key) {
            "" => Value::Null,
            text => text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number)),
        };
        let field = |key: &str| match &body[key] {
            Value::Null => from_query(key),
            value => value.clone(),
        };
        let grace_period_seconds = field("gracePeriodSeconds").as_i64();
        if grace_period_seconds.is_some_and(|seconds| seconds < 0) {
            return Err(ApiError::bad_request("gracePeriodSeconds: must be greater than or equal to 0"));
        }
        let mut propagation_policy = field("propagationPolicy").as_str().unwrap_or_default().to_owned();
        let orphan = body["orphanDependents"].as_bool().or_else(|| query.get("orphanDependents").parse().ok());
        if propagation_policy.is_empty()
            && let Some(orphan) = orphan
        {
            propagation_policy = if orphan { "Orphan" } else { "Background" }.to_owned();
        }
        if !matches!(propagation_policy.as_str(), "" | "Orphan" | "Background" | "Foreground") {
            return Err(ApiError::bad_request(format!("invalid propagationPolicy {propagation_policy:?}")));
        }
        let preconditions = &body["preconditions"];
        let text = |key: &str| preconditions[key].as_str().unwrap_or_default().to_owned();
        let dry_run = query.dry_run()? || body["dryRun"].as_array().is_some_and(|values| !values.is_empty());
        let (uid, resource_version) = (text("uid"), text("resourceVersion"));
        Ok(Self { grace_period_seconds, propagation_policy, uid, resource_version, dry_run })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse("labelSelector=a%3Db%2Cc+in+%28d%29&watch&limit=5&x=100%");
        assert_eq!(query.get("labelSelector"), "a=b,c in (d)");
        assert!(query.flag("watch") && !query.flag("follow"));
        assert_eq!(query.number("limit").unwrap(), Some(5));
        assert_eq!(query.get("x"), "100%");
        assert!(Query::parse("limit=x").number("limit").is_err());
    }

    #[test]
    fn delete_options_come_from_the_body_before_the_query() {
        let query = Query::parse("gracePeriodSeconds=3&propagationPolicy=Orphan");
        let options = DeleteOptions::parse(&query, &json!({"gracePeriodSeconds": 0, "preconditions": {"uid": "u"}}));
        let options = options.unwrap();
        assert_eq!(options.grace_period_seconds, Some(0));
        assert_eq!((options.propagation_policy.as_str(), options.uid.as_str()), ("Orphan", "u"));
        assert!(DeleteOptions::parse(&query, &json!({"gracePeriodSeconds": -1})).is_err());
    }
}
