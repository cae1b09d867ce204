//! A container image in containerd's `k8s.io` namespace, imported from an archive. What was imported under a
//! reference is noted beside, so that another archive with the same reference is imported again.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Kind, change};
use crate::command::Program;
use crate::manifest::Manifest;
use crate::pending::Pending;
use crate::{Change, Host, ResourceError, atomic};

const SOCKET: &str = "/run/containerd/containerd.sock";
const NAMESPACE: &str = "k8s.io";
const IMPORT_DEADLINE: Duration = Duration::from_secs(10 * 60);
/// Without it the CRI plugin does not see an image that it did not pull.
const MANAGED: &str = "io.cri-containerd.image=managed";
/// Keeps the kubelet's image garbage collection away.
pub(crate) const PINNED: &str = "io.cri-containerd.pinned=pinned";
const NOTE_MODE: u32 = 0o600;
const DEFAULT_REGISTRY: &str = "docker.io";

pub(crate) struct Image<'a> {
    pub(crate) reference: &'a str,
    pub(crate) sha256: &'a str,
}

/// What was imported under a reference.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    reference: String,
    archive_sha256: String,
    /// Digest that containerd showed afterwards.
    digest: String,
}

impl Kind for Image<'_> {
    fn check(&self, host: &Host, pending: &Pending) -> Result<Option<Change>, ResourceError> {
        check(host, pending, self.reference, self.sha256)
    }

    fn apply(&self, host: &Host) -> Result<(), ResourceError> {
        let archive = host.artifact(self.sha256);
        if !archive.is_file() {
            return Err(ResourceError::refused(
                format!("the archive {} of image {} was not uploaded", self.sha256, self.reference),
                "apply again: missing artifacts are uploaded first",
            ));
        }
        import(host, self.reference, &archive, self.sha256, &[MANAGED])
    }

    fn record(&self, _host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        manifest.put(&normalized_reference(self.reference), "image", self.sha256);
        Ok(())
    }
}

pub(crate) fn check(
    host: &Host,
    pending: &Pending,
    reference: &str,
    archive_sha256: &str,
) -> Result<Option<Change>, ResourceError> {
    let reference = normalized_reference(reference);
    let import = || Ok(Some(change(format!("import image {reference}"))));
    if is_silent(host) {
        return import();
    }
    let digest = match digest(host, &reference) {
        Ok(Some(digest)) => digest,
        // containerd is not installed or does not run yet; whoever lists an image lists containerd before it.
        Ok(None) | Err(ResourceError::CommandFailed { .. } | ResourceError::CommandTimedOut { .. }) => return import(),
        Err(ResourceError::ProgramMissing { .. }) if pending.packages() => return import(),
        Err(error) => return Err(error),
    };
    let wanted = Note { reference: reference.clone(), archive_sha256: archive_sha256.to_owned(), digest };
    if note(host, &reference)?.as_ref() == Some(&wanted) { Ok(None) } else { import() }
}

pub(crate) fn import(
    host: &Host,
    reference: &str,
    archive: &Path,
    archive_sha256: &str,
    labels: &[&str],
) -> Result<(), ResourceError> {
    let reference = normalized_reference(reference);
    let output = ctr(host)
        .arguments(["images", "import", "--digests=false"])
        .arguments([archive.to_string_lossy()])
        .deadline(IMPORT_DEADLINE)
        .run()?;
    let Some(digest) = digest(host, &reference)? else {
        return Err(ResourceError::Refused {
            message: format!("the archive holds no image named {reference}"),
            hint: format!("containerd imported: {}", output.stdout.split_whitespace().collect::<Vec<_>>().join(" ")),
        });
    };
    ctr(host).arguments(["images", "label", reference.as_str()]).arguments(labels).run()?;
    let note = Note { reference: reference.clone(), archive_sha256: archive_sha256.to_owned(), digest };
    let bytes = serde_json::to_vec_pretty(&note).map_err(io::Error::other)?;
    atomic::write(&note_path(host, &reference), NOTE_MODE, &bytes)
}

fn ctr(host: &Host) -> Program<'_> {
    Program::new(host, "ctr").arguments(["--namespace", NAMESPACE])
}

/// The digest that a reference points to.
fn digest(host: &Host, reference: &str) -> Result<Option<String>, ResourceError> {
    let output = ctr(host).arguments(["images", "list", &format!("name=={reference}")]).run()?;
    Ok(digest_in(&output.stdout, reference))
}

/// Whether nobody listens: `ctr` would try for ten seconds. One that is missing itself is told by asking it.
fn is_silent(host: &Host) -> bool {
    let refused = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
    let answer = UnixStream::connect(host.path(SOCKET));
    host.program("ctr").is_some() && answer.is_err_and(|error| refused.contains(&error.kind()))
}

/// From a table with the columns REF TYPE DIGEST …
fn digest_in(table: &str, reference: &str) -> Option<String> {
    let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    row.into_iter()
        .find(|row| row.first() == Some(&reference))
        .and_then(|row| row.get(2).map(|digest| (*digest).to_owned()))
}

