//! What people and controllers write for a server: `agent.json`, the resident's configuration, and
//! the settings of a target, which become files and the lines in them.

use std::collections::HashSet;

use repave_agent::network::{Ipv4Config, Ipv6Config, NetworkConfig};
use repave_core::config::Config;
use repave_core::settings::{Content, Rendered, ResidentConfig, render};
use repave_image::{SettingsEngine, SettingsPolicy};
use repave_protocol::Settings;

use crate::input::Input;

/// One of the three.
pub fn config(data: &[u8]) {
    let mut input = Input::new(data);
    match input.u8() % 4 {
        0 => agent(input.rest()),
        1 => resident(input.rest()),
        2 => settings(input, false),
        _ => settings(input, true),
    }
}

fn agent(bytes: &[u8]) {
    let Ok(config) = Config::<NetworkConfig>::parse(bytes) else { return };
    assert!((1..=8).contains(&config.controllers.len()));
    assert!(config.controllers.iter().all(|url| url.starts_with("https://")));
    let again = serde_json::to_vec(&config).expect("a configuration is JSON");
    match Config::<NetworkConfig>::parse(&again) {
        Ok(again) => assert_eq!(again, config),
        // Escapes and defaults that are written out may take more room than they came in.
        Err(error) => assert!(again.len() > bytes.len(), "{error}"),
    }
    if config.network.check().is_ok() {
        check_network(&config.network);
    }
}

fn check_network(network: &NetworkConfig) {
    assert!((1..=64).contains(&network.interfaces.len()));
    for interface in &network.interfaces {
        assert!(interface.vlan.is_none_or(|vlan| (1..4095).contains(&vlan)));
        assert!(interface.mtu.is_none_or(|mtu| (1280..=65_535).contains(&mtu)));
        if let Ipv4Config::Static(address) = &interface.ipv4 {
            assert!(address.dns.len() <= 3 && address.address.prefix_bits() <= 32);
            assert!(address.address.contains(address.address.address()));
        }
        if let Ipv6Config::Static(address) = &interface.ipv6 {
            assert!(address.dns.len() <= 3 && address.address.prefix_bits() <= 128);
            assert!(address.address.contains(address.address.address()));
        }
    }
}

fn resident(bytes: &[u8]) {
    let Ok(config) = serde_json::from_slice::<ResidentConfig>(bytes) else { return };
    let again = serde_json::to_vec(&config).expect("a configuration is JSON");
    assert_eq!(serde_json::from_slice::<ResidentConfig>(&again).ok(), Some(config));
}

/// Settings of which every text may be the input's, so that few bytes reach every field.
fn settings(mut input: Input<'_>, written: bool) {
    let prefixes: Vec<String> = match input.u8() % 4 {
        0 => vec!["/etc/".into()],
        1 => vec!["/etc/".into(), "/root/".into(), "/srv/www/".into()],
        _ => vec!["/etc/".into(), "/root/.ssh/".into(), "/usr/lib/repave/".into()],
    };
    let policy = SettingsPolicy {
        engine: SettingsEngine::Linux,
        partition: "root".into(),
        prefixes: prefixes.clone(),
    };
    let settings = if written {
        let Ok(settings) = serde_json::from_slice::<Settings>(input.rest()) else { return };
        settings
    } else {
        made(&mut input)
    };
    match render(&settings, Some(&policy), None) {
        Ok(files) => check_files(&settings, &files, &prefixes),
        Err(refusal) => assert!(refusal.to_string().len() < 8192, "{}", refusal.to_string().len()),
    }
    if let Ok(files) = render(&settings, None, None) {
        assert!(files.is_empty(), "an image that takes none gets none");
    }
}

fn made(input: &mut Input<'_>) -> Settings {
    let mut texts = {
        let input = &mut *input;
        move || {
            let length = usize::from(input.u8());
            String::from_utf8_lossy(input.bytes(length)).into_owned()
        }
    };
    let (hostname, key, mac, address, path) = (texts(), texts(), texts(), texts(), texts());
    let file = |path: &str| serde_json::json!({"path": path, "mode": 420, "content": "YQ=="});
    let interface = serde_json::json!({
        "mac": mac, "addresses": [address], "gateway": address, "dns": [address],
    });
    let mut settings = serde_json::json!({"files": [file(&path), file("/etc/motd")]});
    if !hostname.is_empty() {
        settings["hostname"] = hostname.into();
    }
    if !key.is_empty() {
        settings["ssh_authorized_keys"] = serde_json::json!([key]);
    }
    if !mac.is_empty() {
        settings["network"] = serde_json::json!([interface]);
    }
    serde_json::from_value(settings).expect("settings of the right form")
}

/// No file outside what the image allows, none twice, and no value that says more than one thing.
fn check_files(settings: &Settings, files: &[Rendered], prefixes: &[String]) {
    let mut paths = HashSet::new();
    for file in files {
        let path = &file.path;
        assert!(prefixes.iter().any(|prefix| path.starts_with(prefix)), "{path:?}");
        assert!(!path.contains('\0') && path.starts_with('/') && path.len() <= 1024);
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        assert!(path[1..].split('/').all(plain), "{path:?}");
        assert!(paths.insert(path), "{path:?} twice");
        assert!(file.mode <= 0o7777);
    }
    let lines = |path: &str| {
        let file = files.iter().find(|file| file.path == path)?;
        match &file.content {
            Content::Bytes(bytes) => Some(bytes.iter().filter(|byte| **byte == b'\n').count()),
            _ => None,
        }
    };
    if settings.hostname.is_some() {
        assert_eq!(lines("/etc/hostname"), Some(1));
    }
    let keys = settings.ssh_authorized_keys.len();
    if keys > 0 {
        assert_eq!(lines("/root/.ssh/authorized_keys"), Some(keys));
    }
    for interface in &settings.network {
        let name = interface.mac.replace(':', "");
        let found = lines(&format!("/etc/systemd/network/05-repave-{name}.network"));
        let dhcp = if interface.addresses.is_empty() { 2 } else { interface.addresses.len() };
        let gateway = usize::from(interface.gateway.is_some());
        assert_eq!(found, Some(4 + dhcp + interface.dns.len() + gateway), "{}", interface.mac);
    }
}
