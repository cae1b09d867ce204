//! The files of configMap, secret, downwardAPI and projected volumes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, DownwardAPIVolumeFile, DownwardAPIVolumeSource, KeyToPath, ProjectedVolumeSource,
    SecretVolumeSource,
};

use super::VolumeError;
use super::token::TokenCache;
use crate::Context;
use crate::env::Facts;
use crate::objects::ObjectError;
use crate::pod::PodExt;

const DEFAULT_MODE: i32 = 0o644;

pub(super) struct File {
    pub content: Vec<u8>,
    pub mode: i32,
}

/// By path below the volume.
pub(super) type Files = BTreeMap<String, File>;

pub(super) struct Builder<'a> {
    pub context: &'a Context,
    pub facts: &'a Facts<'a>,
    pub tokens: &'a mut TokenCache,
    pub files: Files,
}

type Data = BTreeMap<String, Vec<u8>>;

impl Builder<'_> {
    pub(super) async fn config_map_volume(&mut self, source: &ConfigMapVolumeSource) -> Result<(), VolumeError> {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        self.config_map(&source.name, source.items.as_deref(), source.optional, mode).await
    }

    pub(super) async fn secret_volume(&mut self, source: &SecretVolumeSource) -> Result<(), VolumeError> {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        self.secret(name, source.items.as_deref(), source.optional, mode).await
    }

    pub(super) fn downward_volume(&mut self, source: &DownwardAPIVolumeSource) -> Result<(), VolumeError> {
        self.downward(source.items.as_deref(), source.default_mode.unwrap_or(DEFAULT_MODE))
    }

    pub(super) async fn projected_volume(&mut self, source: &ProjectedVolumeSource) -> Result<(), VolumeError> {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        for projection in source.sources.iter().flatten() {
            if let Some(map) = &projection.config_map {
                self.config_map(&map.name, map.items.as_deref(), map.optional, mode).await?;
            } else if let Some(secret) = &projection.secret {
                self.secret(&secret.name, secret.items.as_deref(), secret.optional, mode).await?;
            } else if let Some(downward) = &projection.downward_api {
                self.downward(downward.items.as_deref(), mode)?;
            } else if let Some(wanted) = &projection.service_account_token {
                let token = self.tokens.get(self.context, self.facts.pod, wanted).await?;
                self.files.insert(wanted.path.clone(), File { content: token.into_bytes(), mode });
            } else {
                return Err(VolumeError::Unsupported);
            }
        }
        Ok(())
    }

    async fn config_map(
        &mut self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: i32,
    ) -> Result<(), VolumeError> {
        let optional = optional.unwrap_or(false);
        let data = match self.context.objects.config_map(self.facts.pod.namespace(), name).await {
            Ok(map) => {
                let text = map.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
                let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
                text.chain(binary).collect()
            }
            Err(ObjectError::NotFound { .. }) if optional => Data::new(),
            Err(error) => return Err(error.into()),
        };
        self.project("config", data, items, optional, mode)
    }

    async fn secret(
        &mut self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: i32,
    ) -> Result<(), VolumeError> {
        let optional = optional.unwrap_or(false);
        let data = match self.context.objects.secret(self.facts.pod.namespace(), name).await {
            Ok(secret) => secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect(),
            Err(ObjectError::NotFound { .. }) if optional => Data::new(),
            Err(error) => return Err(error.into()),
        };
        self.project("secret", data, items, optional, mode)
    }

    fn project(
        &mut self,
        kind: &'static str,
        mut data: Data,
        items: Option<&[KeyToPath]>,
        optional: bool,
        mode: i32,
    ) -> Result<(), VolumeError> {
        let Some(items) = items.filter(|items| !items.is_empty()) else {
            self.files.extend(data.into_iter().map(|(key, content)| (key, File { content, mode })));
            return Ok(());
        };
        for item in items {
            match data.remove(&item.key) {
                Some(content) => {
                    self.files.insert(item.path.clone(), File { content, mode: item.mode.unwrap_or(mode) });
                }
                None if optional => {}
                None => return Err(VolumeError::MissingKey { kind, key: item.key.clone() }),
            }
        }
        Ok(())
    }

    fn downward(&mut self, items: Option<&[DownwardAPIVolumeFile]>, mode: i32) -> Result<(), VolumeError> {
        for item in items.unwrap_or_default() {
            let text = match (&item.field_ref, &item.resource_field_ref) {
                (Some(field), _) => self.facts.field(field)?,
                (None, Some(resource)) => self.facts.resource(resource, "")?,
                (None, None) => continue,
            };
            let file = File { content: text.into_bytes(), mode: item.mode.unwrap_or(mode) };
            self.files.insert(item.path.clone(), file);
        }
        Ok(())
    }
}
