//! Which files a target's settings come to. Pure: the image's policy and the directive's settings
//! go in, whole files come out, and the policy has the last word. Writing and comparing them is
//! the configurator's.

use repave_image::SettingsPolicy;
use repave_protocol::limits::WATCHDOG_S;
use repave_protocol::{InterfaceSettings, Settings, SettingsFile};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use repave_protocol::{Generation, Guid, PoolId, PublicKey};

/// Where the resident lives in a target.
pub const RESIDENT_BINARY: &str = "/usr/lib/repave/repave-agent";
/// The resident's configuration in a target.
pub const RESIDENT_CONFIG: &str = "/etc/repave/resident.json";
/// Read by systemd before it starts anything (systemd-system.conf(5)).
const WATCHDOG_DROP_IN: &str = "/etc/systemd/system.conf.d/05-repave-watchdog.conf";
const RESIDENT_UNIT: &str = "/etc/systemd/system/repave-resident.service";
const RESIDENT_WANTED: &str = "/etc/systemd/system/multi-user.target.wants/repave-resident.service";
/// Longest path that settings may write, in bytes; far below every file system's limit.
const PATH_BYTES: usize = 1024;

/// One file as it must stand in the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Absolute path, without `.` or `..`.
    pub path: String,
    /// What is there.
    pub content: Content,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What a rendered file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The running agent's own binary.
    Agent,
    /// A symbolic link to this path.
    Link(String),
}

/// What the resident needs to know; it lies in the target, so it holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResidentConfig {
    /// The server's pool.
    pub pool: PoolId,
    /// Controllers, best first.
    pub controllers: Vec<String>,
    /// The key that signs trust documents.
    pub root_key: PublicKey,
    /// GUID of the state partition, where key and trust document are.
    pub state_partition: Guid,
    /// The generation under which this target was purposed.
    pub generation: Generation,
}

/// Settings that this image does not take.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadSettings {
    /// The image takes none.
    #[error("the image takes no settings, the directive has some")]
    NotTaken,
    /// A path of another form.
    #[error("settings path {path:?} is not absolute, plain and at most {PATH_BYTES} bytes")]
    Path {
        /// The path.
        path: String,
    },
    /// A path outside what the image allows.
    #[error("settings path {path:?} is under none of the prefixes that the image allows")]
    Forbidden {
        /// The path.
        path: String,
    },
    /// Two settings write the same path.
    #[error("settings write {path:?} twice")]
    Twice {
        /// The path.
        path: String,
    },
    /// A value that would say something else in the file it goes to.
    #[error("settings field {field} holds {value:?}, which cannot stand in its file")]
    Value {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: String,
    },
}

/// The files of one server's settings, in the order in which they are written.
pub fn render(
    settings: &Settings,
    policy: Option<&SettingsPolicy>,
    resident: Option<&ResidentConfig>,
) -> Result<Vec<Rendered>, BadSettings> {
    let mut files = Vec::new();
    if let Some(hostname) = &settings.hostname {
        check_value("hostname", hostname, |c| c.is_ascii_alphanumeric() || "-.".contains(c))?;
        files.push(text("/etc/hostname", 0o644, format!("{hostname}\n")));
    }
    if !settings.ssh_authorized_keys.is_empty() {
        for key in &settings.ssh_authorized_keys {
            check_value("ssh_authorized_keys", key, |c| !c.is_control())?;
        }
        let lines = settings.ssh_authorized_keys.join("\n") + "\n";
        files.push(text("/root/.ssh/authorized_keys", 0o600, lines));
    }
    for interface in &settings.network {
        files.push(network_unit(interface)?);
    }
    if let Some(timeout_s) = settings.watchdog_s {
        if !WATCHDOG_S.contains(&timeout_s) {
            return Err(BadSettings::Value { field: "watchdog_s", value: timeout_s.to_string() });
        }
        let lines = format!("[Manager]\nRuntimeWatchdogSec={timeout_s}\n");
        files.push(text(WATCHDOG_DROP_IN, 0o644, lines));
    }
    if let Some(config) = resident {
        files.extend(resident_files(config));
    }
    for file in &settings.files {
        files.push(whole_file(file)?);
    }
    match policy {
        Some(policy) => check_paths(&files, &policy.prefixes)?,
        None if files.is_empty() => {}
        None => return Err(BadSettings::NotTaken),
    }
    Ok(files)
}

