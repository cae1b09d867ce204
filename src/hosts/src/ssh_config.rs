//! The operator's `~/.ssh/config`, as ssh_config(5) describes it, for the keywords that reaching a host needs: for
//! each of them the first value that applies wins, `IdentityFile` gathers.

use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::known_hosts::covers;

/// Files that include files that include files…
const MAX_DEPTH: usize = 16;
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Keywords that would change how a host is reached and are not followed.
const NOT_FOLLOWED: [&str; 5] =
    ["proxycommand", "certificatefile", "hostkeyalias", "pkcs11provider", "knownhostscommand"];

/// A configuration and all that it includes.
#[derive(Debug, Clone, Default)]
pub struct SshConfig {
    options: Vec<Setting>,
    home: PathBuf,
}

#[derive(Debug, Clone)]
struct Setting {
    /// All of them hold where it applies: its own block's and those of the blocks that include it.
    conditions: Vec<Condition>,
    /// In lower case.
    keyword: String,
    words: Vec<String>,
}

#[derive(Debug, Clone)]
enum Condition {
    Patterns(Vec<String>),
    Never,
}

/// What a configuration says about one host. What it does not say is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostConfig {
    pub host_name: Option<String>,
    pub user: Option<String>,
    pub port: Option<u16>,
    pub identity_files: Vec<PathBuf>,
    pub identities_only: bool,
    /// A socket, `SSH_AUTH_SOCK`, `none`, or a variable's name after `$`.
    pub identity_agent: Option<String>,
    /// Bastions, the first to be reached first; an empty list is `none`.
    pub jumps: Option<Vec<Jump>>,
    pub known_hosts: Option<Vec<PathBuf>>,
    /// `StrictHostKeyChecking accept-new`.
    pub accept_new: bool,
}

/// One bastion of `ProxyJump`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jump {
    pub user: Option<String>,
    pub host: String,
    pub port: Option<u16>,
}

impl SshConfig {
    /// Reads a file; relative includes lie below `~/.ssh`.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn load(path: &Path, home: &Path) -> io::Result<Self> {
        let mut config = Self { options: Vec::new(), home: home.components().collect() };
        config.read(path, &[], 0)?;
        Ok(config)
    }

    fn read(&mut self, path: &Path, outer: &[Condition], depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(io::Error::other(format!("{}: more than {MAX_DEPTH} includes in a row", path.display())));
        }
        let length = fs::metadata(path)?.len();
        if length > MAX_FILE_BYTES {
            return Err(io::Error::other(format!("{}: {length} bytes are too many", path.display())));
        }
        let text = fs::read_to_string(path)?;
        let mut own: Vec<Condition> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let Some((keyword, words)) = split(line) else { continue };
            let place = format!("{}:{}", path.display(), index + 1);
            match keyword.as_str() {
                "host" => own = vec![Condition::Patterns(words)],
                "match" => own = matching(&words, &place),
                "include" => {
                    let conditions = [outer, &own].concat();
                    for pattern in &words {
                        self.include(pattern, &conditions, depth)?;
                    }
                }
                _ => {
                    warn(&keyword, &words, &place);
                    self.options.push(Setting { conditions: [outer, &own].concat(), keyword, words });
                }
            }
        }
        Ok(())
    }

    fn include(&mut self, pattern: &str, conditions: &[Condition], depth: usize) -> io::Result<()> {
        let below_home = pattern.strip_prefix("~/").map(|rest| self.home.join(rest));
        let path = below_home.unwrap_or_else(|| self.home.join(".ssh").join(pattern));
        for file in files(&path)? {
            self.read(&file, conditions, depth + 1)?;
        }
        Ok(())
    }

    /// What applies to a host that goes by any of these names. `user` is the login, where it is settled already.
    #[must_use]
    pub fn host(&self, names: &[&str], user: Option<&str>) -> HostConfig {
        let applying: Vec<&Setting> =
            self.options.iter().filter(|option| option.conditions.iter().all(|each| each.holds(names))).collect();
        let words = |keyword: &str| applying.iter().find(|option| option.keyword == keyword).map(|found| &found.words);
        let first = |keyword: &str| words(keyword).and_then(|words| words.first()).cloned();
        let name = names.first().copied().unwrap_or_default();
        let host_name = first("hostname").map(|text| text.replace("%h", name).replace("%%", "%"));
        let user = user.map(str::to_owned).or_else(|| first("user"));
        let expand = |text: &String| {
            let text = self.expand(text, host_name.as_deref().unwrap_or(name), user.as_deref().unwrap_or("root"));
            PathBuf::from(text)
        };
        let is_path = |text: &&String| !text.eq_ignore_ascii_case("none");
        let identity_files = applying.iter().filter(|option| option.keyword == "identityfile");
        let identity_files = identity_files.filter_map(|option| option.words.first()).filter(is_path).map(expand);
        HostConfig {
            identity_files: identity_files.collect(),
            identities_only: first("identitiesonly").is_some_and(|text| text.eq_ignore_ascii_case("yes")),
            identity_agent: first("identityagent").map(|text| expand(&text).display().to_string()),
            port: first("port").and_then(|text| text.parse().ok()),
            jumps: first("proxyjump").map(|text| jumps(&text)),
            known_hosts: words("userknownhostsfile").map(|words| words.iter().filter(is_path).map(expand).collect()),
            accept_new: first("stricthostkeychecking").is_some_and(|text| text.eq_ignore_ascii_case("accept-new")),
            host_name: host_name.clone(),
            user: user.clone(),
        }
    }

    fn expand(&self, text: &str, host: &str, user: &str) -> String {
        let home = self.home.display().to_string();
        let text = match text.strip_prefix("~/") {
            Some(rest) => format!("{home}/{rest}"),
            None => text.to_owned(),
        };
        let mut expanded = String::with_capacity(text.len());
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            if letter != '%' {
                expanded.push(letter);
                continue;
            }
            match letters.next() {
                Some('d') => expanded.push_str(&home),
                Some('h') => expanded.push_str(host),
                Some('r') => expanded.push_str(user),
                Some('u') => expanded.push_str(&std::env::var("USER").unwrap_or_default()),
                Some('%') => expanded.push('%'),
                other => expanded.extend(std::iter::once('%').chain(other)),
            }
        }
        expanded
    }
}

