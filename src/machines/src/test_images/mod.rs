//! Container images for tests, built from Debian packages with plain tar: no container tool, no registry.
//!
//! `naru.dev/test/busybox:1` has busybox with dash as `/bin/sh` (busybox' own shell would run its applets before the
//! PATH). `naru.dev/test/nginx:1` and `:2` have nginx on top, in the foreground on port 80, and differ in
//! `/usr/share/nginx/html/version`, so that a rolling update can be seen from outside.

mod archive;
mod layer;

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::command::run;
use crate::local::{publish, remove_folder};
use crate::lock::Lock;
use crate::{Error, Result};
use archive::Settings;
use layer::Layer;

/// Raised when these files make something else.
const RECIPE_VERSION: u32 = 1;
const SUITE: &str = "trixie";
const SOURCE: &str = "deb http://deb.debian.org/debian trixie main";
const PACKAGES: &str = "nginx,busybox-static,dash";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
const NGINX_CONF: &str = include_str!("nginx.conf");
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

/// An image archive that `ctr images import` and `naru image load` take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestImage {
    /// Full name, such as `naru.dev/test/nginx:1`.
    pub name: String,
    /// The tar file.
    pub archive: PathBuf,
}

/// All test images, made now if they are not cached below `cache`. Needs mmdebstrap and the Debian mirror only then.
pub fn ensure_all(cache: &Path) -> Result<Vec<TestImage>> {
    let recipe = format!("{RECIPE_VERSION}\n{SOURCE}\n{PACKAGES}\n{NGINX_CONF}\n{PASSWD}\n{GROUP}");
    let key = hex::encode(Sha256::digest(recipe.as_bytes()));
    let images = cache.join("test-images");
    let folder = images.join(&key[..12]);
    if !folder.is_dir() {
        fs_err::create_dir_all(&images)?;
        let _lock = Lock::take(&images.join(".lock"))?;
        if !folder.is_dir() {
            let making = images.join(".making");
            remove_folder(&making)?;
            fs_err::create_dir_all(&making)?;
            make(&making)?;
            publish(&making, &folder)?;
        }
    }
    let image = |(name, file): (&str, &str)| TestImage { name: name.to_owned(), archive: folder.join(file) };
    Ok(NAMES.map(image).to_vec())
}

const NAMES: [(&str, &str); 3] = [
    ("naru.dev/test/busybox:1", "busybox-1.tar"),
    ("naru.dev/test/nginx:1", "nginx-1.tar"),
    ("naru.dev/test/nginx:2", "nginx-2.tar"),
];

fn make(folder: &Path) -> Result<()> {
    let debian = folder.join("debian");
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--mode=root", "--variant=extract", &format!("--include={PACKAGES}"), SUITE]);
    run(command.arg(&debian).arg(SOURCE).env("LC_ALL", "C.UTF-8"))?;
    let base = base_layer(&debian)?;
    let shell = Settings { command: &["/bin/sh"], stop_signal: None, ports: &[] };
    archive::write(&folder.join(NAMES[0].1), NAMES[0].0, &shell, std::slice::from_ref(&base))?;
    for (version, (name, file)) in ["1", "2"].iter().zip(&NAMES[1..]) {
        let nginx = nginx_layer(&debian, version)?;
        let settings = Settings {
            command: &["/usr/sbin/nginx", "-g", "daemon off;"],
            // nginx takes SIGTERM as "drop everything"; this one lets requests finish.
            stop_signal: Some("SIGQUIT"),
            ports: &["80/tcp"],
        };
        archive::write(&folder.join(file), name, &settings, &[base.clone(), nginx])?;
    }
    remove_folder(&debian)
}

/// busybox with all its applets, dash, and what dash needs.
fn base_layer(debian: &Path) -> Result<Vec<u8>> {
    let mut layer = Layer::default();
    for (path, mode) in
        [("tmp", 0o1777), ("root", 0o700), ("proc", 0o555), ("sys", 0o555), ("dev", 0o755), ("run", 0o755)]
    {
        layer.folder(path, mode)?;
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        layer.folder(&format!("usr/{name}"), 0o755)?;
        layer.link(name, &format!("usr/{name}"))?;
    }
    layer.file("etc/passwd", 0o644, PASSWD.as_bytes())?;
    layer.file("etc/group", 0o644, GROUP.as_bytes())?;
    layer.copy("usr/bin/busybox", &debian.join("usr/bin/busybox"))?;
    copy_program(&mut layer, debian, "usr/bin/dash")?;
    layer.link("usr/bin/sh", "dash")?;
    let applets = run(Command::new(debian.join("usr/bin/busybox")).arg("--list"))?;
    for applet in applets.lines().filter(|applet| !["sh", "dash", "busybox"].contains(applet)) {
        layer.link(&format!("usr/bin/{applet}"), "busybox")?;
    }
    layer.finish()
}

fn nginx_layer(debian: &Path, version: &str) -> Result<Vec<u8>> {
    let mut layer = Layer::default();
    copy_program(&mut layer, debian, "usr/sbin/nginx")?;
    layer.file("etc/nginx/nginx.conf", 0o644, NGINX_CONF.as_bytes())?;
    layer.copy("etc/nginx/mime.types", &debian.join("etc/nginx/mime.types"))?;
    layer.file("usr/share/nginx/html/version", 0o644, format!("{version}\n").as_bytes())?;
    let page = format!("<!doctype html><title>Naru</title><p>nginx of the test image, version {version}\n");
    layer.file("usr/share/nginx/html/index.html", 0o644, page.as_bytes())?;
    for folder in ["var/lib/nginx", "var/log/nginx", "var/cache/nginx"] {
        layer.folder(folder, 0o755)?;
    }
    layer.finish()
}

/// A program with the libraries that Debian's loader says it needs.
fn copy_program(layer: &mut Layer, debian: &Path, program: &str) -> Result<()> {
    layer.copy(program, &debian.join(program))?;
    layer.copy(LOADER, &debian.join(LOADER))?;
    let libraries = debian.join(LIBRARIES);
    let mut loader = Command::new(debian.join(LOADER));
    loader.arg("--library-path").arg(&libraries).arg("--list").arg(debian.join(program));
    for library in parse_libraries(&run(&mut loader)?) {
        let file = libraries.join(&library);
        if !file.exists() {
            return Err(Error::specification(
                "test images",
                format!("{program} needs {library}, which no package brought"),
            ));
        }
        layer.copy(&format!("{LIBRARIES}/{library}"), &file)?;
    }
    Ok(())
}

/// Names in the output of `ld.so --list`.
fn parse_libraries(text: &str) -> Vec<String> {
    let names = text.lines().filter_map(|line| line.split_once(" => ")).map(|(name, _)| name.trim());
    names.filter(|name| !name.contains('/')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_the_loader() {
        let text =
            "\tlinux-vdso.so.1 (0x7f)\n\tlibz.so.1 => /x/libz.so.1 (0x1)\n\t/lib64/ld.so.2 => /x/ld.so.2 (0x2)\n";
        assert_eq!(parse_libraries(text), ["libz.so.1"]);
    }
}
