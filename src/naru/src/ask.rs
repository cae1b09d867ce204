//! Asking the person at the terminal: yes or no, or a word to be typed. Never in a pipe.

use crate::cli::Terminal;
use crate::commands::tell;
use crate::exit::Failure;

fn answer(question: &str) -> Result<String, Failure> {
    tell(question);
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|error| Failure::because("no answer", &error))?;
    Ok(answer.trim().to_owned())
}

/// Whether the operator wants it: `--yes`, no terminal to ask on, or an answer.
pub(crate) fn agreed(question: &str, yes: bool, terminal: Terminal) -> Result<bool, Failure> {
    if yes || !terminal.can_ask {
        return Ok(true);
    }
    let answer = answer(&format!("\n{question} [y/N] "))?;
    let agreed = matches!(answer.to_lowercase().as_str(), "y" | "yes");
    if !agreed {
        tell("Nothing was changed.\n");
    }
    Ok(agreed)
}

/// The same for what cannot be taken back: the word has to be typed.
pub(crate) fn agreed_by_word(question: &str, word: &str, yes: bool) -> Result<bool, Failure> {
    if yes {
        return Ok(true);
    }
    let agreed = answer(&format!("\n{question}\nType {word} to go on: "))? == word;
    if !agreed {
        tell("Nothing was changed.\n");
    }
    Ok(agreed)
}
