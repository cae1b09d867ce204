//! known_hosts files as sshd(8) describes them: plain and hashed names, wildcards, `[host]:port`, `@revoked` and
//! `@cert-authority`. What cannot be read is passed over, as OpenSSH does.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fs_err as fs;
use russh::keys::{Algorithm, PublicKey};

const DEFAULT_PORT: u16 = 22;

/// All entries of some files.
#[derive(Debug, Clone, Default)]
pub struct KnownHosts {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    marker: Marker,
    names: Names,
    key: PublicKey,
    /// `file:line`
    place: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    None,
    Revoked,
    Authority,
}

#[derive(Debug, Clone)]
enum Names {
    Patterns(Vec<String>),
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

/// What the files say about a host's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Known,
    Unknown,
    Changed { recorded: Box<PublicKey>, place: String },
    Revoked { place: String },
}

impl KnownHosts {
    /// Reads files in this order; one that is not there is empty.
    pub fn load(files: &[PathBuf]) -> io::Result<Self> {
        let mut known = Self::default();
        for file in files {
            match fs::read_to_string(file) {
                Ok(text) => known.add(&text, file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(known)
    }

    fn add(&mut self, text: &str, file: &Path) {
        for (index, line) in text.lines().enumerate() {
            let place = format!("{}:{}", file.display(), index + 1);
            self.entries.extend(entry(line, place));
        }
    }

    /// Judges the plain key that a host shows.
    pub(crate) fn judge(&self, host: &str, port: u16, key: &PublicKey) -> Verdict {
        let same = |entry: &&Entry| entry.key.key_data() == key.key_data();
        if let Some(revoked) = self.entries.iter().filter(|entry| entry.marker == Marker::Revoked).find(same) {
            return Verdict::Revoked { place: revoked.place.clone() };
        }
        let recorded: Vec<&Entry> = self.of(host, port, Marker::None).collect();
        if recorded.iter().any(same) {
            return Verdict::Known;
        }
        // A key of another kind counts as changed too: we asked for the recorded kinds first.
        let alike = recorded.iter().find(|entry| entry.key.algorithm() == key.algorithm());
        match alike.or(recorded.first()) {
            Some(entry) => Verdict::Changed { recorded: Box::new(entry.key.clone()), place: entry.place.clone() },
            None => Verdict::Unknown,
        }
    }

    /// Kinds of keys that are recorded for a host, to be asked for first.
    pub(crate) fn algorithms(&self, host: &str, port: u16) -> Vec<Algorithm> {
        let mut algorithms = Vec::new();
        for entry in self.of(host, port, Marker::None) {
            let algorithm = entry.key.algorithm();
            if !algorithms.contains(&algorithm) {
                algorithms.push(algorithm);
            }
        }
        algorithms
    }

    /// Authorities that may vouch for a host.
    pub(crate) fn authorities(&self, host: &str, port: u16) -> Vec<PublicKey> {
        self.of(host, port, Marker::Authority).map(|entry| entry.key.clone()).collect()
    }

    fn of<'a>(&'a self, host: &str, port: u16, marker: Marker) -> impl Iterator<Item = &'a Entry> {
        let name = host_name(host, port);
        self.entries.iter().filter(move |entry| entry.marker == marker && entry.names.cover(&name))
    }
}

/// Adds a host's key at the end of a file that is private to its owner.
pub(crate) fn append(file: &Path, host: &str, port: u16, key: &PublicKey) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true).read(true);
    options.options_mut().mode(0o600);
    let mut opened = options.open(file)?;
    let text = fs::read_to_string(file)?;
    let separator = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let line = format!("{separator}{} {}\n", host_name(host, port), openssh(key));
    opened.write_all(line.as_bytes())?;
    opened.sync_all()
}

/// `ssh-ed25519 AAAA…`, without a comment.
pub(crate) fn openssh(key: &PublicKey) -> String {
    let text = key.to_openssh().unwrap_or_default();
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

fn host_name(host: &str, port: u16) -> String {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    if port == DEFAULT_PORT { host } else { format!("[{host}]:{port}") }
}

fn entry(line: &str, place: String) -> Option<Entry> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (marker, rest) = match line.split_once(char::is_whitespace)? {
        ("@revoked", rest) => (Marker::Revoked, rest),
        ("@cert-authority", rest) => (Marker::Authority, rest),
        (first, _) if first.starts_with('@') => return None,
        _ => (Marker::None, line),
    };
    let (names, key) = rest.trim_start().split_once(char::is_whitespace)?;
    let names = match names.strip_prefix("|1|") {
        None => Names::Patterns(names.split(',').map(str::to_ascii_lowercase).collect()),
        Some(hashed) => {
            let (salt, hash) = hashed.split_once('|')?;
            Names::Hashed { salt: STANDARD.decode(salt).ok()?, hash: STANDARD.decode(hash).ok()? }
        }
    };
    Some(Entry { marker, names, key: PublicKey::from_openssh(key.trim()).ok()?, place })
}

