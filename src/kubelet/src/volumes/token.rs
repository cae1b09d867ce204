//! Service-account tokens bound to the pod, renewed when four fifths of their life (or a day) have passed.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use kube::api::{Api, PostParams};

use super::VolumeError;
use crate::Context;
use crate::pod::{PodExt, spec};

const DEFAULT_SECONDS: i64 = 3600;
const MAX_AGE_SECONDS: i64 = 24 * 3600;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

struct Held {
    token: String,
    renew_at: Timestamp,
    expires_at: Timestamp,
}

/// The tokens of one pod, by audience and wanted life.
#[derive(Default)]
pub(crate) struct TokenCache(HashMap<(String, i64), Held>);

impl TokenCache {
    pub(super) async fn get(
        &mut self,
        context: &Context,
        pod: &Pod,
        wanted: &ServiceAccountTokenProjection,
    ) -> Result<String, VolumeError> {
        let seconds = wanted.expiration_seconds.unwrap_or(DEFAULT_SECONDS);
        let audience = wanted.audience.clone().unwrap_or_default();
        let key = (audience.clone(), seconds);
        let now = Timestamp::now();
        if let Some(held) = self.0.get(&key).filter(|held| now < held.renew_at) {
            return Ok(held.token.clone());
        }
        let account = spec(pod).service_account_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("default");
        match request(context, pod, account, audience, seconds).await {
            Ok(held) => {
                let token = held.token.clone();
                self.0.insert(key, held);
                Ok(token)
            }
            // An old token that still holds is better than a pod that fails.
            Err(message) => match self.0.get(&key).filter(|held| now < held.expires_at) {
                Some(held) => Ok(held.token.clone()),
                None => Err(VolumeError::Token { account: account.to_owned(), message }),
            },
        }
    }
}

async fn request(
    context: &Context,
    pod: &Pod,
    account: &str,
    audience: String,
    seconds: i64,
) -> Result<Held, String> {
    let api: Api<ServiceAccount> = Api::namespaced(context.client.clone(), pod.namespace());
    let body = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(vec![audience]).filter(|list| !list[0].is_empty()),
            expiration_seconds: Some(seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
        }),
        ..Default::default()
    };
    let params = PostParams::default();
    let call = api.create_token_request(account, &params, &body);
    let answer = match tokio::time::timeout(REQUEST_TIMEOUT, call).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(crate::error_chain(&error)),
        Err(_) => return Err("the API did not answer in time".into()),
    };
    let status = answer.status.ok_or("the API sent no token")?;
    let token = status.token.ok_or("the API sent no token")?;
    let now = Timestamp::now();
    let expires_at = status.expiration_timestamp.map_or_else(|| now, |time| time.0);
    let life = (expires_at.as_second() - now.as_second()).max(0);
    let renew_after = (life * 4 / 5).min(MAX_AGE_SECONDS);
    let renew_at = Timestamp::from_second(now.as_second() + renew_after).unwrap_or(now);
    Ok(Held { token, renew_at, expires_at })
}
