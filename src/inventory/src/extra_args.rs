//! Flags that may stand under `extraArgs`: one table per program. Schema, checks, reference page and planner all read
//! them here.

use naru_api::quantity::Quantity;
use schemars::{Schema, json_schema};
use serde_json::{Map, json};

/// One flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtraArg {
    /// As upstream's flag, without dashes.
    pub name: &'static str,
    pub kind: ArgKind,
    pub meaning: &'static str,
    /// What holds without the flag, as it would be written.
    pub default: &'static str,
}

/// What a flag's value looks like; bounds are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgKind {
    /// `90s`, `1h30m`; bounds in seconds.
    Duration {
        min_seconds: u64,
        max_seconds: u64,
    },
    /// `10Mi`, `1G`.
    Bytes {
        min: u64,
        max: u64,
    },
    Number {
        min: u64,
        max: u64,
    },
    /// `30000-32767`.
    PortRange {
        lowest: u16,
        min_width: u16,
    },
}

/// A value that has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgValue {
    Milliseconds(u64),
    Bytes(u64),
    Number(u64),
    PortRange { first: u16, last: u16 },
}

const fn duration(min_seconds: u64, max_seconds: u64) -> ArgKind {
    ArgKind::Duration { min_seconds, max_seconds }
}

/// Flags of the API server: `spec.controlPlane.apiServer.extraArgs`.
pub const API_SERVER_ARGS: &[ExtraArg] = &[
    ExtraArg {
        name: "event-ttl",
        kind: duration(60, 720 * 3_600),
        meaning: "How long events are kept.",
        default: "1h",
    },
    ExtraArg {
        name: "min-request-timeout",
        kind: ArgKind::Number { min: 60, max: 86_400 },
        meaning: "Seconds after which a watch that names no timeout is ended at the earliest; twice that at the latest.",
        default: "1800",
    },
    ExtraArg {
        name: "request-timeout",
        kind: duration(1, 3_600),
        meaning: "How long a request may take that is neither a watch nor a stream.",
        default: "1m",
    },
    ExtraArg {
        name: "service-node-port-range",
        kind: ArgKind::PortRange { lowest: 1_024, min_width: 100 },
        meaning: "Ports that Services of type NodePort and LoadBalancer get.",
        default: "30000-32767",
    },
];

/// Flags of the kubelet: `spec.kubelet.extraArgs` and a host's own.
pub const KUBELET_ARGS: &[ExtraArg] = &[
    ExtraArg {
        name: "container-log-max-files",
        kind: ArgKind::Number { min: 2, max: 1_000 },
        meaning: "Log files that are kept of a container.",
        default: "5",
    },
    ExtraArg {
        name: "container-log-max-size",
        kind: ArgKind::Bytes { min: 64 << 10, max: 1 << 40 },
        meaning: "Size at which a container's log file is closed and the next one begun.",
        default: "10Mi",
    },
    ExtraArg {
        name: "node-status-report-frequency",
        kind: duration(10, 3_600),
        meaning: "How often the node's status is reported although nothing has changed.",
        default: "5m",
    },
    ExtraArg {
        name: "node-status-update-frequency",
        kind: duration(1, 300),
        meaning: "How often the node looks at itself; what has changed is reported at once.",
        default: "10s",
    },
    ExtraArg {
        name: "runtime-request-timeout",
        kind: duration(10, 3_600),
        meaning: "How long the container runtime may take for a request that pulls no image.",
        default: "2m",
    },
];

/// The API server's flag of this name.
#[must_use]
pub fn api_server_arg(name: &str) -> Option<&'static ExtraArg> {
    API_SERVER_ARGS.iter().find(|arg| arg.name == name)
}

/// The kubelet's flag of this name.
#[must_use]
pub fn kubelet_arg(name: &str) -> Option<&'static ExtraArg> {
    KUBELET_ARGS.iter().find(|arg| arg.name == name)
}

impl ExtraArg {
    /// Reads a value.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn parse(&self, text: &str) -> Result<ArgValue, String> {
        let within = |value: u64, min: u64, max: u64| (min..=max).contains(&value);
        let value = match self.kind {
            ArgKind::Duration { min_seconds, max_seconds } => milliseconds(text)
                .filter(|value| within(*value, min_seconds * 1_000, max_seconds * 1_000))
                .map(ArgValue::Milliseconds),
            ArgKind::Bytes { min, max } => bytes(text).filter(|value| within(*value, min, max)).map(ArgValue::Bytes),
            ArgKind::Number { min, max } => {
                text.parse().ok().filter(|value| within(*value, min, max)).map(ArgValue::Number)
            }
            ArgKind::PortRange { lowest, min_width } => text.split_once('-').and_then(|(first, last)| {
                let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
                let is_fine = first >= lowest && last.checked_sub(first)?.checked_add(1)? >= min_width;
                is_fine.then_some(ArgValue::PortRange { first, last })
            }),
        };
        value.ok_or_else(|| self.kind.expected())
    }
}

