//! A ComputerSystem as far as its power goes, and what to ask of it; decided from what it says it
//! can do (Redfish Schema Bundle DSP8010, ComputerSystem and Resource). No request is made here.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::power::{BootSource, Off, PowerState};

/// A reference to another resource.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Link {
    #[serde(rename = "@odata.id")]
    pub(super) path: String,
}

/// What we read of a ComputerSystem. What a controller leaves out or has no value for is `None`;
/// a value of another type than the schema's is refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct System {
    #[serde(rename = "@odata.id")]
    pub(super) path: String,
    #[serde(rename = "@odata.etag")]
    pub(super) etag: Option<String>,
    power_state: Option<String>,
    #[serde(default)]
    boot: Option<Boot>,
    #[serde(default)]
    actions: Actions,
    #[serde(rename = "@Redfish.Settings")]
    settings: Option<Settings>,
}

/// Where changes go that wait for the next start (DSP0266, 9.10).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Settings {
    settings_object: Option<Link>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Boot {
    #[serde(rename = "BootSourceOverrideTarget@Redfish.AllowableValues")]
    targets: Option<Vec<String>>,
    boot_source_override_target: Option<String>,
    boot_source_override_enabled: Option<String>,
    boot_source_override_mode: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Actions {
    #[serde(rename = "#ComputerSystem.Reset")]
    reset: Option<Reset>,
}

/// The action ComputerSystem.Reset.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Reset {
    /// Where it is posted to.
    pub(super) target: String,
    /// The ResetType values that may be asked for.
    #[serde(rename = "ResetType@Redfish.AllowableValues")]
    pub(super) types: Option<Vec<String>>,
    /// Where they are, if not here (DSP0266, 9.8).
    #[serde(rename = "@Redfish.ActionInfo")]
    pub(super) action_info: Option<String>,
}

/// What the next start boots from, in the controller's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootOverride {
    /// `BootSourceOverrideTarget`.
    pub target: Option<String>,
    /// `BootSourceOverrideEnabled`.
    pub enabled: Option<String>,
}

/// What is wanted of the power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    On,
    Off(Off),
    Cycle,
}

impl System {
    /// The power's state, or the word that is none.
    pub(super) fn state(&self) -> Result<PowerState, String> {
        match self.power_state.as_deref() {
            Some("On") => Ok(PowerState::On),
            Some("Off") => Ok(PowerState::Off),
            Some("PoweringOn") => Ok(PowerState::PoweringOn),
            Some("PoweringOff") => Ok(PowerState::PoweringOff),
            Some("Paused") => Ok(PowerState::Paused),
            other => Err(other.unwrap_or("null").to_owned()),
        }
    }

    /// The resource of changes that wait, if there is one.
    pub(super) fn settings(&self) -> Option<&Link> {
        self.settings.as_ref()?.settings_object.as_ref()
    }

    /// Whether this resource, of the system or of its settings, has a boot override in it.
    pub(super) fn has_boot_override(&self) -> bool {
        self.boot.as_ref().is_some_and(|boot| boot.boot_source_override_target.is_some())
    }

    pub(super) fn reset(&self) -> Option<&Reset> {
        self.actions.reset.as_ref()
    }

    pub(super) fn boot_override(&self) -> BootOverride {
        let boot = self.boot.clone().unwrap_or_default();
        BootOverride {
            target: boot.boot_source_override_target,
            enabled: boot.boot_source_override_enabled,
        }
    }

