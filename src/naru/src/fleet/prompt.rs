//! Asking a person for a passphrase on the terminal, without showing what is typed.

use std::io::{IsTerminal, Read as _, Write as _};
use std::path::Path;

use naru_hosts::PassphrasePrompt;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

const MAX_PASSPHRASE_BYTES: usize = 1024;
const INTERRUPT: u8 = 3;
const END_OF_INPUT: u8 = 4;
const BACKSPACE: [u8; 2] = [8, 127];

pub(super) struct TerminalPrompt;

impl PassphrasePrompt for TerminalPrompt {
    fn ask(&self, key_file: &Path, attempt: u32) -> Result<Zeroizing<String>, String> {
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return Err("it is protected by a passphrase, and there is no terminal to ask for it on".to_owned());
        }
        let again = if attempt > 1 { "that was not it; " } else { "" };
        let mut terminal = std::io::stderr().lock();
        // Before anything is asked: an answer may come at once.
        let quiet = Quiet::begin().map_err(|error| error.to_string())?;
        let asked = write!(terminal, "{again}passphrase of {}: ", key_file.display()).and_then(|()| terminal.flush());
        let passphrase = asked.map_err(|error| error.to_string()).and_then(|()| read());
        drop(quiet);
        let _ = writeln!(terminal);
        passphrase
    }
}

/// A terminal that shows nothing and hands over every key, Ctrl-C included, so that it is always put back.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> rustix::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0) {
            tracing::warn!(%error, "the terminal is not as it was; `reset` helps");
        }
    }
}

fn read() -> Result<Zeroizing<String>, String> {
    // As long as it gets at once: growing would leave copies behind.
    let mut typed = Zeroizing::new(Vec::with_capacity(MAX_PASSPHRASE_BYTES));
    let mut stdin = std::io::stdin().lock();
    let mut byte = [0_u8];
    loop {
        let count = stdin.read(&mut byte).map_err(|error| error.to_string())?;
        match byte[0] {
            _ if count == 0 => return Err("the terminal was closed".to_owned()),
            INTERRUPT | END_OF_INPUT => return Err("nobody typed its passphrase".to_owned()),
            b'\r' | b'\n' => break,
            key if BACKSPACE.contains(&key) => drop(typed.pop()),
            key if typed.len() < MAX_PASSPHRASE_BYTES => typed.push(key),
            _ => return Err(format!("a passphrase has at most {MAX_PASSPHRASE_BYTES} bytes")),
        }
    }
    let text = std::str::from_utf8(&typed).map_err(|error| error.to_string())?;
    Ok(Zeroizing::new(text.to_owned()))
}
