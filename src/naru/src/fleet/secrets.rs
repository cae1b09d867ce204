//! Secrets at the last moment: references of the inventory are looked up, and put in the place of their markers, just
//! before a request leaves for a host; the texts are wiped afterwards.

use std::path::{Path, PathBuf};

use naru_agent::{Failure, FailureKind, Request};
use naru_inventory::Secret;
use naru_resources::secret::{SecretError, reveal};
use naru_resources::{Content, Resource};
use zeroize::{Zeroize, Zeroizing};

/// No password is longer.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Where secrets come from.
#[derive(Debug, Clone)]
pub(super) struct Secrets {
    /// That of the inventory: `file:PATH` is relative to it.
    folder: PathBuf,
}

impl Secrets {
    pub(super) fn beside(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The secret behind a reference.
    pub(super) fn get(&self, secret: &Secret) -> Result<Zeroizing<String>, Failure> {
        self.look_up(&secret.0)
            .map_err(|reason| failure(&SecretError::Missing { reference: secret.0.clone(), reason }, &secret.0))
    }

    fn look_up(&self, reference: &str) -> Result<Zeroizing<String>, String> {
        if let Some(name) = reference.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
            let value = std::env::var_os(name).ok_or_else(|| format!("the environment variable {name} is not set"))?;
            let value = value.into_string().map_err(|_| format!("the environment variable {name} is not text"))?;
            return Ok(Zeroizing::new(value));
        }
        let path = reference.strip_prefix("file:").ok_or("it is neither ${NAME} nor file:PATH")?;
        let path = self.folder.join(super::expand_home(path));
        let length = fs_err::metadata(&path).map_err(|error| error.to_string())?.len();
        if length > MAX_SECRET_BYTES {
            return Err(format!("{} has {length} bytes", path.display()));
        }
        let text = Zeroizing::new(fs_err::read_to_string(&path).map_err(|error| error.to_string())?);
        // Editors end a file with a newline that nobody means.
        Ok(Zeroizing::new(text.strip_suffix('\n').unwrap_or(&text).to_owned()))
    }

    /// The request with its secrets in it.
    pub(super) fn reveal(&self, mut request: Request) -> Result<Revealed, Failure> {
        for content in contents(&mut request) {
            let text = reveal(&content.text, &|reference| self.look_up(reference));
            let text = text.map_err(|error| {
                let reference = match &error {
                    SecretError::Missing { reference, .. } => reference.clone(),
                    SecretError::Damaged => String::new(),
                };
                failure(&error, &reference)
            })?;
            content.text.zeroize();
            content.text = text.to_string();
        }
        Ok(Revealed(request))
    }
}

/// A request that is wiped when it is of no more use.
pub(super) struct Revealed(Request);

impl Revealed {
    pub(super) fn request(&self) -> &Request {
        &self.0
    }
}

impl Drop for Revealed {
    fn drop(&mut self) {
        for content in contents(&mut self.0) {
            content.text.zeroize();
        }
    }
}

/// Texts that may hold secrets.
fn contents(request: &mut Request) -> impl Iterator<Item = &mut Content> {
    let resources = match request {
        Request::Check { resources } | Request::Apply { resources, .. } => resources.as_mut_slice(),
        _ => &mut [],
    };
    resources.iter_mut().filter_map(|resource| match resource {
        Resource::File { content, .. } | Resource::Unit { content: Some(content), .. } => {
            content.sensitive.then_some(content)
        }
        _ => None,
    })
}

fn failure(error: &SecretError, reference: &str) -> Failure {
    let hint = match reference.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
        Some(name) => Some(format!("export {name}=… before naru runs")),
        None => reference.starts_with("file:").then(|| "paths are relative to the inventory's folder".to_owned()),
    };
    Failure { kind: FailureKind::Permanent, message: error.to_string(), detail: None, hint }
}

#[cfg(test)]
mod tests {
    use naru_resources::secret::{Notation, marker};

    use super::*;

    fn request(text: String, sensitive: bool) -> Request {
        let content = Content { text, sensitive };
        Request::Check { resources: vec![Resource::File { path: "/etc/x".to_owned(), mode: 0o600, content }] }
    }

    fn text(request: &Request) -> &str {
        let Request::Check { resources } = request else { panic!() };
        let Resource::File { content, .. } = &resources[0] else { panic!() };
        &content.text
    }

    #[test]
    fn a_file_beside_the_inventory_and_the_environment_hold_secrets() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("token"), "a\"b\n").unwrap();
        let secrets = Secrets::beside(folder.path());
        let marked = format!("x = \"{}\"", marker("file:token", Notation::Quoted));
        let revealed = secrets.reveal(request(marked.clone(), true)).unwrap();
        assert_eq!(text(revealed.request()), "x = \"a\\\"b\"");
        // Texts that are no secret go as they are.
        assert_eq!(text(secrets.reveal(request(marked.clone(), false)).unwrap().request()), marked);
        // The one variable that every test has.
        let path = secrets.get(&Secret("${PATH}".to_owned())).unwrap();
        assert_eq!(*path, std::env::var("PATH").unwrap());
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_else_is_shown() {
        let secrets = Secrets::beside(Path::new("/nonexistent"));
        for (reference, words) in [
            ("${NARU_TEST_ABSENT}", "the environment variable NARU_TEST_ABSENT is not set"),
            ("file:absent", "/nonexistent/absent"),
            ("plain text", "neither"),
        ] {
            let failure = secrets.get(&Secret(reference.to_owned())).unwrap_err();
            assert!(failure.message.contains(reference) && failure.message.contains(words), "{failure:?}");
            let marked = marker(reference, Notation::Plain);
            let failure = secrets.reveal(request(marked, true)).err().unwrap();
            assert!(failure.message.contains(reference), "{failure:?}");
        }
    }
}