fn text(path: &str, mode: u32, content: String) -> Rendered {
    Rendered { path: path.into(), content: Content::Bytes(content.into()), mode, uid: 0, gid: 0 }
}

fn whole_file(file: &SettingsFile) -> Result<Rendered, BadSettings> {
    let bytes = file
        .bytes()
        .map_err(|_| BadSettings::Value { field: "content", value: file.path.clone() })?;
    Ok(Rendered {
        path: file.path.clone(),
        content: Content::Bytes(bytes),
        mode: file.mode & 0o7777,
        uid: file.uid,
        gid: file.gid,
    })
}

/// A systemd.network(5) unit for the interface with this hardware address.
fn network_unit(interface: &InterfaceSettings) -> Result<Rendered, BadSettings> {
    let plain = |c: char| c.is_ascii_hexdigit() || ".:/".contains(c);
    check_value("network.mac", &interface.mac, plain)?;
    let mut unit = format!("[Match]\nMACAddress={}\n\n[Network]\n", interface.mac);
    if interface.addresses.is_empty() {
        unit.push_str("DHCP=yes\nIPv6AcceptRA=yes\n");
    }
    let lines = [("Address", &interface.addresses), ("DNS", &interface.dns)];
    for (key, values) in lines {
        for value in values {
            check_value("network", value, plain)?;
            unit.push_str(&format!("{key}={value}\n"));
        }
    }
    if let Some(gateway) = &interface.gateway {
        check_value("network.gateway", gateway, plain)?;
        unit.push_str(&format!("Gateway={gateway}\n"));
    }
    let name = interface.mac.replace(':', "");
    Ok(text(&format!("/etc/systemd/network/05-repave-{name}.network"), 0o644, unit))
}

/// The agent's own binary as a service. It has no default dependencies, since those would stop it
/// first of all at a shutdown that it must see through, and it waits for no network: it says itself
/// that there is none. Where there is no systemd, the image's own init starts it.
fn resident_files(config: &ResidentConfig) -> [Rendered; 4] {
    let json = serde_json::to_string_pretty(config).expect("a configuration is always JSON");
    let unit = format!(
        "[Unit]\nDescription=Repave resident\nDefaultDependencies=no\nAfter=basic.target\n\n\
         [Service]\nExecStart={RESIDENT_BINARY} resident\nRestart=always\nRestartSec=5\n\n\
         [Install]\nWantedBy=multi-user.target\n"
    );
    let file =
        |path: &str, content, mode| Rendered { path: path.into(), content, mode, uid: 0, gid: 0 };
    [
        file(RESIDENT_BINARY, Content::Agent, 0o755),
        text(RESIDENT_CONFIG, 0o644, json + "\n"),
        text(RESIDENT_UNIT, 0o644, unit),
        file(RESIDENT_WANTED, Content::Link(RESIDENT_UNIT.into()), 0o777),
    ]
}

fn check_value(
    field: &'static str,
    value: &str,
    fits: impl Fn(char) -> bool,
) -> Result<(), BadSettings> {
    if !value.is_empty() && value.chars().all(fits) {
        return Ok(());
    }
    Err(BadSettings::Value { field, value: value.chars().take(64).collect() })
}

