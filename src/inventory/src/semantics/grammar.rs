//! The grammar of versions, names with ports and URLs.

use std::net::Ipv4Addr;

use crate::names::is_dns_name;

/// Why a URL cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UrlProblem {
    /// A login stands in it, which may be a secret.
    Login,
    Form(String),
}

/// `v1.2.3`.
pub(super) fn is_version(text: &str) -> bool {
    let Some(numbers) = text.strip_prefix('v') else { return false };
    let is_number = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
            && part.parse::<u32>().is_ok()
    };
    numbers.split('.').count() == 3 && numbers.split('.').all(is_number)
}

/// A name or an IPv4 address.
pub(super) fn is_host(text: &str) -> bool {
    // Four numbers that are no address are a slip, not a name.
    let is_numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse::<Ipv4Addr>().is_ok() || (is_dns_name(&text.to_ascii_lowercase()) && !is_numeric)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// The same with a port behind it or not.
pub(super) fn is_host_and_port(text: &str) -> bool {
    match text.split_once(':') {
        Some((host, port)) => is_host(host) && is_port(port),
        None => is_host(text),
    }
}

/// The same with a port behind it.
pub(super) fn is_endpoint(text: &str) -> bool {
    text.contains(':') && is_host_and_port(text)
}

/// `http://name[:port]`, with a path where that has a meaning.
pub(super) fn url(text: &str, with_path: bool) -> Result<(), UrlProblem> {
    let form = || UrlProblem::Form(text.to_owned());
    if text.contains('@') {
        return Err(UrlProblem::Login);
    }
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or_else(form)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path_is_fine = path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'?' | b'#'));
    if is_host_and_port(authority) && path_is_fine && (with_path || path.is_empty()) { Ok(()) } else { Err(form()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert!(is_version("v0.1.0") && is_version("v1.20.300"));
        for bad in
            ["0.1.0", "v1.2", "v1.2.3.4", "v01.2.3", "v1.2.x", "v1..3", "v1.2.3-rc1", "v", "latest", "v1.2.99999999999"]
        {
            assert!(!is_version(bad), "{bad}");
        }
    }

    #[test]
    fn hosts_and_urls() {
        assert!(is_host("10.0.0.1") && is_host("a.example.com") && !is_host("10.0.0.300") && !is_host("a b"));
        assert!(is_endpoint("a:1") && !is_endpoint("a") && !is_endpoint("a:0") && !is_endpoint("a:+1"));
        assert_eq!(url("https://mirror.example.com/v2/x", true), Ok(()));
        assert_eq!(url("http://10.0.0.1:3128/", false), Ok(()));
        assert_eq!(url("http://u:p@proxy", false), Err(UrlProblem::Login));
        for bad in ["mirror", "ftp://a", "https://", "https://a:b", "https://a b", "https://a/?x", "https://a/\"b"] {
            assert!(matches!(url(bad, true), Err(UrlProblem::Form(_))), "{bad}");
        }
        assert!(url("http://a/path", false).is_err());
    }
}