fn note_path(host: &Host, reference: &str) -> PathBuf {
    host.state_directory().join("images").join(format!("{}.json", atomic::sha256(reference.as_bytes())))
}

fn note(host: &Host, reference: &str) -> Result<Option<Note>, ResourceError> {
    let bytes = atomic::read(&note_path(host, reference))?;
    // An unreadable note only costs another import.
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// The full name of an image, as containerd's CRI plugin spells it: `nginx` is `docker.io/library/nginx:latest`.
#[must_use]
pub fn normalized_reference(reference: &str) -> String {
    let (first, rest) = reference.split_once('/').unwrap_or(("", reference));
    let is_registry = first.contains('.') || first.contains(':') || first == "localhost";
    let full = if is_registry {
        reference.to_owned()
    } else if first.is_empty() {
        format!("{DEFAULT_REGISTRY}/library/{rest}")
    } else {
        format!("{DEFAULT_REGISTRY}/{reference}")
    };
    let name = full.rsplit('/').next().unwrap_or(&full);
    if name.contains(':') || name.contains('@') { full } else { format!("{full}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::systemd::tests::script;

    #[test]
    fn names_get_their_full_form() {
        for (short, full) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("team/app:2", "docker.io/team/app:2"),
            ("naru.dev/pause:1", "naru.dev/pause:1"),
            ("localhost/web", "localhost/web:latest"),
            ("registry:5000/web", "registry:5000/web:latest"),
            ("a.io/b@sha256:00", "a.io/b@sha256:00"),
        ] {
            assert_eq!(normalized_reference(short), full);
        }
    }

    #[test]
    fn a_table_of_images_is_read() {
        let table = "REF TYPE DIGEST SIZE PLATFORMS LABELS\n\
                     naru.dev/pause:1 application/vnd.oci sha256:ab 1.0 KiB linux/amd64 -\n";
        assert_eq!(digest_in(table, "naru.dev/pause:1").unwrap(), "sha256:ab");
        assert_eq!(digest_in(table, "naru.dev/pause"), None);
    }

    fn listen(host: &Host) -> std::os::unix::net::UnixListener {
        let socket = host.path(SOCKET);
        fs_err::create_dir_all(socket.parent().unwrap()).unwrap();
        std::os::unix::net::UnixListener::bind(socket).unwrap()
    }

    #[test]
    fn a_dead_containerd_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), vec![folder.path().to_owned(), "/usr/bin".into(), "/bin".into()]);
        script(folder.path(), "ctr", &format!("touch {}/asked; exit 1", folder.path().display()));
        let image = Image { reference: "web:1", sha256: "abc" };
        let look = || image.check(&host, &Pending::default()).unwrap().unwrap().summary;
        let asked = host.path("/asked");
        assert_eq!(look(), "import image docker.io/library/web:1");
        let listening = listen(&host);
        drop(listening);
        assert_eq!(look(), "import image docker.io/library/web:1");
        assert!(!asked.exists(), "neither without a socket nor with one that nobody listens on");
        fs_err::remove_file(host.path(SOCKET)).unwrap();
        let _containerd = listen(&host);
        look();
        assert!(asked.exists());
    }

    #[test]
    fn another_archive_with_the_same_reference_is_imported_again() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), vec![folder.path().to_owned(), "/usr/bin".into(), "/bin".into()]);
        let body = format!(
            "case \"$*\" in *import*) touch {0}/there; echo \"$*\" >> {0}/log;; \
             *list*) echo 'REF TYPE DIGEST'; test -e {0}/there && echo 'docker.io/library/web:1 t sha256:ab';; \
             esac; true",
            folder.path().display()
        );
        script(folder.path(), "ctr", &body);
        let _containerd = listen(&host);
        for bytes in [b"one", b"two"] {
            let sha256 = atomic::sha256(bytes);
            atomic::write(&host.artifact(&sha256), 0o600, bytes).unwrap();
            let image = Image { reference: "web:1", sha256: &sha256 };
            let found = image.check(&host, &Pending::default()).unwrap().unwrap();
            assert_eq!(found.summary, "import image docker.io/library/web:1");
            image.apply(&host).unwrap();
            assert_eq!(image.check(&host, &Pending::default()).unwrap(), None);
        }
        assert_eq!(fs_err::read_to_string(folder.path().join("log")).unwrap().lines().count(), 2);
    }

    #[test]
    fn containerd_that_is_still_to_come_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), vec![folder.path().to_owned()]);
        let image = Image { reference: "web:1", sha256: "abc" };
        let mut pending = Pending::default();
        assert!(image.check(&host, &pending).is_err(), "no ctr and nothing that would bring it");
        pending.note(&crate::Resource::Packages { names: Vec::new() });
        assert!(image.check(&host, &pending).unwrap().is_some());
        script(folder.path(), "ctr", "echo 'cannot connect' >&2; exit 1");
        assert!(image.check(&host, &Pending::default()).unwrap().is_some());
    }
}
