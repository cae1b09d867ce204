//! An image archive: an OCI layout that carries Docker's `manifest.json` too, so that every loader finds its own.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::layer::Layer;
use crate::Result;
use crate::local::publish;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CREATED: &str = "1970-01-01T00:00:00Z";

/// How the image runs.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    pub(super) command: &'a [&'a str],
    pub(super) stop_signal: Option<&'a str>,
    pub(super) ports: &'a [&'a str],
}

impl Settings<'_> {
    fn config(&self, layers: &[Vec<u8>]) -> Value {
        let ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", digest(layer))).collect();
        let history: Vec<Value> = layers.iter().map(|_| json!({"created": CREATED, "created_by": "naru"})).collect();
        let ports: serde_json::Map<String, Value> =
            self.ports.iter().map(|port| ((*port).to_owned(), json!({}))).collect();
        let mut config = json!({
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": self.command,
            "WorkingDir": "/",
            "ExposedPorts": ports,
        });
        if let Some(signal) = self.stop_signal {
            config["StopSignal"] = json!(signal);
        }
        json!({
            "created": CREATED,
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": ids},
            "history": history,
        })
    }
}

/// Writes an image of these layers, the lowest first.
pub(super) fn write(path: &Path, name: &str, settings: &Settings<'_>, layers: &[Vec<u8>]) -> Result<()> {
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", digest(bytes));
    let describe = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": format!("sha256:{}", digest(bytes)), "size": bytes.len()});
    let config = encode(&settings.config(layers));
    let manifest = encode(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": describe(CONFIG, &config),
        "layers": layers.iter().map(|layer| describe(LAYER, layer)).collect::<Vec<_>>(),
    }));
    let mut entry = describe(MANIFEST, &manifest);
    let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    entry["annotations"] = json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag});
    let index = encode(&json!({"schemaVersion": 2, "manifests": [entry]}));
    let docker = encode(&json!([{
        "Config": blob(&config),
        "RepoTags": [name],
        "Layers": layers.iter().map(|layer| blob(layer)).collect::<Vec<_>>(),
    }]));
    let mut files = Layer::default();
    files.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    files.file("index.json", 0o644, &index)?;
    files.file("manifest.json", 0o644, &docker)?;
    for bytes in layers.iter().chain([&config, &manifest]) {
        files.file(&blob(bytes), 0o644, bytes)?;
    }
    let temporary = path.with_extension("new");
    fs_err::write(&temporary, files.finish()?)?;
    publish(&temporary, path)
}

fn encode(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;

    #[test]
    fn every_digest_in_the_archive_leads_to_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.tar");
        let mut layer = Layer::default();
        layer.file("hello", 0o644, b"boat").unwrap();
        let settings = Settings { command: &["/hello"], stop_signal: Some("SIGQUIT"), ports: &["80/tcp"] };
        write(&path, "naru.dev/test/hello:7", &settings, &[layer.finish().unwrap()]).unwrap();
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(fs_err::File::open(&path).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), bytes);
        }
        let blob = |value: &Value| {
            let digest = value["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let bytes = files[&format!("blobs/sha256/{digest}")].clone();
            assert_eq!(
                (hex::encode(Sha256::digest(&bytes)), bytes.len() as u64),
                (digest.to_owned(), value["size"].as_u64().unwrap())
            );
            bytes
        };
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], "naru.dev/test/hello:7");
        let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        blob(&manifest["layers"][0]);
        assert_eq!(config["config"]["StopSignal"], "SIGQUIT");
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        let docker: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert!(files.contains_key(docker[0]["Config"].as_str().unwrap()));
    }
}
