//! known_hosts files as sshd(8) describes them: plain and hashed names, wildcards, `[host]:port`, `@revoked` and
//! `@cert-authority`. What cannot be read is passed over, as OpenSSH does.

use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
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
    /// Read only when the names fit: files may be long and runs have many hosts.
    key: String,
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

    /// What the files say about one host, looked up once.
    pub(crate) fn about(&self, host: &str, alias: &str, port: u16) -> Recorded {
        let (name, alias) = (host_name(host, port), host_name(alias, port));
        let mut recorded = Recorded::default();
        for entry in &self.entries {
            let list = match entry.marker {
                Marker::Revoked => &mut recorded.revoked,
                Marker::None if entry.names.cover(&name) => &mut recorded.keys,
                Marker::Authority if entry.names.cover(&name) || entry.names.cover(&alias) => &mut recorded.authorities,
                _ => continue,
            };
            if let Ok(key) = PublicKey::from_openssh(&entry.key) {
                list.push((key, entry.place.clone()));
            }
        }
        recorded
    }
}

/// The entries that are about one host; revoked keys are about all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorded {
    keys: Vec<(PublicKey, String)>,
    authorities: Vec<(PublicKey, String)>,
    revoked: Vec<(PublicKey, String)>,
}

impl Recorded {
    /// Judges the plain key that a host shows.
    pub(crate) fn judge(&self, key: &PublicKey) -> Verdict {
        let same = |(recorded, _): &&(PublicKey, String)| recorded.key_data() == key.key_data();
        if let Some((_, place)) = self.revoked.iter().find(same) {
            return Verdict::Revoked { place: place.clone() };
        }
        if self.keys.iter().any(|entry| same(&entry)) {
            return Verdict::Known;
        }
        // A key of another kind counts as changed too: we asked for the recorded kinds first.
        let alike = self.keys.iter().find(|(recorded, _)| recorded.algorithm() == key.algorithm());
        match alike.or(self.keys.first()) {
            Some((recorded, place)) => Verdict::Changed { recorded: Box::new(recorded.clone()), place: place.clone() },
            None => Verdict::Unknown,
        }
    }

    /// Kinds of keys that are recorded, to be asked for first.
    pub(crate) fn algorithms(&self) -> Vec<Algorithm> {
        let mut algorithms = Vec::new();
        for (key, _) in &self.keys {
            if !algorithms.contains(&key.algorithm()) {
                algorithms.push(key.algorithm());
            }
        }
        algorithms
    }

    /// Authorities that may vouch for the host and are not revoked.
    pub(crate) fn authorities(&self) -> Vec<PublicKey> {
        let is_revoked = |key: &PublicKey| self.revoked.iter().any(|(revoked, _)| revoked.key_data() == key.key_data());
        self.authorities.iter().map(|(key, _)| key.clone()).filter(|key| !is_revoked(key)).collect()
    }

    /// Where this key is revoked, if it is.
    pub(crate) fn revoked(&self, key: &russh::keys::ssh_key::public::KeyData) -> Option<&str> {
        self.revoked.iter().find(|(revoked, _)| revoked.key_data() == key).map(|(_, place)| place.as_str())
    }
}

