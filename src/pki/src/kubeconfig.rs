//! A kubeconfig with one cluster, one user and one context, everything embedded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{PkiError, PrivateKey};

/// What goes into a kubeconfig.
#[derive(Debug)]
pub struct Kubeconfig<'a> {
    pub cluster_name: &'a str,
    pub user_name: &'a str,
    /// `https://10.1.0.11:6443`
    pub server: &'a str,
    pub authority_pem: &'a str,
    pub certificate_pem: &'a str,
    pub key: &'a PrivateKey,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    api_version: &'a str,
    kind: &'a str,
    clusters: [Named<'a, Cluster<'a>>; 1],
    users: [Named<'a, User>; 1],
    contexts: [Named<'a, Context<'a>>; 1],
    #[serde(rename = "current-context")]
    current_context: &'a str,
}

#[derive(Serialize)]
struct Named<'a, T> {
    name: &'a str,
    #[serde(flatten)]
    value: T,
}

#[derive(Serialize)]
struct Cluster<'a> {
    cluster: ClusterFields<'a>,
}

#[derive(Serialize)]
struct ClusterFields<'a> {
    #[serde(rename = "certificate-authority-data")]
    certificate_authority_data: String,
    server: &'a str,
}

#[derive(Serialize)]
struct User {
    user: UserFields,
}

#[derive(Serialize)]
struct UserFields {
    #[serde(rename = "client-certificate-data")]
    client_certificate_data: String,
    #[serde(rename = "client-key-data")]
    client_key_data: Zeroized,
}

#[derive(Serialize)]
struct Context<'a> {
    context: ContextFields<'a>,
}

#[derive(Serialize)]
struct ContextFields<'a> {
    cluster: &'a str,
    user: &'a str,
}

struct Zeroized(Zeroizing<String>);

impl Serialize for Zeroized {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl Kubeconfig<'_> {
    /// The YAML text; it holds a private key and wipes itself.
    pub fn to_yaml(&self) -> Result<Zeroizing<String>, PkiError> {
        let key_pem = self.key.to_pem();
        let document = Document {
            api_version: "v1",
            kind: "Config",
            clusters: [Named {
                name: self.cluster_name,
                value: Cluster {
                    cluster: ClusterFields {
                        certificate_authority_data: STANDARD.encode(self.authority_pem),
                        server: self.server,
                    },
                },
            }],
            users: [Named {
                name: self.user_name,
                value: User {
                    user: UserFields {
                        client_certificate_data: STANDARD.encode(self.certificate_pem),
                        client_key_data: Zeroized(Zeroizing::new(STANDARD.encode(key_pem.as_bytes()))),
                    },
                },
            }],
            contexts: [Named {
                name: self.cluster_name,
                value: Context { context: ContextFields { cluster: self.cluster_name, user: self.user_name } },
            }],
            current_context: self.cluster_name,
        };
        serde_saphyr::to_string(&document).map(Zeroizing::new).map_err(PkiError::Kubeconfig)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_has_what_kubectl_looks_for() {
        let key = PrivateKey::generate().unwrap();
        let kubeconfig = Kubeconfig {
            cluster_name: "prod",
            user_name: "prod-admin",
            server: "https://10.1.0.11:6443",
            authority_pem: "AUTHORITY",
            certificate_pem: "CERTIFICATE",
            key: &key,
        };
        let yaml = kubeconfig.to_yaml().unwrap();
        let value: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(value["apiVersion"], "v1");
        assert_eq!(value["current-context"], "prod");
        assert_eq!(value["clusters"][0]["cluster"]["server"], "https://10.1.0.11:6443");
        assert_eq!(value["clusters"][0]["cluster"]["certificate-authority-data"], STANDARD.encode("AUTHORITY"));
        assert_eq!(value["contexts"][0]["context"]["user"], "prod-admin");
        let data = value["users"][0]["user"]["client-key-data"].as_str().unwrap();
        assert_eq!(STANDARD.decode(data).unwrap(), key.to_pem().as_bytes());
    }
}
