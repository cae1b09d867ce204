//! What is wrong with an inventory, and how it is shown: place, source line with a caret, detail, hint.

use std::fmt::{self, Write as _};

use crate::conceal::Concealed;

/// A place in the file; lines and columns count from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    pub column: usize,
    /// Characters to underline.
    pub width: usize,
}

impl Position {
    pub(crate) const START: Self = Self { line: 1, column: 1, width: 1 };
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub position: Position,
    /// What is wrong, one line.
    pub primary: String,
    /// What was expected.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    pub(crate) fn at_start(primary: String) -> Self {
        Self { position: Position::START, primary, detail: None, hint: None }
    }
}

/// An inventory that cannot be used; all its mistakes in the order of the file.
#[derive(Debug, Clone, thiserror::Error)]
pub struct InvalidInventory {
    pub file: String,
    pub diagnostics: Vec<Diagnostic>,
    /// The source line of each diagnostic; empty where it must not be shown.
    lines: Vec<String>,
}

impl InvalidInventory {
    pub(crate) fn new(file: &str, text: &str, mut diagnostics: Vec<Diagnostic>, concealed: &Concealed) -> Self {
        diagnostics.sort_by_key(|diagnostic| diagnostic.position);
        let source: Vec<&str> = text.lines().collect();
        let lines = diagnostics
            .iter()
            .map(|diagnostic| {
                let number = diagnostic.position.line;
                let line = source.get(number - 1).filter(|_| !concealed.hides(number));
                line.map(|line| (*line).to_owned()).unwrap_or_default()
            })
            .collect();
        Self { file: file.to_owned(), diagnostics, lines }
    }
}

impl fmt::Display for InvalidInventory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (diagnostic, line) in self.diagnostics.iter().zip(&self.lines) {
            formatter.write_str(&render(&self.file, diagnostic, line))?;
            formatter.write_char('\n')?;
        }
        match self.diagnostics.len() {
            1 => write!(formatter, "1 mistake in {}; no host was touched", self.file),
            count => write!(formatter, "{count} mistakes in {}; no host was touched", self.file),
        }
    }
}

fn render(file: &str, diagnostic: &Diagnostic, line: &str) -> String {
    let Position { line: number, column, width } = diagnostic.position;
    let mut text = format!("{file}:{number}:{column}: {}\n", diagnostic.primary);
    let gutter = number.to_string().len();
    if !line.trim().is_empty() {
        let room = line.chars().count().saturating_sub(column - 1).max(1);
        let carets = "^".repeat(width.min(room));
        // Tabs stay tabs so that the caret stands under its character.
        let indent: String =
            line.chars().take(column - 1).map(|character| if character == '\t' { '\t' } else { ' ' }).collect();
        let _ = writeln!(text, "{:gutter$} |", "");
        let _ = writeln!(text, "{number} | {line}");
        let _ = writeln!(text, "{:gutter$} | {indent}{carets}", "");
    }
    if let Some(detail) = &diagnostic.detail {
        let _ = writeln!(text, "{:gutter$} = {detail}", "");
    }
    if let Some(hint) = &diagnostic.hint {
        let _ = writeln!(text, "{:gutter$} = hint: {hint}", "");
    }
    text
}