/// Adds a host's key at the end of a file that is private to its owner, unless somebody added one meanwhile: then the
/// answer is what the file says now, and otherwise nothing. Others who add at the same time wait.
pub(crate) fn add(file: &Path, host: &str, port: u16, key: &PublicKey) -> io::Result<Option<Verdict>> {
    if let Some(folder) = file.parent().filter(|folder| !folder.exists()) {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    }
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true).read(true);
    options.options_mut().mode(0o600);
    let mut opened = options.open(file)?;
    opened.file().lock()?;
    let text = fs::read_to_string(file)?;
    let mut now = KnownHosts::default();
    now.add(&text, file);
    let verdict = now.about(host, host, port).judge(key);
    if verdict != Verdict::Unknown {
        return Ok(Some(verdict));
    }
    let separator = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let line = format!("{separator}{} {}\n", host_name(host, port), openssh(key));
    opened.write_all(line.as_bytes())?;
    opened.sync_all()?;
    Ok(None)
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
    Some(Entry { marker, names, key: key.trim().to_owned(), place })
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
        assert_eq!(file.about("10.0.0.1", "", 22).judge(&key(ONE)), Verdict::Known);
        assert_eq!(file.about("W1", "", 22).judge(&key(ONE)), Verdict::Known);
        assert_eq!(file.about("w1", "", 2222).judge(&key(ONE)), Verdict::Unknown);
        assert_eq!(file.about("w2", "", 2222).judge(&key(ONE)), Verdict::Known);
        assert_eq!(file.about("a.lab", "", 22).judge(&key(ONE)), Verdict::Known);
        assert_eq!(file.about("bad.lab", "", 22).judge(&key(ONE)), Verdict::Unknown);
        assert_eq!(file.about("w1", "", 22).algorithms(), [Algorithm::Ed25519]);
    }

    #[test]
    fn another_key_is_changed_and_a_revoked_one_is_never_good() {
        let file = known(&format!("w1 {ONE}\n"));
        let Verdict::Changed { recorded, place } = file.about("w1", "", 22).judge(&key(TWO)) else { panic!() };
        assert_eq!((openssh(&recorded).as_str(), place.as_str()), (ONE, "known_hosts:1"));
        let file = known(&format!("w1 {ONE}\n@revoked * {ONE}\n"));
        assert_eq!(file.about("w1", "", 22).judge(&key(ONE)), Verdict::Revoked { place: "known_hosts:2".to_owned() });
    }

    #[test]
    fn hashed_names() {
        let salt = b"0123456789abcdef0123";
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt), b"w1");
        let line = format!("|1|{}|{} {ONE}\n", STANDARD.encode(salt), STANDARD.encode(tag.as_ref()));
        let file = known(&line);
        assert_eq!(file.about("w1", "", 22).judge(&key(ONE)), Verdict::Known);
        assert_eq!(file.about("w2", "", 22).judge(&key(ONE)), Verdict::Unknown);
    }

    #[test]
    fn authorities_are_kept_apart_from_keys() {
        let file = known(&format!("@cert-authority *.lab {ONE}\n@new-marker w1 {ONE}\nnonsense\n"));
        assert_eq!(file.about("a.lab", "", 22).judge(&key(ONE)), Verdict::Unknown);
        assert_eq!(file.about("a.lab", "", 22).authorities().len(), 1);
        assert!(file.about("a.org", "", 22).authorities().is_empty());
    }

    #[test]
    fn an_accepted_key_is_found_again_and_another_is_not_added() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/known_hosts");
        assert_eq!(add(&path, "w1", 2222, &key(ONE)).unwrap(), None);
        fs::write(&path, fs::read_to_string(&path).unwrap().trim_end()).unwrap();
        assert_eq!(add(&path, "w2", 22, &key(TWO)).unwrap(), None);
        assert_eq!(add(&path, "w2", 22, &key(TWO)).unwrap(), Some(Verdict::Known));
        assert!(matches!(add(&path, "w2", 22, &key(ONE)).unwrap(), Some(Verdict::Changed { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
        let file = KnownHosts::load(&[path, folder.path().join("absent")]).unwrap();
        assert_eq!(file.about("w1", "", 2222).judge(&key(ONE)), Verdict::Known);
        assert_eq!(file.about("w2", "", 22).judge(&key(TWO)), Verdict::Known);
    }

    #[test]
    fn many_at_once_leave_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        std::thread::scope(|scope| {
            for number in 0..32 {
                let path = &path;
                scope.spawn(move || add(path, &format!("w{number}"), 22, &key(ONE)).unwrap());
            }
        });
        let file = KnownHosts::load(std::slice::from_ref(&path)).unwrap();
        for number in 0..32 {
            assert_eq!(file.about(&format!("w{number}"), "", 22).judge(&key(ONE)), Verdict::Known, "w{number}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 32);
    }

    #[test]
    fn a_revoked_authority_vouches_for_nobody() {
        let file = known(&format!("@cert-authority *.lab {ONE}\n@revoked * {ONE}\n"));
        assert!(file.about("a.lab", "", 22).authorities().is_empty());
        let file = known(&format!("@cert-authority *.lab {ONE}\n"));
        assert_eq!(file.about("10.0.0.1", "a.lab", 22).authorities().len(), 1);
    }

    #[test]
    fn stars_swallow_as_much_as_they_need() {
        assert!(covers("*.a.*", "x.a.a.b") && covers("10.0.?.1", "10.0.5.1") && covers("*", ""));
        assert!(!covers("10.0.?.1", "10.0.55.1") && !covers("a*", "ba") && !covers("", "a"));
    }
}
