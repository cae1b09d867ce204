//! Eviction: a deletion that PodDisruptionBudgets may refuse.

use bytes::Bytes;
use http::StatusCode;
use naru_api::selector::LabelSelector;
use serde_json::{Value, json};

use crate::chain::ObjectReader;
use crate::registry::{Call, Registry, Target, answer};
use crate::status::ApiError;
use crate::web::query::DeleteOptions;
use crate::web::{Outcome, body};

/// Seconds after which a refused eviction is worth another try.
const RETRY_AFTER_S: u32 = 10;

impl Registry {
    pub(super) async fn evict(&self, call: &Call, target: &Target<'_>, bytes: &Bytes) -> Outcome {
        let eviction = body::object(&call.parts.headers, bytes)?;
        let named = eviction["metadata"]["name"].as_str().unwrap_or_default();
        if !named.is_empty() && named != target.name {
            return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
        }
        let mut options = DeleteOptions::parse(&call.query, &eviction["deleteOptions"])?;
        options.dry_run |= call.query.dry_run()?;
        let entry = self.entry(target)?;
        let pod = self.objects.decode(target.row, &entry);
        if counts(&pod) {
            self.check_budgets(target, &pod)?;
        }
        self.delete_object(call, target, &options).await?;
        let success = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        answer(&success, StatusCode::CREATED, call.output)
    }

    /// The budget's own controller keeps `disruptionsAllowed`; a budget without a controller's word allows nothing.
    fn check_budgets(&self, target: &Target<'_>, pod: &Value) -> Result<(), ApiError> {
        let labels = naru_api::meta::labels(pod);
        for budget in self.objects.list("policy", "poddisruptionbudgets", Some(target.namespace)) {
            let selected = LabelSelector::from_object(&budget["spec"]["selector"]);
            if !selected.is_ok_and(|selector| selector.matches(labels)) {
                continue;
            }
            if budget["status"]["disruptionsAllowed"].as_i64().unwrap_or(0) > 0 {
                continue;
            }
            let name = naru_api::meta::name(&budget);
            let text = "Cannot evict pod as it would violate the pod's disruption budget.";
            let mut error = ApiError::new(429, "TooManyRequests", text);
            let message = format!("The disruption budget {name} does not allow a disruption now");
            error.details = Some(json!({"causes": [{"reason": "DisruptionBudget", "message": message}]}));
            error.retry_after_s = Some(RETRY_AFTER_S);
            return Err(error);
        }
        Ok(())
    }
}

/// Pods that are done, not yet running or going anyway may always be evicted.
fn counts(pod: &Value) -> bool {
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    phase == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
}
