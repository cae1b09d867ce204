//! Creation: fill, default, admit, validate, store.

use bytes::Bytes;
use http::StatusCode;
use naru_api::FieldError;
use naru_store::{Change, Condition, StoreError, Write};
use serde_json::Value;

use crate::chain::{AdmissionRequest, Operation};
use crate::registry::list::store_error;
use crate::registry::{Call, Registry, Saved, Target, answer, catalog, kinds, metadata};
use crate::status::ApiError;
use crate::web::Outcome;

/// Names tried for one `generateName` before giving up.
const NAME_ATTEMPTS_MAX: usize = 8;

impl Registry {
    pub(crate) async fn create(&self, call: &Call, target: &Target<'_>, body: &Bytes) -> Outcome {
        let row = target.row;
        let object = self.decode_body(call, row, body)?;
        let warnings = self.check_fields(call, row, &object)?;
        if !row.is_stored() {
            return self.create_computed(call, target, object).await;
        }
        let target = Target { name: "", ..*target };
        let saved = self.create_object(call, &target, object, call.query.dry_run()?).await?;
        Self::warned(self.respond_saved(call, row, saved, StatusCode::CREATED), &warnings)
    }

    async fn create_computed(&self, call: &Call, target: &Target<'_>, mut object: Value) -> Outcome {
        if target.row.kind == "Binding" {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            return self.bind(call, target.namespace, &name, &object).await;
        }
        (target.row.strategy.default)(&mut object);
        let answered = self.computed.create(&call.user, &call.info, object)?;
        answer(&answered, StatusCode::CREATED, call.output)
    }

    /// The whole way of a new object. `target.name` is empty, or the name from the path of an update that creates.
    pub(crate) async fn create_object(
        &self,
        call: &Call,
        target: &Target<'_>,
        mut object: Value,
        dry_run: bool,
    ) -> Result<Saved, ApiError> {
        let row = target.row;
        metadata::prepare_create(target, &mut object)?;
        if row.subresource("status").is_some() && !kinds::keeps_status_on_create(row) {
            object.as_object_mut().expect("checked when it was decoded").remove("status");
        }
        let generated = metadata::is_empty(&object["metadata"]["name"]) && metadata::generate_name(&mut object);
        if metadata::is_empty(&object["metadata"]["name"]) {
            let error = FieldError::required("metadata.name", "name or generateName is required");
            return Err(ApiError::invalid(row, "", &[error]));
        }
        naru_api::prepare_create(row, &mut object);
        kinds::prepare_create(row, &mut object);
        naru_api::apply_defaults(row, &mut object);
        let mut request = AdmissionRequest {
            operation: Operation::Create,
            resource: row,
            info: &call.info,
            user: &call.user,
            object: &mut object,
            old_object: None,
            dry_run,
        };
        self.admission.admit(&mut request)?;
        let result = self.store_new(target, &mut object, generated, dry_run).await;
        self.admission.settled(row, &object, !dry_run && result.is_ok());
        result
    }

    async fn store_new(
        &self,
        target: &Target<'_>,
        object: &mut Value,
        generated: bool,
        dry_run: bool,
    ) -> Result<Saved, ApiError> {
        let row = target.row;
        naru_api::apply_defaults(row, object);
        let name = naru_api::meta::name(object).to_owned();
        let errors = naru_api::validate_create(row, object);
        if !errors.is_empty() {
            return Err(ApiError::invalid(row, &name, &errors));
        }
        for attempt in 0..NAME_ATTEMPTS_MAX {
            if attempt > 0 {
                metadata::generate_name(object);
            }
            let name = naru_api::meta::name(object);
            if dry_run {
                return match self.objects.entry(row, target.namespace, name) {
                    Some(_) => Err(ApiError::already_exists(row.group, row.plural, name)),
                    None => Ok(Saved::Dry(object.clone())),
                };
            }
            let write = Write {
                table: self.objects.catalog.table(row),
                key: catalog::key(row, target.namespace, name),
                condition: Condition::Absent,
                change: Change::Put(self.objects.draft(row, object.clone())),
            };
            match self.objects.store.write(write).await {
                Ok(entry) => return Ok(Saved::Entry(entry)),
                Err(StoreError::AlreadyExists) if generated && attempt + 1 < NAME_ATTEMPTS_MAX => {}
                Err(StoreError::AlreadyExists) => {
                    return Err(ApiError::already_exists(row.group, row.plural, name));
                }
                Err(error) => return Err(store_error(&error)),
            }
        }
        Err(ApiError::internal("no free name was found"))
    }
}