impl Names {
    fn cover(&self, name: &str) -> bool {
        match self {
            Self::Hashed { salt, hash } => {
                let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
                hmac::verify(&key, name.as_bytes(), hash).is_ok()
            }
            Self::Patterns(patterns) => {
                let refused = patterns.iter().filter_map(|pattern| pattern.strip_prefix('!'));
                let mut allowed = patterns.iter().filter(|pattern| !pattern.starts_with('!'));
                !refused.into_iter().any(|pattern| covers(pattern, name))
                    && allowed.any(|pattern| covers(pattern, name))
            }
        }
    }
}

/// `*` stands for any text, `?` for one character.
pub(crate) fn covers(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at_pattern, mut at_name) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at_name < name.len() {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                star = Some((at_pattern, at_name));
                at_pattern += 1;
            }
            Some(letter) if *letter == b'?' || *letter == name[at_name] => {
                at_pattern += 1;
                at_name += 1;
            }
            _ => match star {
                // Let the last star swallow one character more.
                Some((at_star, from)) => {
                    star = Some((at_star, from + 1));
                    at_pattern = at_star + 1;
                    at_name = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at_pattern..].iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGVhZ2VyLWJlYXZlci1rZXktbnVtYmVyLW9uZS0xMjM0";
    const TWO: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGVhZ2VyLWJlYXZlci1rZXktbnVtYmVyLXR3by0xMjM0";

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).unwrap()
    }

    fn known(text: &str) -> KnownHosts {
        let mut known = KnownHosts::default();
        known.add(text, Path::new("known_hosts"));
        known
    }

    #[test]
    fn plain_names_ports_and_wildcards() {
        let file = known(&format!("# comment\nw1,10.0.0.1 {ONE} comment\n[w2]:2222 {ONE}\n*.lab,!bad.lab {ONE}\n"));
        assert_eq!(file.judge("10.0.0.1", 22, &key(ONE)), Verdict::Known);
        assert_eq!(file.judge("W1", 22, &key(ONE)), Verdict::Known);
        assert_eq!(file.judge("w1", 2222, &key(ONE)), Verdict::Unknown);
        assert_eq!(file.judge("w2", 2222, &key(ONE)), Verdict::Known);
        assert_eq!(file.judge("a.lab", 22, &key(ONE)), Verdict::Known);
        assert_eq!(file.judge("bad.lab", 22, &key(ONE)), Verdict::Unknown);
        assert_eq!(file.algorithms("w1", 22), [Algorithm::Ed25519]);
    }

    #[test]
    fn another_key_is_changed_and_a_revoked_one_is_never_good() {
        let file = known(&format!("w1 {ONE}\n"));
        let Verdict::Changed { recorded, place } = file.judge("w1", 22, &key(TWO)) else { panic!() };
        assert_eq!((openssh(&recorded).as_str(), place.as_str()), (ONE, "known_hosts:1"));
        let file = known(&format!("w1 {ONE}\n@revoked * {ONE}\n"));
        assert_eq!(file.judge("w1", 22, &key(ONE)), Verdict::Revoked { place: "known_hosts:2".to_owned() });
    }

    #[test]
    fn hashed_names() {
        let salt = b"0123456789abcdef0123";
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt), b"w1");
        let line = format!("|1|{}|{} {ONE}\n", STANDARD.encode(salt), STANDARD.encode(tag.as_ref()));
        let file = known(&line);
        assert_eq!(file.judge("w1", 22, &key(ONE)), Verdict::Known);
        assert_eq!(file.judge("w2", 22, &key(ONE)), Verdict::Unknown);
    }

    #[test]
    fn authorities_are_kept_apart_from_keys() {
        let file = known(&format!("@cert-authority *.lab {ONE}\n@new-marker w1 {ONE}\nnonsense\n"));
        assert_eq!(file.judge("a.lab", 22, &key(ONE)), Verdict::Unknown);
        assert_eq!(file.authorities("a.lab", 22).len(), 1);
        assert!(file.authorities("a.org", 22).is_empty());
    }

    #[test]
    fn an_accepted_key_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/known_hosts");
        append(&path, "w1", 2222, &key(ONE)).unwrap();
        fs::write(&path, fs::read_to_string(&path).unwrap().trim_end()).unwrap();
        append(&path, "w2", 22, &key(TWO)).unwrap();
        let file = KnownHosts::load(&[path, folder.path().join("absent")]).unwrap();
        assert_eq!(file.judge("w1", 2222, &key(ONE)), Verdict::Known);
        assert_eq!(file.judge("w2", 22, &key(TWO)), Verdict::Known);
    }

    #[test]
    fn stars_swallow_as_much_as_they_need() {
        assert!(covers("*.a.*", "x.a.a.b") && covers("10.0.?.1", "10.0.5.1") && covers("*", ""));
        assert!(!covers("10.0.?.1", "10.0.55.1") && !covers("a*", "ba") && !covers("", "a"));
    }
}