impl ArgKind {
    /// What a value looks like, for people.
    #[must_use]
    pub fn expected(&self) -> String {
        match self {
            Self::Duration { min_seconds, max_seconds } => {
                format!("a duration from {} to {}, as `90s` or `1h30m`", span(*min_seconds), span(*max_seconds))
            }
            Self::Bytes { min, max } => format!("a size from {} to {}, as `10Mi`", size(*min), size(*max)),
            Self::Number { min, max } => format!("a whole number from {min} to {max}"),
            Self::PortRange { lowest, min_width } => {
                format!("at least {min_width} ports from {lowest} on, as `30000-32767`")
            }
        }
    }

    fn schema(&self) -> (serde_json::Value, &'static str) {
        match self {
            Self::Duration { .. } => (json!("string"), r"^([0-9]+(h|m|s|ms))+$"),
            Self::Bytes { .. } => (json!(["string", "integer"]), r"^[0-9]+(\.[0-9]+)?([kMGT]|[KMGT]i)?$"),
            Self::Number { .. } => (json!(["string", "integer"]), r"^[0-9]+$"),
            Self::PortRange { .. } => (json!("string"), r"^[0-9]+-[0-9]+$"),
        }
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        seconds if seconds % 3_600 == 0 => format!("{}h", seconds / 3_600),
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

fn size(bytes: u64) -> String {
    let units = [(1 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
    let unit = units.into_iter().find(|(unit, _)| bytes.is_multiple_of(*unit));
    unit.map_or_else(|| bytes.to_string(), |(unit, name)| format!("{}{name}", bytes / unit))
}

/// Go's notation: numbers with units, the larger ones first or not, as `1h30m`.
fn milliseconds(text: &str) -> Option<u64> {
    let mut total = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let units = tail.find(|character: char| character.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(units);
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

fn bytes(text: &str) -> Option<u64> {
    let quantity = Quantity::parse(text).ok().filter(|quantity| quantity.is_whole())?;
    u64::try_from(quantity.value()).ok()
}

pub(crate) fn api_server_schema(_: &mut schemars::SchemaGenerator) -> Schema {
    schema(API_SERVER_ARGS)
}

pub(crate) fn kubelet_schema(_: &mut schemars::SchemaGenerator) -> Schema {
    schema(KUBELET_ARGS)
}

fn schema(table: &[ExtraArg]) -> Schema {
    let mut properties = Map::new();
    for arg in table {
        let (kind, pattern) = arg.kind.schema();
        let description = format!("{} {}.", arg.meaning, first_upper(&arg.kind.expected()));
        let property = json!({ "type": kind, "pattern": pattern, "default": arg.default, "description": description });
        properties.insert(arg.name.to_owned(), property);
    }
    json_schema!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn first_upper(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_within_their_bounds() {
        let parse = |name: &str, text: &str| api_server_arg(name).or_else(|| kubelet_arg(name)).unwrap().parse(text);
        assert_eq!(parse("event-ttl", "1h30m"), Ok(ArgValue::Milliseconds(5_400_000)));
        assert_eq!(parse("container-log-max-size", "10Mi"), Ok(ArgValue::Bytes(10 << 20)));
        assert_eq!(parse("container-log-max-files", "7"), Ok(ArgValue::Number(7)));
        let ports = ArgValue::PortRange { first: 31_000, last: 31_099 };
        assert_eq!(parse("service-node-port-range", "31000-31099"), Ok(ports));
        let wrong = [
            ("event-ttl", &["", "1", "h", "1d", "59s", "721h", "-1h", "1h 30m", "99999999999999999999h"][..]),
            ("container-log-max-size", &["10", "10Zi", "-10Mi", "2Ti", "1m"]),
            ("container-log-max-files", &["1", "1001", "five", "-5", "2.5"]),
            ("service-node-port-range", &["30000", "30000-30098", "80-32767", "32767-30000", "30000-99999"]),
        ];
        for (name, texts) in wrong {
            for text in texts {
                assert!(parse(name, text).is_err(), "{name}: {text}");
            }
        }
    }

    #[test]
    fn defaults_are_values_and_tables_are_in_order() {
        for table in [API_SERVER_ARGS, KUBELET_ARGS] {
            assert!(table.is_sorted_by_key(|arg| arg.name));
            for arg in table {
                assert!(arg.parse(arg.default).is_ok(), "{}", arg.name);
            }
        }
    }
}
