//! Where a registry is and who we are to it: the URL of one repository, and credentials from a file
//! in the form that container tools write. Nothing is fetched here.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use repave_protocol::strict_json;
use serde_json::Value;

use super::error::RegistryError;

/// Largest credentials file.
const AUTH_FILE_BYTES: usize = 256 * 1024;
/// Longest repository name (distribution-spec 1.1 leaves room for the host within 255).
const REPOSITORY_BYTES: usize = 200;

/// One repository of a registry, `https://HOST[:PORT]/REPOSITORY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryUrl {
    /// `https://HOST[:PORT]`.
    pub(crate) origin: String,
    /// `HOST[:PORT]`, as credentials files have it.
    pub(crate) host: String,
    /// The repository.
    pub(crate) repository: String,
}

impl RegistryUrl {
    /// Whether a library reference is meant as a registry's, rightly written or not.
    pub fn is_meant(text: &str) -> bool {
        text.contains("://")
    }
}

impl FromStr for RegistryUrl {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let bad = |reason| RegistryError::BadUrl { text: text.into(), reason };
        let (scheme, rest) = text.split_once("://").ok_or(bad("it has no scheme"))?;
        let (host, repository) = rest.split_once('/').unwrap_or((rest, ""));
        if host.contains('@') {
            return Err(bad("credentials belong into the file that --registry-auth names"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        if host.is_empty() || !host.chars().all(plain) {
            return Err(bad("its host is none"));
        }
        let scheme = match scheme {
            // skopeo and podman write registries with this scheme.
            "https" | "docker" => "https",
            "http" if is_loopback(host) => "http",
            "http" => return Err(bad("plain HTTP is for this machine's own addresses only")),
            _ => return Err(bad("its scheme is neither https nor docker")),
        };
        let repository = repository.trim_end_matches('/');
        if !is_repository(repository) {
            return Err(bad(
                "a repository is named by small letters, digits and .-_/ behind the host",
            ));
        }
        Ok(Self {
            origin: format!("{scheme}://{host}"),
            host: host.into(),
            repository: repository.into(),
        })
    }
}

impl fmt::Display for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.origin, self.repository)
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The distribution specification's grammar of a repository name.
fn is_repository(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= REPOSITORY_BYTES
        && text.split('/').all(|part| {
            part.starts_with(alphanumeric)
                && part.ends_with(alphanumeric)
                && part.chars().all(|c| alphanumeric(c) || "._-".contains(c))
                && !part.contains("..")
        })
}

/// A user of a registry.
#[derive(Clone)]
pub struct Credentials {
    pub(crate) basic: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// Those for this registry in a file as `skopeo login --authfile`, podman and docker write it
    /// (containers-auth.json); `None` if the file has none for it.
    pub fn from_auth_file(bytes: &[u8], url: &RegistryUrl) -> Result<Option<Self>, RegistryError> {
        let bad = |reason: &str| RegistryError::BadAuthFile { reason: reason.into() };
        let file: Value =
            strict_json(bytes, AUTH_FILE_BYTES).map_err(|error| bad(&error.to_string()))?;
        let auths = file.get("auths").and_then(Value::as_object);
        let auths = auths.ok_or_else(|| bad("it has no object \"auths\""))?;
        let whole = format!("{}/{}", url.host, url.repository);
        // The longest name that fits, as containers-auth.json(5) has it.
        let names = auths
            .iter()
            .filter(|(name, _)| whole == **name || whole.starts_with(&format!("{name}/")));
        let Some((_, entry)) = names.max_by_key(|(name, _)| name.len()) else {
            return Ok(None);
        };
        let basic = entry.get("auth").and_then(Value::as_str);
        let basic = basic.ok_or_else(|| bad("an entry has no \"auth\""))?;
        let decoded = STANDARD.decode(basic).unwrap_or_default();
        if !decoded.contains(&b':') {
            return Err(bad("an \"auth\" is not USER:PASSWORD in base64"));
        }
        Ok(Some(Self { basic: basic.into() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, &str)>) {
        let found = text.parse::<RegistryUrl>().ok();
        let found = found.as_ref().map(|url| (url.origin.as_str(), url.repository.as_str()));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn urls() {
        check("https://r.test/a", Some(("https://r.test", "a")));
        check("docker://r.test:5000/pool/images/", Some(("https://r.test:5000", "pool/images")));
        check("https://[::1]:5000/a", Some(("https://[::1]:5000", "a")));
        check("http://127.0.0.1:5000/a", Some(("http://127.0.0.1:5000", "a")));
        check("http://[::1]:5000/a", Some(("http://[::1]:5000", "a")));
        let bad = [
            "r.test/a",
            "https://r.test",
            "https://r.test/",
            "https:///a",
            "http://r.test/a",
            "http://127.0.0.1.test/a",
            "https://me:secret@r.test/a",
            "https://r.test/A",
            "https://r.test/a/../b",
            "https://r.test/a//b",
            "https://r.test/a?b",
            "https://r.test/a:1",
            "https://r test/a",
            "ftp://r.test/a",
        ];
        bad.iter().for_each(|text| check(text, None));
    }

    #[test]
    fn credentials_are_the_nearest() {
        let url = "https://r.test:5000/pool/images".parse().unwrap();
        let find = |auths: &str| {
            let file = format!(r#"{{"auths":{auths}}}"#);
            Credentials::from_auth_file(file.as_bytes(), &url)
                .map(|found| found.map(|found| found.basic))
        };
        assert_eq!(find("{}").unwrap(), None);
        assert_eq!(find(r#"{"r.test":{"auth":"YTpi"}}"#).unwrap(), None);
        let host = r#""r.test:5000":{"auth":"YTpi"}"#;
        assert_eq!(find(&format!("{{{host}}}")).unwrap().unwrap(), "YTpi");
        let nearer = format!(r#"{{{host},"r.test:5000/pool":{{"auth":"Yzpk"}}}}"#);
        assert_eq!(find(&nearer).unwrap().unwrap(), "Yzpk");
        find(r#"{"r.test:5000":{}}"#).unwrap_err();
        find(r#"{"r.test:5000":{"auth":"nothing"}}"#).unwrap_err();
        Credentials::from_auth_file(b"{}", &url).unwrap_err();
        assert_eq!(format!("{:?}", Credentials { basic: "YTpi".into() }), "Credentials");
    }
}
