//! NDJSON on standard output: the events as they are.

use std::io::Write;

use naru_execute::Event;

use super::Face;

pub(crate) struct Json;

impl Json {
    fn line(document: &serde_json::Value) {
        let mut stdout = std::io::stdout().lock();
        // A reader that went away does not stop the work.
        let _ = writeln!(stdout, "{document}").and_then(|()| stdout.flush());
    }
}

impl Face for Json {
    fn event(&self, event: &Event) {
        let mut document = serde_json::to_value(event).expect("events are plain data");
        document["time"] = jiff::Timestamp::now().to_string().into();
        Self::line(&document);
    }

    fn remark(&self, text: &str) {
        let time = jiff::Timestamp::now().to_string();
        Self::line(&serde_json::json!({"event": "remark", "text": text, "time": time}));
    }
}