impl Condition {
    fn holds(&self, names: &[&str]) -> bool {
        let Self::Patterns(patterns) = self else { return false };
        let fits = |pattern: &str| {
            let pattern = pattern.to_ascii_lowercase();
            names.iter().any(|name| covers(&pattern, &name.to_ascii_lowercase()))
        };
        let is_refused = patterns.iter().filter_map(|pattern| pattern.strip_prefix('!')).any(fits);
        !is_refused && patterns.iter().filter(|pattern| !pattern.starts_with('!')).any(|pattern| fits(pattern))
    }
}

/// `Match all` and `Match host`, also together; anything else is passed over.
fn matching(words: &[String], place: &str) -> Vec<Condition> {
    let mut conditions = Vec::new();
    let mut rest = words.iter();
    while let Some(criterion) = rest.next() {
        match criterion.to_ascii_lowercase().as_str() {
            "all" => {}
            "host" | "originalhost" => {
                let patterns = rest.next().map(|list| list.split(',').map(str::to_owned).collect());
                conditions.push(patterns.map_or(Condition::Never, Condition::Patterns));
            }
            other => {
                tracing::debug!(place, criterion = other, "this Match is passed over");
                return vec![Condition::Never];
            }
        }
    }
    conditions
}

fn warn(keyword: &str, words: &[String], place: &str) {
    let value = words.first().map(|word| word.to_ascii_lowercase()).unwrap_or_default();
    if keyword == "stricthostkeychecking" && ["no", "off"].contains(&value.as_str()) {
        tracing::warn!(place, "StrictHostKeyChecking {value} is not followed: host keys are always checked");
    }
    if NOT_FOLLOWED.contains(&keyword) && value != "none" {
        tracing::warn!(place, "{} is not followed", keyword);
    }
}

/// Keyword and words of a line: `Keyword words`, `Keyword=word`, words in double quotes, `#` begins a comment.
fn split(line: &str) -> Option<(String, Vec<String>)> {
    let line = line.trim();
    let end = line.find(|letter: char| letter.is_whitespace() || letter == '=').unwrap_or(line.len());
    let (keyword, rest) = line.split_at(end);
    if keyword.is_empty() || keyword.starts_with('#') {
        return None;
    }
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    let (mut words, mut word, mut is_quoted, mut has_word) = (Vec::new(), String::new(), false, false);
    for letter in rest.chars() {
        match letter {
            '"' => (is_quoted, has_word) = (!is_quoted, true),
            '#' if !is_quoted && !has_word => break,
            letter if letter.is_whitespace() && !is_quoted => {
                if std::mem::take(&mut has_word) {
                    words.push(std::mem::take(&mut word));
                }
            }
            letter => {
                word.push(letter);
                has_word = true;
            }
        }
    }
    if has_word {
        words.push(word);
    }
    (!words.is_empty()).then(|| (keyword.to_ascii_lowercase(), words))
}

fn jumps(text: &str) -> Vec<Jump> {
    if text.eq_ignore_ascii_case("none") {
        return Vec::new();
    }
    let jump = |text: &str| {
        let text = text.trim().trim_start_matches("ssh://");
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, text),
        };
        // An IPv6 address stands in brackets when a port follows.
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None if rest.matches(':').count() == 1 => {
                rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)))
            }
            None => (rest, None),
        };
        Jump { user, host: host.to_owned(), port: port.and_then(|port| port.parse().ok()) }
    };
    text.split(',').filter(|part| !part.trim().is_empty()).map(jump).collect()
}

