//! Questions on the terminal, each with a default; without a terminal the default is the answer.

use std::io::BufRead;

use crate::commands::tell;
use crate::exit::Failure;

/// Whom is asked.
pub(super) struct Questions {
    input: Option<Box<dyn BufRead + Send>>,
}

impl Questions {
    pub(super) fn new(can_ask: bool) -> Self {
        let input = can_ask.then(|| Box::new(std::io::BufReader::new(std::io::stdin())) as Box<dyn BufRead + Send>);
        Self { input }
    }

    #[cfg(test)]
    pub(super) fn answered(answers: &'static str) -> Self {
        Self { input: Some(Box::new(answers.as_bytes())) }
    }

    pub(super) fn can_ask(&self) -> bool {
        self.input.is_some()
    }

    pub(super) fn ask(&mut self, question: &str, default: &str) -> Result<String, Failure> {
        let Some(input) = &mut self.input else { return Ok(default.to_owned()) };
        let space = if question.ends_with('\n') { "" } else { " " };
        let shown = if default.is_empty() { String::new() } else { format!("{space}[{default}]") };
        tell(&format!("{question}{shown}: "));
        let mut answer = String::new();
        let count = input.read_line(&mut answer).map_err(|error| Failure::because("no answer", &error))?;
        if count == 0 {
            return Err(Failure::user("no answer").hint("flags answer as well: `naru init --help`"));
        }
        let answer = answer.trim();
        Ok(if answer.is_empty() { default.to_owned() } else { answer.to_owned() })
    }
}
