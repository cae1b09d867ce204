//! The JSON Schema of an inventory, draft 2020-12, for editors and for everything here that is derived from it.

use schemars::generate::SchemaSettings;
use serde_json::Value as Json;

use crate::spec::Inventory;

const ID: &str = "https://naru.dev/schemas/v1alpha1/cluster.json";
/// Number formats of Rust that editors do not know; `minimum` and `maximum` say the same.
const FOREIGN_FORMATS: [&str; 2] = ["uint16", "uint32"];

/// The schema.
#[must_use]
pub fn schema() -> Json {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Inventory>().to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("$id".to_owned(), ID.into());
    }
    tidy(&mut schema);
    schema
}

/// Bounds instead of Rust's formats; descriptions without the line breaks of the source.
fn tidy(schema: &mut Json) {
    match schema {
        Json::Object(fields) => {
            let is_foreign = |format: &Json| format.as_str().is_some_and(|format| FOREIGN_FORMATS.contains(&format));
            if let Some(format) = fields.get("format").filter(|format| is_foreign(format)) {
                let maximum = if format == "uint16" { u32::from(u16::MAX) } else { u32::MAX };
                fields.remove("format");
                fields.entry("maximum").or_insert_with(|| maximum.into());
            }
            if let Some(Json::String(text)) = fields.get_mut("description") {
                *text = text.replace("\n\n", "\u{0}").replace('\n', " ").replace('\u{0}', "\n\n");
            }
            fields.values_mut().for_each(tidy);
        }
        Json::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}