fn check_paths(files: &[Rendered], prefixes: &[String]) -> Result<(), BadSettings> {
    for (number, file) in files.iter().enumerate() {
        let path = &file.path;
        let part_is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
        let plain = path.len() <= PATH_BYTES
            && path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(part_is_plain));
        if !plain {
            return Err(BadSettings::Path { path: path.clone() });
        }
        if !prefixes.iter().any(|prefix| path.starts_with(prefix.as_str())) {
            return Err(BadSettings::Forbidden { path: path.clone() });
        }
        if files[..number].iter().any(|other| other.path == *path) {
            return Err(BadSettings::Twice { path: path.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use repave_image::SettingsEngine;

    use super::*;

    fn policy() -> SettingsPolicy {
        SettingsPolicy {
            engine: SettingsEngine::Linux,
            partition: "root".into(),
            prefixes: vec!["/etc/".into(), "/root/".into()],
        }
    }

    fn with_file(path: &str) -> Settings {
        Settings { files: vec![SettingsFile::new(path, 0o644, b"x")], ..Settings::default() }
    }

    fn check(settings: &Settings, expected: Result<&[&str], BadSettings>) {
        let files = render(settings, Some(&policy()), None);
        let paths = files.map(|files| files.into_iter().map(|f| f.path).collect::<Vec<_>>());
        assert_eq!(paths, expected.map(|paths| paths.iter().map(|&p| p.into()).collect()));
    }

    #[test]
    fn plain_settings_become_files() {
        let settings = Settings { hostname: Some("web-1".into()), ..with_file("/etc/motd") };
        check(&settings, Ok(&["/etc/hostname", "/etc/motd"]));
    }

    #[test]
    fn paths_that_leave_what_the_image_allows_are_refused() {
        for path in ["etc/x", "/etc/../x", "/etc//x", "/etc/./x", "/etc/", "/etc/a\0b", ""] {
            check(&with_file(path), Err(BadSettings::Path { path: path.into() }));
        }
        for path in ["/boot/x", "/etcetera/x", "/usr/bin/x"] {
            check(&with_file(path), Err(BadSettings::Forbidden { path: path.into() }));
        }
        let twice = Settings { hostname: Some("a".into()), ..with_file("/etc/hostname") };
        check(&twice, Err(BadSettings::Twice { path: "/etc/hostname".into() }));
    }

    #[test]
    fn values_cannot_smuggle_lines_into_their_files() {
        let field = |field, value: &str| Err(BadSettings::Value { field, value: value.into() });
        let name = "a\nb";
        check(
            &Settings { hostname: Some(name.into()), ..Settings::default() },
            field("hostname", name),
        );
        let interface = InterfaceSettings {
            mac: "52:54:00:00:00:01".into(),
            addresses: vec!["10.0.0.1/24\n[Route]".into()],
            gateway: None,
            dns: Vec::new(),
        };
        let settings = Settings { network: vec![interface], ..Settings::default() };
        check(&settings, field("network", "10.0.0.1/24\n[Route]"));
    }

    #[test]
    fn a_watchdog_is_fed_by_systemd_within_the_limits_of_the_hardware() {
        let fed = |timeout_s| Settings { watchdog_s: Some(timeout_s), ..Settings::default() };
        let files = render(&fed(180), Some(&policy()), None).unwrap();
        let [file] = &files[..] else { panic!("{files:?}") };
        assert_eq!(file.path, "/etc/systemd/system.conf.d/05-repave-watchdog.conf");
        assert_eq!(file.content, Content::Bytes(b"[Manager]\nRuntimeWatchdogSec=180\n".to_vec()));
        for timeout_s in [0, 29, 601] {
            let value = timeout_s.to_string();
            check(&fed(timeout_s), Err(BadSettings::Value { field: "watchdog_s", value }));
        }
        // An image without settings has no feeder, whatever the directive says.
        assert_eq!(render(&fed(180), None, None), Err(BadSettings::NotTaken));
    }

    #[test]
    fn an_image_that_takes_no_settings_gets_none() {
        assert_eq!(render(&Settings::default(), None, None), Ok(Vec::new()));
        let named = Settings { hostname: Some("a".into()), ..Settings::default() };
        assert_eq!(render(&named, None, None), Err(BadSettings::NotTaken));
    }
}