/// The files that a path means, whose last part may hold `*` and `?`; what is not there is no file.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let pattern = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !pattern.contains(['*', '?']) {
        return Ok(if path.is_file() { vec![path.to_owned()] } else { Vec::new() });
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if covers(&pattern, &name) && !name.starts_with('.') && entry.path().is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(files: &[(&str, &str)]) -> (tempfile::TempDir, SshConfig) {
        let home = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = home.path().join(".ssh").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let config = SshConfig::load(&home.path().join(".ssh/config"), home.path()).unwrap();
        (home, config)
    }

    #[test]
    fn the_first_value_wins_and_identities_gather() {
        let text = "# comment\nUser=first\nHost w?.lab !w2.lab\n  Port 2201\n  IdentityFile ~/.ssh/%r-%h # why\n\
                    Host *\n  Port 2202\n  User second\n  IdentityFile \"%d/a b\"\n  IdentitiesOnly yes\n";
        let (home, config) = load(&[("config", text)]);
        let found = config.host(&["w1.lab"], None);
        assert_eq!((found.user.as_deref(), found.port), (Some("first"), Some(2201)));
        assert_eq!(found.identity_files, [home.path().join(".ssh/first-w1.lab"), home.path().join("a b")]);
        assert!(found.identities_only);
        assert_eq!(config.host(&["w2.lab"], None).port, Some(2202));
        let settled = config.host(&["w1.lab"], Some("other"));
        assert_eq!(settled.identity_files[0], home.path().join(".ssh/other-w1.lab"));
    }

    #[test]
    fn any_name_of_a_host_may_fit_and_none_may_be_refused() {
        let (_home, config) = load(&[("config", "Host w1\nPort 1\nHost 10.0.0.* !w2\nPort 2\n")]);
        assert_eq!(config.host(&["10.0.0.1", "w1"], None).port, Some(1));
        assert_eq!(config.host(&["10.0.0.2", "w2"], None).port, None);
        assert_eq!(config.host(&["10.0.0.3", "w3"], None).port, Some(2));
    }

    #[test]
    fn jumps_are_a_chain() {
        let text = "Host a\nProxyJump none\nHost *\nProxyJump one,me@two:2222,[fd00::1]:23\n";
        let (_home, config) = load(&[("config", text)]);
        assert_eq!(config.host(&["a"], None).jumps, Some(Vec::new()));
        let jump =
            |user: Option<&str>, host: &str, port| Jump { user: user.map(str::to_owned), host: host.to_owned(), port };
        let chain = [jump(None, "one", None), jump(Some("me"), "two", Some(2222)), jump(None, "fd00::1", Some(23))];
        assert_eq!(config.host(&["b"], None).jumps.unwrap(), chain);
    }

    #[test]
    fn includes_stay_inside_their_block() {
        let files = [
            ("config", "Host w*\nInclude conf.d/*.conf absent\nUser after\nMatch all\nPort 9\n"),
            ("conf.d/1.conf", "User inside\nHost w1\nHostName real-%h\n"),
            ("conf.d/2.conf", "HostName second\nUserKnownHostsFile ~/one /two\nStrictHostKeyChecking accept-new\n"),
            ("conf.d/other", "User wrong\n"),
        ];
        let (home, config) = load(&files);
        let found = config.host(&["w1"], None);
        assert_eq!((found.user.as_deref(), found.host_name.as_deref()), (Some("inside"), Some("real-w1")));
        assert_eq!(found.known_hosts.unwrap(), [home.path().join("one"), PathBuf::from("/two")]);
        assert!(found.accept_new);
        assert_eq!(config.host(&["w2"], None).host_name.as_deref(), Some("second"));
        let stranger = config.host(&["x"], None);
        assert_eq!((stranger.user, stranger.port), (None, Some(9)));
    }

    #[test]
    fn only_simple_matches_apply() {
        let text = "Match exec \"true\"\nPort 1\nMatch host w1,w2\nPort 2\nMatch user root host w3\nPort 3\n\
                    Match all\nPort 4\nStrictHostKeyChecking no\n";
        let (_home, config) = load(&[("config", text)]);
        assert_eq!(config.host(&["w2"], None).port, Some(2));
        assert_eq!(config.host(&["w3"], None).port, Some(4));
        assert!(!config.host(&["w3"], None).accept_new);
    }

    #[test]
    fn a_file_that_includes_itself_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join(".ssh")).unwrap();
        let path = home.path().join(".ssh/config");
        fs::write(&path, "Include config\n").unwrap();
        assert!(SshConfig::load(&path, home.path()).is_err());
    }
}
