//! Asking the person at the terminal: yes or no, a word to be typed, a passphrase. Never in a pipe.

use std::io::{IsTerminal, Read, Write};
use std::path::Path;

use naru_hosts::PassphrasePrompt;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::cli::Terminal;
use crate::commands::tell;
use crate::exit::Failure;

const MAX_PASSPHRASE_BYTES: usize = 1_024;
const CONTROL_C: u8 = 3;
const CONTROL_D: u8 = 4;
const BACKSPACE: u8 = 8;
const CONTROL_U: u8 = 21;
const DELETE: u8 = 127;

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
pub(crate) fn agreed_by_word(question: &str, word: &str, yes: bool, terminal: Terminal) -> Result<bool, Failure> {
    if yes {
        return Ok(true);
    }
    let agreed = answer(&format!("\n{question}\nType {word} to go on: "))? == word;
    if !agreed {
        tell("Nothing was changed.\n");
    }
    Ok(agreed)
}

/// Asks on the terminal for passphrases of keys, without echo.
pub(crate) struct OnTerminal;

impl PassphrasePrompt for OnTerminal {
    fn ask(&self, key_file: &Path, attempt: u32) -> Result<Zeroizing<String>, String> {
        if !std::io::stderr().is_terminal() {
            return Err("it needs a passphrase, and there is no terminal to ask on".to_owned());
        }
        let terminal = fs_err::OpenOptions::new().read(true).write(true).open("/dev/tty");
        let mut terminal =
            terminal.map_err(|_| "it needs a passphrase, and there is no terminal to ask on".to_owned())?;
        let silence =
            Silence::on(terminal.file()).map_err(|error| format!("the terminal cannot be silenced: {error}"))?;
        let again = if attempt > 1 { "That was not it. " } else { "" };
        let question = format!("{again}Passphrase of {}: ", key_file.display());
        terminal.write_all(question.as_bytes()).map_err(|error| error.to_string())?;
        let read = read_line(&mut terminal);
        let _ = terminal.write_all(b"\n");
        drop(silence);
        read
    }
}

/// A terminal without echo and without keys that send signals, as long as this lives.
struct Silence<'a> {
    terminal: &'a std::fs::File,
    before: Termios,
}

impl<'a> Silence<'a> {
    fn on(terminal: &'a std::fs::File) -> std::io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        // What was typed before the question is no answer to it.
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Reads up to the end of the line, with the few keys that a terminal would handle itself otherwise.
fn read_line(keys: &mut impl Read) -> Result<Zeroizing<String>, String> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSPHRASE_BYTES));
    let mut key = Zeroizing::new([0_u8; 1]);
    loop {
        let count = keys.read(&mut key[..]).map_err(|error| error.to_string())?;
        match key[0] {
            _ if count == 0 => return Err("no passphrase was given".to_owned()),
            CONTROL_C => return Err("no passphrase was given".to_owned()),
            CONTROL_D if line.is_empty() => return Err("no passphrase was given".to_owned()),
            b'\n' | b'\r' | CONTROL_D => break,
            BACKSPACE | DELETE => {
                // A character may have several bytes.
                while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            CONTROL_U => line.clear(),
            _ if line.len() == MAX_PASSPHRASE_BYTES => return Err("the passphrase is too long".to_owned()),
            byte => line.push(byte),
        }
    }
    let text = std::str::from_utf8(&line).map_err(|_| "the passphrase is no text".to_owned())?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_mend_a_line_are_understood() {
        let read = |keys: &str| read_line(&mut keys.as_bytes()).map(|line| line.to_string());
        assert_eq!(read("secret\nrest").unwrap(), "secret");
        assert_eq!(read("wröng\x7f\x7f\x7f\x7fong\r").unwrap(), "wong");
        assert_eq!(read("ä\x7fb\n").unwrap(), "b");
        assert_eq!(read("all of it\x15new\n").unwrap(), "new");
        assert_eq!(read("\n").unwrap(), "");
        for given_up in ["half\x03", "\x04", "no end"] {
            assert!(read(given_up).is_err(), "{given_up:?}");
        }
        assert!(read(&"x".repeat(2_000)).is_err());
    }
}