    /// The change that makes the next start boot from `source`, or what there is instead.
    pub(super) fn boot_change(&self, source: &BootSource) -> Result<Value, String> {
        let boot = self.boot.clone().unwrap_or_default();
        let target = match source {
            BootSource::Default => "None",
            BootSource::Disk => "Hdd",
            BootSource::Network => "Pxe",
            BootSource::Uefi(_) => "UefiTarget",
        };
        let targets = boot.targets.unwrap_or_default();
        // To have no override need not be in the list; it is what Disabled means.
        if *source != BootSource::Default && !targets.iter().any(|offered| offered == target) {
            return Err(listed(&targets));
        }
        let enabled = if *source == BootSource::Default { "Disabled" } else { "Once" };
        let mut change = json!({
            "BootSourceOverrideEnabled": enabled,
            "BootSourceOverrideTarget": target,
        });
        // Some controllers take the target for the mode that they have in mind, which may be
        // Legacy; our servers boot by UEFI.
        if boot.boot_source_override_mode.is_some() {
            change["BootSourceOverrideMode"] = "UEFI".into();
        }
        if let BootSource::Uefi(path) = source {
            change["UefiTargetBootSourceOverride"] = path.as_str().into();
        }
        Ok(json!({ "Boot": change }))
    }
}

/// The ResetType values to post, one after the other, for this order in this state; none if it is
/// obeyed already. `offered` is `None` where the controller does not say: then the usual is tried,
/// and it may refuse. An error is what there is instead.
pub(super) fn resets(
    order: Order,
    state: PowerState,
    offered: Option<&[String]>,
) -> Result<Vec<&'static str>, String> {
    let has = |reset: &&str| offered.is_none_or(|offered| offered.iter().any(|it| it == reset));
    let first_of = |resets: &[&'static str]| resets.iter().copied().find(has);
    let on = || first_of(&["On", "ForceOn", "PushPowerButton"]).map(|on| vec![on]);
    let found = match (order, state) {
        (Order::On, PowerState::On | PowerState::PoweringOn) => Some(vec![]),
        (Order::On, PowerState::Paused) => first_of(&["Resume"]).map(|resume| vec![resume]),
        (Order::On | Order::Cycle, PowerState::Off) => on(),
        // A controller may refuse this until the system is off, and then says so.
        (Order::On, PowerState::PoweringOff) => on(),
        (Order::Off(_), PowerState::Off) => Some(vec![]),
        (Order::Off(Off::Graceful), PowerState::PoweringOff) => Some(vec![]),
        (Order::Off(Off::Graceful), _) => first_of(&["GracefulShutdown"]).map(|off| vec![off]),
        (Order::Off(Off::Forced), _) => first_of(&["ForceOff"]).map(|off| vec![off]),
        (Order::Cycle, _) => match first_of(&["ForceRestart", "PowerCycle"]) {
            Some(restart) => Some(vec![restart]),
            None => first_of(&["ForceOff"])
                .zip(first_of(&["On", "ForceOn"]))
                .map(|(off, on)| vec![off, on]),
        },
    };
    found.ok_or_else(|| listed(offered.unwrap_or_default()))
}

