//! `naru image load`: container images from archives onto the hosts, without any registry.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fs_err as fs;
use naru_execute::ProgramFiles;
use naru_plan::{Action, Artifact, Plan, Step};
use naru_resources::Resource;
use serde_json::Value as Json;

use super::tell;
use crate::artifacts::hash_file;
use crate::cli::Terminal;
use crate::exit::{Exit, Failure};
use crate::flow::{Ended, Flow, RunFlags};
use crate::report::summary;
use crate::session::{InventoryFlag, Reach, Session};

/// Indexes of archives are small.
const MAX_INDEX_BYTES: u64 = 4 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Import image archives (docker save, or OCI layouts as tar) on the hosts.
    Load(Load),
}

#[derive(Debug, Args)]
pub(crate) struct Load {
    /// The archives.
    #[arg(required = true, value_name = "TAR")]
    archives: Vec<PathBuf>,
    /// Only on these hosts; repeat for more.
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    #[command(flatten)]
    inventory: InventoryFlag,
    #[command(flatten)]
    reach: Reach,
}

struct Archive {
    artifact: Artifact,
    path: PathBuf,
    references: Vec<String>,
}

impl Image {
    pub(crate) async fn run(self, terminal: Terminal) -> Result<Exit, Failure> {
        let Self::Load(load) = self;
        let archives = load.archives.iter().map(|path| open(path)).collect::<Result<Vec<_>, _>>()?;
        let mut session = Session::open(&load.inventory.file, &load.reach).await?;
        for name in &load.hosts {
            session.host(name)?;
        }
        let names = session.inventory.spec.hosts.iter().map(|host| host.name.clone());
        let names: Vec<String> = names.filter(|name| load.hosts.is_empty() || load.hosts.contains(name)).collect();
        if names.is_empty() {
            return Err(Failure::ours("no machine runs").hint("`naru apply` makes and starts machines"));
        }
        let files = archives.iter().map(|archive| (archive.artifact.sha256.clone(), archive.path.clone()));
        session.found.files = ProgramFiles::new(files);
        let steps = names.iter().flat_map(|name| steps(name, &archives)).collect();
        let flow = Flow::new(&RunFlags::default(), terminal);
        let ended = flow.just(&session, Plan::of(session.inventory.clone(), steps)).await?;
        if let Ended::Executed(plan, outcome) = &ended {
            tell(&summary(plan, outcome));
        }
        for reference in archives.iter().flat_map(|archive| &archive.references) {
            tell(&format!("{reference}\n"));
        }
        Ok(ended.exit())
    }
}

/// An archive of some gigabytes over a slow line.
const STEP_SECONDS: u32 = 1_800;

fn steps(host: &str, archives: &[Archive]) -> [Step; 2] {
    let step = |name: &str, title: &str, action| Step {
        deadline_seconds: STEP_SECONDS,
        ..Step::new(host, name, title, action)
    };
    let images = archives.iter().flat_map(|archive| {
        let sha256 = &archive.artifact.sha256;
        archive.references.iter().map(|name| Resource::Image { reference: name.clone(), sha256: sha256.clone() })
    });
    let artifacts = archives.iter().map(|archive| archive.artifact.clone()).collect();
    let upload = step("upload", "upload images", Action::Upload { artifacts, neighbours: Vec::new() });
    let import = Action::Apply { resources: images.collect(), revert_after_seconds: None };
    let import = Step { needs: vec![upload.id.clone()], ..step("images", "import images", import) };
    [upload, import]
}

fn open(path: &Path) -> Result<Archive, Failure> {
    let references = references(path)?;
    if references.is_empty() {
        return Err(Failure::user(format!("{} names no image", path.display()))
            .detail("expected a `docker save` archive with a tag, or an OCI layout whose index names its images"));
    }
    let (sha256, size_bytes) = hash_file(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Archive { artifact: Artifact { name, sha256, size_bytes }, path: path.to_owned(), references })
}

/// The names of the images in an archive: `RepoTags` of docker's manifest, or annotations of the OCI index.
fn references(path: &Path) -> Result<Vec<String>, Failure> {
    let fail = |error: std::io::Error| Failure::user(format!("{} is not an image archive: {error}", path.display()));
    let file = fs::File::open(path).map_err(|error| Failure::user(error.to_string()))?;
    let mut archive = tar::Archive::new(file);
    let mut names = Vec::new();
    for entry in archive.entries().map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let file = entry.path().map_err(fail)?.to_string_lossy().trim_start_matches("./").to_owned();
        if file != "manifest.json" && file != "index.json" {
            continue;
        }
        let mut text = String::new();
        entry.take(MAX_INDEX_BYTES).read_to_string(&mut text).map_err(fail)?;
        let index: Json = serde_json::from_str(&text).map_err(|error| fail(error.into()))?;
        names.extend(if file == "manifest.json" { docker_names(&index) } else { oci_names(&index) });
    }
    names.sort();
    names.dedup();
    Ok(names)
}

fn docker_names(manifest: &Json) -> Vec<String> {
    let images = manifest.as_array().into_iter().flatten();
    let tags = images.flat_map(|image| image["RepoTags"].as_array().into_iter().flatten());
    tags.filter_map(Json::as_str).map(full_name).collect()
}

fn oci_names(index: &Json) -> Vec<String> {
    let manifests = index["manifests"].as_array().into_iter().flatten();
    manifests
        .filter_map(|manifest| manifest["annotations"]["io.containerd.image.name"].as_str())
        .map(full_name)
        .collect()
}

/// The name under which containerd keeps an image: `nginx:1` is `docker.io/library/nginx:1`.
fn full_name(name: &str) -> String {
    match name.split_once('/') {
        Some((domain, _)) if domain.contains(['.', ':']) || domain == "localhost" => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_kinds_of_archive() {
        let manifest = serde_json::json!([{"RepoTags": ["nginx:1", "naru.dev/web:2", "me/app:3"]}]);
        let names = ["docker.io/library/nginx:1", "naru.dev/web:2", "docker.io/me/app:3"];
        assert_eq!(docker_names(&manifest), names);
        let index = serde_json::json!({"manifests": [{"annotations": {"io.containerd.image.name": "localhost/x:1"}}]});
        assert_eq!(oci_names(&index), ["localhost/x:1"]);
    }
}
