//! A few numbers about this server in the Prometheus text format.

use std::collections::BTreeMap;
use std::fmt::Write;

use http::StatusCode;
use parking_lot::Mutex;

use crate::registry::objects::Objects;

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// By verb and status code. Verbs of unknown requests are their HTTP methods, which the HTTP library bounds.
    requests: Mutex<BTreeMap<(String, u16), u64>>,
}

/// Most different counters; an odd client inventing methods cannot make more.
const COUNTERS_MAX: usize = 1_000;

impl Metrics {
    pub(crate) fn count(&self, verb: &str, code: StatusCode) {
        let mut requests = self.requests.lock();
        if let Some(count) = requests.get_mut(&(verb.to_owned(), code.as_u16())) {
            *count += 1;
        } else if requests.len() < COUNTERS_MAX {
            requests.insert((verb.to_owned(), code.as_u16()), 1);
        }
    }

    pub(crate) fn render(&self, objects: &Objects) -> String {
        let mut text = String::from("# TYPE apiserver_request_total counter\n");
        for ((verb, code), count) in &*self.requests.lock() {
            let verb = verb.to_uppercase();
            let line = writeln!(text, "apiserver_request_total{{verb=\"{verb}\",code=\"{code}\"}} {count}");
            line.expect("writing to a String does not fail");
        }
        text.push_str("# TYPE apiserver_storage_objects gauge\n");
        for row in objects.catalog.rows().iter().filter(|row| row.is_stored() && row.stored_as.is_none()) {
            let count = objects.store.snapshot(&objects.catalog.table(row)).entries.len();
            let line = writeln!(text, "apiserver_storage_objects{{resource=\"{}\"}} {count}", row.group_resource());
            line.expect("writing to a String does not fail");
        }
        text
    }
}
