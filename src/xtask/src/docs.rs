//! The pages that are written from the code: `naru` itself knows what is in them.

use anyhow::{Context, Result, ensure};

use crate::{packages, shell};

const PAGES: [(&str, &str); 2] = [("cli", "docs/reference/cli.md"), ("inventory", "docs/reference/inventory.md")];

pub(crate) fn write() -> Result<()> {
    packages::for_building()?;
    for (name, page) in PAGES {
        let mut cargo = shell::cargo();
        cargo.args(["run", "--locked", "--quiet", "--package", "naru", "--", "reference", name]);
        let output = cargo.output().context("cargo cannot be started")?;
        ensure!(output.status.success(), "naru reference {name}: {}", String::from_utf8_lossy(&output.stderr));
        let path = shell::root().join(page);
        let folder = path.parent().context("a page lies in a folder")?;
        fs_err::create_dir_all(folder)?;
        fs_err::write(&path, output.stdout)?;
        shell::say(&format!("wrote {page}"));
    }
    Ok(())
}
