//! The table of methods: each is a file beside this one, and a line here. Settings are data, the
//! same in a file and over the API; a password is never among them, only the name of its file.

use serde::{Deserialize, Serialize};

use super::command::CommandConfig;
use super::qmp::QmpConfig;
use super::redfish::RedfishConfig;
use super::{Power, PowerError};

/// What the settings of a method can do.
pub(super) trait Method {
    /// Checks the settings and makes them usable, for the server of this name. Nothing is asked of
    /// the server's power yet.
    fn open(&self, server: &str) -> Result<Box<dyn Power>, PowerError>;
}

macro_rules! methods {
    ($($(#[$doc:meta])+ $name:ident($settings:ty),)+) => {
        /// How the power of one server is reached: the settings of one method, told apart by
        /// `kind`. Settings that a method does not know are refused.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        pub enum PowerConfig {
            $($(#[$doc])+ $name($settings),)+
        }

        impl PowerConfig {
            fn method(&self) -> &dyn Method {
                match self {
                    $(Self::$name(settings) => settings,)+
                }
            }
        }
    };
}

methods! {
    /// A management controller that speaks Redfish.
    Redfish(RedfishConfig),
    /// A program of the operator's own.
    Command(CommandConfig),
    /// A virtual machine under QEMU.
    Qmp(QmpConfig),
}

impl PowerConfig {
    /// Checks the settings and makes them usable, for the server of this name. Nothing is asked of
    /// the server's power yet.
    ///
    /// # Errors
    /// [`PowerError::Setting`], which names the setting.
    pub fn open(&self, server: &str) -> Result<Box<dyn Power>, PowerError> {
        self.method().open(server)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(settings: Value, refusal: &str) {
        let found = serde_json::from_value::<PowerConfig>(settings.clone())
            .map_err(|error| error.to_string())
            .and_then(|config| {
                assert_eq!(serde_json::to_value(&config).unwrap()["kind"], settings["kind"]);
                config.open("web-7").map_err(|error| error.to_string())
            });
        let text = found.err().unwrap_or_default();
        let same = if refusal.is_empty() { text.is_empty() } else { text.contains(refusal) };
        assert!(same, "{settings}: {text:?}, not {refusal:?}");
    }

    #[test]
    fn settings_are_those_of_a_method_and_no_others() {
        check(json!({"kind": "qmp", "socket": "/run/vm"}), "");
        check(json!({"kind": "qmp", "socket": "/run/vm", "port": 1}), "unknown field `port`");
        check(json!({"kind": "ipmi"}), "unknown variant `ipmi`");
        check(json!({"socket": "/run/vm"}), "missing field `kind`");
        check(json!({"kind": "command", "argv": ["/bin/p", "{action}"]}), "");
        check(json!({"kind": "command", "argv": []}), "argv: there is no program");
        check(json!({"kind": "command", "argv": ["{server}", "{action}"]}), "argv: the program");
        check(json!({"kind": "command", "argv": ["p", "{what}", "{action}"]}), "\"{what}\"");
        check(json!({"kind": "command", "argv": ["p", "{server}"]}), "{action} is missing");
        check(json!({"kind": "command", "argv": ["p", "{action}", "{address}"]}), "address");
        check(
            json!({"kind": "command", "argv": ["p", "{action}", "{address}"], "address": "-x"}),
            "would be taken for an option",
        );
        check(json!({"kind": "command", "argv": ["p", "{action}"], "timeout_ms": 0}), "timeout_ms");
    }

    #[test]
    fn redfish_settings_say_whom_to_trust_and_hold_no_password() {
        let with = |more: Value| {
            let mut settings = json!({"kind": "redfish", "address": "https://bmc-7",
                "trust": "insecure"});
            settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            settings
        };
        check(with(json!({})), "");
        check(json!({"kind": "redfish", "address": "https://bmc-7"}), "missing field `trust`");
        check(with(json!({"address": "http://bmc-7:8000"})), "");
        check(with(json!({"address": "bmc-7"})), "address");
        check(with(json!({"address": "ftp://bmc-7"})), "address");
        check(with(json!({"address": "https://bmc-7/redfish/v1"})), "address");
        check(with(json!({"address": "https://root:calvin@bmc-7"})), "address");
        check(with(json!({"address": "http://bmc-7", "trust": {"ca_pem": ""}})), "needs https");
        check(with(json!({"trust": {"ca_pem": "no PEM"}})), "trust: there is no certificate");
        check(with(json!({"trust": {"ca_file": "/no/such"}})), "trust: cannot read /no/such");
        check(with(json!({"timeout_ms": 3_600_000})), "timeout_ms");
        let login = json!({"scheme": "basic", "username": "root", "password_file": "/p"});
        check(with(json!({"login": login})), "");
        let inline = json!({"scheme": "basic", "username": "root", "password": "calvin"});
        check(with(json!({"login": inline})), "unknown field `password`");
        let colon = json!({"scheme": "basic", "username": "a:b", "password_file": "/p"});
        check(with(json!({"login": colon})), "login: ");
    }
}
