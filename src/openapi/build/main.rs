//! Makes the OpenAPI documents of the resource table at build time: schemas and their descriptions from
//! `k8s-openapi`, paths and merge keys from `naru-api`. The server then only hands out bytes, and knows every
//! field of every kind from static tables.

mod definitions;
mod gnostic;
mod paths;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Map, Value, json};

fn main() {
    emit_rerun();
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let definitions = definitions::all();
    write(&out.join("types.rs"), types::generate(&definitions).as_bytes());

    let v2 = version_2(&definitions);
    write_gzip(&out.join("v2.json.gz"), &serde_json::to_vec(&v2).expect("JSON values serialise"));
    write_gzip(&out.join("v2.pb.gz"), &gnostic::document(&v2));

    let mut index = String::from("pub(crate) static VERSION_3: &[(&str, &[u8])] = &[\n");
    for (number, (path, document)) in version_3(&definitions).into_iter().enumerate() {
        let file = format!("v3-{number}.json.gz");
        write_gzip(&out.join(&file), &serde_json::to_vec(&document).expect("JSON values serialise"));
        index += &format!("    ({path:?}, include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{file}\"))),\n");
    }
    write(&out.join("index.rs"), (index + "];\n").as_bytes());
}

#[expect(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]
fn emit_rerun() {
    println!("cargo::rerun-if-changed=build");
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": "v1.36.0"})
}

fn version_2(definitions: &Map<String, Value>) -> Value {
    let schemas: Map<String, Value> =
        definitions.iter().map(|(name, schema)| (name.clone(), definitions::version_2(name, schema))).collect();
    let mut all_paths = Map::new();
    for resource in naru_api::table() {
        for (path, operations) in paths::of(resource) {
            all_paths.insert(path, paths::version_2(&operations));
        }
    }
    json!({"swagger": "2.0", "info": info(), "paths": all_paths, "definitions": schemas})
}

/// One document per group and version, with the definitions that its kinds reach.
fn version_3(definitions: &Map<String, Value>) -> BTreeMap<String, Value> {
    let mut documents = BTreeMap::new();
    let versions: BTreeSet<(&str, &str)> = naru_api::table().iter().map(|row| (row.group, row.version)).collect();
    for (group, version) in versions {
        let mut reached = BTreeSet::new();
        for shared in ["DeleteOptions", "Status"] {
            definitions::reach(definitions, &format!("io.k8s.apimachinery.pkg.apis.meta.v1.{shared}"), &mut reached);
        }
        let mut all_paths = Map::new();
        for resource in naru_api::table().iter().filter(|row| row.group == group && row.version == version) {
            for (path, operations) in paths::of(resource) {
                for name in operations.iter().flat_map(paths::Operation::definitions) {
                    definitions::reach(definitions, &name, &mut reached);
                }
                all_paths.insert(path, paths::version_3(&operations));
            }
        }
        let schemas: Map<String, Value> =
            reached.iter().map(|name| (name.clone(), definitions::version_3(name, &definitions[name]))).collect();
        let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
        documents.insert(
            path,
            json!({"openapi": "3.0.0", "info": info(), "paths": all_paths, "components": {"schemas": schemas}}),
        );
    }
    documents
}

fn write_gzip(path: &Path, bytes: &[u8]) {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("writing to memory");
    write(path, &encoder.finish().expect("writing to memory"));
}

#[expect(clippy::disallowed_methods, reason = "a build script's panic names the path itself")]
fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}
