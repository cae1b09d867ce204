//! TokenReview and SelfSubjectReview.

use serde_json::{Value, json};

use super::invalid;
use crate::admission::fields::{text, texts};
use crate::authentication::{TokenAuthority, with_authenticated};
use crate::chain::UserInfo;
use crate::status::ApiError;

pub(super) fn token_review(tokens: &TokenAuthority, mut object: Value) -> Result<Value, ApiError> {
    let token = text(&object, "/spec/token");
    if token.is_empty() {
        let group = "authentication.k8s.io";
        return Err(invalid(group, "TokenReview", "", "spec.token", "FieldValueRequired", "Required value"));
    }
    let verdict = tokens.verify(token, &texts(&object, "/spec/audiences"));
    object["status"] = match verdict {
        Ok(verified) => json!({
            "authenticated": true,
            "user": with_authenticated(verified.user),
            "audiences": verified.audiences,
        }),
        Err(error) => json!({"user": {}, "error": error.to_string()}),
    };
    Ok(object)
}

pub(super) fn self_subject(user: &UserInfo, mut object: Value) -> Value {
    object["status"] = json!({"userInfo": user});
    object
}
