//! Further documents of the inventory, created or patched. What was applied is kept on the object, so that a field
//! that has vanished from the document vanishes from the object, and fields of others stay.

use naru_observe::{Document, LAST_APPLIED_ANNOTATION, Place};
use serde_json::{Value as Json, json};

use super::Lines;
use crate::world::{World, api_request, get, merge_patch, permanent, refused};

/// Tries against others who change the object at the same moment.
const MAX_CONFLICTS: u32 = 10;

impl World<'_> {
    pub(super) async fn manifest(&self, control_planes: &[String], index: usize) -> Lines {
        let document = self.inventory.manifests.get(index);
        let document = document.ok_or_else(|| permanent(format!("the inventory has no document {index}")))?;
        let document = Document::read(document).map_err(permanent)?;
        let what = document.to_string();
        let place = self.place(control_planes, &document).await?;
        let mut conflicts = 0;
        loop {
            let found = self.api(control_planes, get(&place.object)).await?;
            let (verb, answer) = match found.status {
                200 => {
                    let live: Json = serde_json::from_str(&found.body).unwrap_or_default();
                    let Some(mut patch) = document.patch(&live) else { return Ok(Vec::new()) };
                    patch["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
                    patch["metadata"]["annotations"][LAST_APPLIED_ANNOTATION] = json!(document.last_applied());
                    ("update", self.api(control_planes, merge_patch(&place.object, &patch)).await?)
                }
                404 => {
                    let body = document.to_create(&place).to_string();
                    let request = api_request("POST", &place.collection, "application/json", body);
                    ("create", self.api(control_planes, request).await?)
                }
                _ => return Err(refused(&format!("read {what}"), &found)),
            };
            match answer.status {
                200..300 => return Ok(vec![format!("{verb} {what}")]),
                409 if conflicts < MAX_CONFLICTS => conflicts += 1,
                _ => return Err(refused(&format!("{verb} {what}"), &answer)),
            }
        }
    }

    /// Asked each time: an earlier document may just have brought this kind.
    async fn place(&self, control_planes: &[String], document: &Document) -> Result<Place, naru_observe::AgentError> {
        let answer = self.api(control_planes, get(&document.discovery_path())).await?;
        if answer.status != 200 {
            return Err(refused(&format!("know {}", document.api_version()), &answer));
        }
        let kinds: Json = serde_json::from_str(&answer.body).unwrap_or_default();
        document.place(&kinds).ok_or_else(|| permanent(format!("the API server knows no kind of {document}")))
    }
}
