//! NDJSON on standard output: the events as they are.

use std::io::Write;

use naru_execute::Event;

use super::Face;

pub(crate) struct Json;

impl Json {
    /// A document that is no event of the executor.
    pub(crate) fn document(mut document: serde_json::Value) {
        document["time"] = jiff::Timestamp::now().to_string().into();
        Self::line(&document);
    }

    fn line(document: &serde_json::Value) {
        let mut stdout = std::io::stdout().lock();
        // A reader that went away does not stop the work.
        let _ = writeln!(stdout, "{document}").and_then(|()| stdout.flush());
    }
}

impl Face for Json {
    fn event(&self, event: &Event) {
        Self::document(serde_json::to_value(event).expect("events are plain data"));
    }

    fn remark(&self, text: &str) {
        Self::document(serde_json::json!({"event": "remark", "text": text}));
    }
}
