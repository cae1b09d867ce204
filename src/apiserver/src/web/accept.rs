//! Which form of an answer the client wants.

use http::HeaderMap;
use http::header::ACCEPT;

use crate::status::ApiError;

/// Protobuf is never chosen, so a client that lists it before JSON gets JSON.
const ACCEPTED: &str = "only the following media types are accepted: application/json, application/yaml";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The objects as they are.
    Plain,
    Table,
    /// `PartialObjectMetadata`, or its list.
    Metadata,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) form: Form,
    pub(crate) yaml: bool,
}

impl Output {
    pub(crate) const JSON: Self = Self { form: Form::Plain, yaml: false };

    pub(crate) fn negotiate(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut offers = Vec::new();
        for value in headers.get_all(ACCEPT) {
            let text = value.to_str().map_err(|_| ApiError::bad_request("the Accept header is not text"))?;
            offers.extend(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse));
        }
        if offers.is_empty() {
            return Ok(Self::JSON);
        }
        // Stable: among equals the client's order decides.
        offers.sort_by(|left, right| right.quality.total_cmp(&left.quality));
        let chosen = offers.iter().filter(|offer| offer.quality > 0.0).find_map(Offer::output);
        chosen.ok_or_else(|| ApiError::new(406, "NotAcceptable", ACCEPTED))
    }
}

struct Offer<'a> {
    media: &'a str,
    kind: &'a str,
    group: &'a str,
    version: &'a str,
    quality: f32,
}

fn parse(text: &str) -> Offer<'_> {
    let mut parts = text.split(';').map(str::trim);
    let mut offer = Offer { media: parts.next().unwrap_or_default(), kind: "", group: "", version: "", quality: 1.0 };
    for (key, value) in parts.filter_map(|part| part.split_once('=')) {
        match key.trim() {
            "as" => offer.kind = value.trim(),
            "g" => offer.group = value.trim(),
            "v" => offer.version = value.trim(),
            "q" => offer.quality = value.trim().parse().unwrap_or(0.0),
            _ => {}
        }
    }
    offer
}

impl Offer<'_> {
    fn output(&self) -> Option<Output> {
        let yaml = match self.media {
            "application/json" | "*/*" | "application/*" => false,
            "application/yaml" => true,
            _ => return None,
        };
        let meta = self.group == "meta.k8s.io" && matches!(self.version, "v1" | "v1beta1");
        let form = match self.kind {
            "" => Form::Plain,
            "Table" if meta => Form::Table,
            "PartialObjectMetadata" | "PartialObjectMetadataList" if meta => Form::Metadata,
            _ => return None,
        };
        Some(Output { form, yaml })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiate(text: &str) -> Option<(Form, bool)> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, text.parse().unwrap());
        Output::negotiate(&headers).ok().map(|output| (output.form, output.yaml))
    }

    #[test]
    fn first_form_that_is_known_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io";
        assert_eq!(negotiate(&format!("{table},application/json")), Some((Form::Table, false)));
        assert_eq!(negotiate("application/vnd.kubernetes.protobuf, application/json"), Some((Form::Plain, false)));
        assert_eq!(negotiate("application/vnd.kubernetes.protobuf"), None);
        assert_eq!(negotiate("application/json;as=Odd;v=v1;g=meta.k8s.io, */*"), Some((Form::Plain, false)));
        assert_eq!(negotiate("application/json;q=0.1,application/yaml"), Some((Form::Plain, true)));
        let metadata = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(negotiate(metadata), Some((Form::Metadata, false)));
    }
}
