//! The house rules that no other tool checks.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it cannot read")]

use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::Visit;

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_CHARS_MAX: usize = 120;
/// Tables: long by nature, plain to read.
const TABLES: &[&str] = &["src/api/src/rows/", "src/api/src/patch/types.rs"];

/// Crates by floor, highest first: imports point downwards only (docs/architecture.md).
const FLOORS: &[&[&str]] = &[
    &["naru", "xtask", "naru-control-plane", "naru-node", "naru-e2e"],
    &["naru-simulate"],
    &["naru-execute", "naru-scheduler", "naru-apiserver", "naru-kubelet", "naru-network"],
    &["naru-plan", "naru-controllers"],
    &["naru-observe"],
    &["naru-hosts", "naru-inventory", "naru-machines"],
    &["naru-agent"],
    &["naru-resources", "naru-store", "naru-openapi"],
    &["naru-pki", "naru-api"],
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs_err::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    for folder in ["src", "tests"] {
        rust_files(&root().join(folder), &mut paths);
    }
    let name = |path: &Path| path.strip_prefix(root()).unwrap().display().to_string();
    paths.iter().map(|path| (name(path), fs_err::read_to_string(path).unwrap())).collect()
}

fn is_table(name: &str) -> bool {
    TABLES.iter().any(|table| name.starts_with(table))
}

/// Unit tests stand at the end of a file, or in a file of their own.
fn without_tests<'a>(name: &str, text: &'a str) -> &'a str {
    if name.contains("/tests") || name.starts_with("tests/") || name.ends_with("tests.rs") {
        return "";
    }
    text.split("\n#[cfg(test)]").next().unwrap()
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let lines = without_tests(&name, &text).lines().count();
        if lines > FILE_LINES_MAX && !is_table(&name) {
            wrong.push(format!("{name}: {lines} lines (at most {FILE_LINES_MAX})"));
        }
        if !text.starts_with("//!") {
            wrong.push(format!("{name}: does not begin with a //! line that says its job"));
        }
        for (index, line) in text.lines().enumerate() {
            if line.chars().count() > LINE_CHARS_MAX && !line.contains("\"") && !is_table(&name) {
                wrong.push(format!("{name}:{}: over {LINE_CHARS_MAX} characters", index + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

struct Lengths<'a> {
    file: &'a str,
    wrong: Vec<String>,
}

impl Lengths<'_> {
    fn measure(&mut self, name: &syn::Ident, block: &syn::Block) {
        let span = block.span();
        let lines = span.end().line - span.start().line + 1;
        if lines > FUNCTION_LINES_MAX {
            self.wrong.push(format!("{}:{}: {name} has {lines} lines", self.file, span.start().line));
        }
    }
}

impl<'ast> Visit<'ast> for Lengths<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.measure(&function.sig.ident, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(&function.sig.ident, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.ident != "tests" {
            syn::visit::visit_item_mod(self, module);
        }
    }
}

#[test]
fn functions_fit_on_a_screen() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        if is_table(&name) || without_tests(&name, &text).is_empty() {
            continue;
        }
        let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut lengths = Lengths { file: &name, wrong: Vec::new() };
        lengths.visit_file(&file);
        wrong.append(&mut lengths.wrong);
    }
    assert!(wrong.is_empty(), "functions of over {FUNCTION_LINES_MAX} lines:\n{}", wrong.join("\n"));
}

#[test]
fn imports_point_downwards() {
    let floor = |name: &str| FLOORS.iter().position(|crates| crates.contains(&name));
    let mut manifests: Vec<PathBuf> =
        fs_err::read_dir(root().join("src")).unwrap().map(|entry| entry.unwrap().path().join("Cargo.toml")).collect();
    manifests.push(root().join("tests/Cargo.toml"));
    for manifest in manifests.iter().filter(|manifest| manifest.is_file()) {
        let text = fs_err::read_to_string(manifest).unwrap();
        let name = text.lines().find_map(|line| line.strip_prefix("name = ")).unwrap().trim_matches('"');
        let own = floor(name).unwrap_or_else(|| panic!("{name} stands on no floor of the table"));
        for line in text.lines().filter(|line| line.starts_with("naru-")) {
            let dependency = line.split(['.', ' ', '=']).next().unwrap();
            let below = floor(dependency).unwrap_or_else(|| panic!("{dependency} stands on no floor of the table"));
            assert!(below > own, "{name} may not depend on {dependency}: it does not stand below");
        }
    }
}
