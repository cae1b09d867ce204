//! Files that the inventory names by `source`: their text becomes part of what was read.

use std::path::Path;

use fs_err as fs;

use crate::document::Path as Place;
use crate::spec::Inventory;
use crate::structure::Finding;

/// What goes to a host as one text.
pub(crate) const MAX_FILE_BYTES: u64 = 1 << 20;

/// Puts the text of every `source` into `content`; what cannot be read is told.
pub(crate) fn load(inventory: &mut Inventory, folder: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, file) in inventory.spec.files.iter_mut().enumerate() {
        let Some(source) = file.source.as_ref().filter(|source| file.content.is_none() && !source.is_empty()) else {
            continue;
        };
        let path = folder.join(source);
        match text_of(&path) {
            Ok(text) => file.content = Some(text),
            Err(reason) => {
                let place = Place::of("spec.files").index(index).key("source");
                let finding = Finding::new(place, format!("the file `{source}` cannot be taken: {reason}"));
                findings.push(finding.detail("it is looked for relative to the inventory's folder"));
            }
        }
    }
    findings
}

fn text_of(path: &Path) -> Result<String, String> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is none".to_owned(),
        _ => error.to_string(),
    })?;
    if !metadata.is_file() {
        return Err("it is no regular file".to_owned());
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(format!("it has {} bytes; at most {MAX_FILE_BYTES} are possible", metadata.len()));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "it is no UTF-8 text".to_owned())
}