fn listed(offered: &[String]) -> String {
    if offered.is_empty() { "nothing".to_owned() } else { offered.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        order: Order,
        state: PowerState,
        offered: Option<&[&str]>,
        expected: Result<&[&str], &str>,
    ) {
        let offered: Option<Vec<String>> =
            offered.map(|list| list.iter().map(|&reset| reset.to_owned()).collect());
        let found = resets(order, state, offered.as_deref());
        let found = found.as_deref().map_err(String::as_str);
        assert_eq!(found, expected, "{order:?} {state:?} {offered:?}");
    }

    #[test]
    fn resets_are_chosen_from_what_is_offered() {
        use Order::{Cycle, On};
        use PowerState::{Off as Dark, On as Lit, Paused, PoweringOff, PoweringOn};
        let (force, grace) = (Order::Off(Off::Forced), Order::Off(Off::Graceful));
        let all = Some(&["PowerCycle", "On", "ForceOff", "ForceRestart", "GracefulShutdown"][..]);

        check(Cycle, Lit, all, Ok(&["ForceRestart"]));
        check(Cycle, Lit, Some(&["On", "ForceOff", "PowerCycle"]), Ok(&["PowerCycle"]));
        check(Cycle, Lit, Some(&["On", "ForceOff"]), Ok(&["ForceOff", "On"]));
        check(Cycle, Lit, Some(&["ForceOn", "ForceOff"]), Ok(&["ForceOff", "ForceOn"]));
        check(Cycle, Lit, Some(&["GracefulRestart", "Nmi"]), Err("GracefulRestart, Nmi"));
        check(Cycle, Lit, Some(&["PushPowerButton", "ForceOff"]), Err("PushPowerButton, ForceOff"));
        check(Cycle, Lit, None, Ok(&["ForceRestart"]));
        check(Cycle, PoweringOn, all, Ok(&["ForceRestart"]));
        check(Cycle, Dark, all, Ok(&["On"]));
        check(Cycle, Dark, Some(&[]), Err("nothing"));

        check(On, Lit, Some(&[]), Ok(&[]));
        check(On, PoweringOn, Some(&[]), Ok(&[]));
        check(On, Dark, all, Ok(&["On"]));
        check(On, Dark, Some(&["PushPowerButton"]), Ok(&["PushPowerButton"]));
        check(On, Paused, Some(&["Resume", "On"]), Ok(&["Resume"]));
        check(On, PoweringOff, all, Ok(&["On"]));

        check(force, Lit, all, Ok(&["ForceOff"]));
        check(force, PoweringOff, all, Ok(&["ForceOff"]));
        check(force, Dark, Some(&[]), Ok(&[]));
        check(grace, Lit, all, Ok(&["GracefulShutdown"]));
        check(grace, PoweringOff, all, Ok(&[]));
        check(grace, Lit, Some(&["ForceOff"]), Err("ForceOff"));
    }

    fn system(boot: Value) -> System {
        serde_json::from_value(json!({"@odata.id": "/s", "Boot": boot})).unwrap()
    }

    #[test]
    fn one_start_boots_from_where_the_controller_can() {
        let targets = "BootSourceOverrideTarget@Redfish.AllowableValues";
        let plain = system(json!({targets: ["Pxe", "Hdd"]}));
        let full =
            system(json!({targets: ["Hdd", "UefiTarget"], "BootSourceOverrideMode": "Legacy"}));
        let change =
            |system: &System, source| system.boot_change(&source).map(|mut it| it["Boot"].take());

        assert_eq!(
            change(&plain, BootSource::Disk),
            Ok(json!({"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Hdd"}))
        );
        assert_eq!(
            change(&full, BootSource::Uefi("HD(1)/a.efi".into())),
            Ok(json!({"BootSourceOverrideEnabled": "Once",
                "BootSourceOverrideTarget": "UefiTarget",
                "BootSourceOverrideMode": "UEFI", "UefiTargetBootSourceOverride": "HD(1)/a.efi"}))
        );
        assert_eq!(
            change(&plain, BootSource::Default),
            Ok(
                json!({"BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None"})
            )
        );
        assert_eq!(change(&full, BootSource::Network), Err("Hdd, UefiTarget".to_owned()));
        assert_eq!(change(&system(Value::Null), BootSource::Disk), Err("nothing".to_owned()));
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        let read = |value: Value| serde_json::from_value::<System>(value).map(|it| it.state());
        assert_eq!(
            read(json!({"@odata.id": "/s", "PowerState": "On"})).unwrap(),
            Ok(PowerState::On)
        );
        assert_eq!(
            read(json!({"@odata.id": "/s", "PowerState": "Lit"})).unwrap(),
            Err("Lit".into())
        );
        assert_eq!(
            read(json!({"@odata.id": "/s", "PowerState": null})).unwrap(),
            Err("null".into())
        );
        for wrong in [json!(true), json!(1), json!(["On"]), json!({})] {
            assert!(read(json!({"@odata.id": "/s", "PowerState": wrong})).is_err());
        }
        assert!(read(json!({"@odata.id": "/s", "Boot": "Hdd"})).is_err());
        assert!(read(json!([])).is_err());
    }
}
