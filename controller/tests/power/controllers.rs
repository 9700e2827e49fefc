//! What the emulator does not do and real controllers do: sessions, tags, reset values listed
//! elsewhere, settings in a resource of their own, a cycle in two halves. The controller here is a
//! double of ours, so it proves what we send; that others understand it is for `beside_sushy`.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use repave_controller::power::{BootSource, Off, Power, PowerError, PowerState};
use serde_json::{Value, json};

use super::http_server::{Request, Server, write};
use super::{open, write_secret};

/// A controller and what happened to it.
#[derive(Clone, Debug, Default)]
struct Bmc {
    /// Whether it asks for a session.
    guarded: bool,
    /// Whether the new session's address is a whole URL.
    whole_urls: bool,
    /// Reset values, in the system or in an ActionInfo.
    resets: Option<Vec<&'static str>>,
    in_action_info: bool,
    /// Whether the boot override is changed in a resource of its own.
    settings: bool,
    /// The tag that a change must name, and one that is shown instead if there is one.
    etag: Option<&'static str>,
    shown: Option<&'static str>,
    /// Looks until a system that was forced off is off.
    looks_until_off: u32,

    power: &'static str,
    sessions: BTreeSet<u32>,
    sessions_made: u32,
    done: Vec<String>,
}

type Shared = Arc<Mutex<Bmc>>;

fn start(bmc: Bmc) -> (Server, Shared) {
    let bmc = Arc::new(Mutex::new(Bmc { power: "On", ..bmc }));
    let shared = Arc::clone(&bmc);
    let server = Server::start(move |request, stream| bmc.lock().unwrap().serve(request, stream));
    (server, shared)
}

impl Bmc {
    fn serve(&mut self, request: &Request, stream: &mut TcpStream) {
        let (status, headers, body) = self.answer(request);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        write(stream, status, &headers, &body);
    }

    fn answer(&mut self, request: &Request) -> (&'static str, Vec<String>, Value) {
        let path = request.path.as_str();
        let plain = |body| ("200 OK", vec![], body);
        let open = path == "/redfish/v1/" || request.method == "POST" && path == "/rf/Sessions";
        if self.guarded && !open && !self.knows(request) {
            return ("401 Unauthorized", vec![], Value::Null);
        }
        match (request.method.as_str(), path) {
            ("GET", "/redfish/v1/") => plain(json!({"Systems": {"@odata.id": "/rf/Systems"},
                "Links": {"Sessions": {"@odata.id": "/rf/Sessions"}}})),
            ("POST", "/rf/Sessions") => self.log_in(request),
            ("DELETE", _) => {
                let number = path.rsplit('/').next().and_then(|number| number.parse().ok());
                assert!(self.sessions.remove(&number.unwrap()), "{path}");
                ("204 No Content", vec![], Value::Null)
            }
            ("GET", "/rf/Systems") => plain(json!({"Members": [{"@odata.id": "/rf/Systems/1"}]})),
            ("GET", "/rf/Systems/1") => self.system(),
            ("GET", "/rf/ResetInfo") => plain(json!({"Parameters": [{"Name": "Other"},
                {"Name": "ResetType", "AllowableValues": self.resets}]})),
            ("GET", "/rf/Systems/1/Settings") => (
                "200 OK",
                self.tags(),
                json!({"@odata.id": path, "Boot": {"BootSourceOverrideTarget": "None"}}),
            ),
            ("POST", "/rf/Reset") => self.reset(&request.body["ResetType"]),
            ("PATCH", _) => self.change(request),
            _ => ("404 Not Found", vec![], json!({"error": {"message": "no such resource"}})),
        }
    }

    fn knows(&self, request: &Request) -> bool {
        let token = request.header("x-auth-token").and_then(|token| token.strip_prefix("token-"));
        token
            .and_then(|number| number.parse().ok())
            .is_some_and(|it: u32| self.sessions.contains(&it))
    }

    fn log_in(&mut self, request: &Request) -> (&'static str, Vec<String>, Value) {
        if request.body != json!({"UserName": "operator", "Password": "open sesame"}) {
            return ("401 Unauthorized", vec![], Value::Null);
        }
        self.sessions_made += 1;
        let number = self.sessions_made;
        self.sessions.insert(number);
        let host = request.header("host").unwrap();
        let origin = if self.whole_urls { format!("http://{host}") } else { String::new() };
        let headers = vec![
            format!("X-Auth-Token: token-{number}"),
            format!("Location: {origin}/rf/Sessions/{number}"),
        ];
        ("201 Created", headers, json!({"@odata.id": format!("/rf/Sessions/{number}")}))
    }

    fn tags(&self) -> Vec<String> {
        self.shown.or(self.etag).map(|etag| format!("ETag: {etag}")).into_iter().collect()
    }

    fn system(&mut self) -> (&'static str, Vec<String>, Value) {
        if self.power == "PoweringOff" {
            match self.looks_until_off {
                0 => self.power = "Off",
                _ => self.looks_until_off -= 1,
            }
        }
        let mut reset = json!({"target": "/rf/Reset"});
        match (&self.resets, self.in_action_info) {
            (Some(_), true) => reset["@Redfish.ActionInfo"] = "/rf/ResetInfo".into(),
            (Some(resets), false) => reset["ResetType@Redfish.AllowableValues"] = json!(resets),
            (None, _) => {}
        }
        let mut system = json!({
            "@odata.id": "/rf/Systems/1", "PowerState": self.power,
            "Boot": {"BootSourceOverrideTarget@Redfish.AllowableValues": ["Hdd", "UefiTarget"]},
            "Actions": {"#ComputerSystem.Reset": reset},
        });
        if self.settings {
            system["@Redfish.Settings"] =
                json!({"SettingsObject": {"@odata.id": "/rf/Systems/1/Settings"}});
        }
        ("200 OK", self.tags(), system)
    }

    fn reset(&mut self, reset: &Value) -> (&'static str, Vec<String>, Value) {
        let reset = reset.as_str().unwrap().to_owned();
        match (self.power, reset.as_str()) {
            (_, "ForceOff") => self.power = "PoweringOff",
            ("Off", "On") | ("On", "ForceRestart" | "PowerCycle") => self.power = "On",
            (power, _) => {
                let message = format!("{reset} while {power}");
                let said = json!({"error": {"@Message.ExtendedInfo": [{"Message": message}]}});
                return ("409 Conflict", vec![], said);
            }
        }
        self.done.push(reset);
        ("202 Accepted", vec!["Location: /rf/Tasks/1".to_owned()], Value::Null)
    }

    fn change(&mut self, request: &Request) -> (&'static str, Vec<String>, Value) {
        match (self.etag, request.header("if-match")) {
            (Some(_), None) => return ("428 Precondition Required", vec![], Value::Null),
            (Some(etag), Some(found)) if etag != found => {
                // The other change, which this one lost against, is over now.
                self.shown = self.shown.filter(|shown| shown.starts_with("W/"));
                return ("412 Precondition Failed", vec![], Value::Null);
            }
            _ => {}
        }
        self.done.push(format!("{} {}", request.path, request.body["Boot"]));
        ("200 OK", vec![], json!({}))
    }
}

fn power_of(server: &Server) -> Box<dyn Power> {
    open(json!({"kind": "redfish", "address": server.url(), "trust": "insecure"}))
}

#[test]
fn a_session_is_closed_whatever_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    for whole_urls in [false, true] {
        write_secret(&password, "open sesame\n");
        let (server, bmc) = start(Bmc { guarded: true, whole_urls, ..Bmc::default() });
        let login = json!({"scheme": "session", "username": "operator", "password_file": password});
        let power = open(json!({"kind": "redfish", "address": server.url(), "trust": "insecure",
            "login": login}));
        assert_eq!(power.status().unwrap(), PowerState::On);
        power.cycle().unwrap();
        power.boot_once(&BootSource::Network).unwrap_err();
        write_secret(&password, "open barley\n");
        let error = power.status().unwrap_err();
        assert!(matches!(error, PowerError::Denied { status: 401, .. }), "{error}");
        assert!(!format!("{power:?} {error:?}").contains("barley"));
        let bmc = bmc.lock().unwrap();
        assert_eq!((bmc.sessions_made, bmc.sessions.len()), (3, 0));
        assert_eq!(bmc.done, ["ForceRestart"]);
    }
}

#[test]
fn resets_are_those_that_the_controller_offers() {
    let check = |bmc: Bmc, expected: &[&str]| {
        let (server, bmc) = start(bmc);
        power_of(&server).cycle().unwrap();
        assert_eq!(bmc.lock().unwrap().done, expected);
    };
    let with = |resets: &[&'static str]| Bmc { resets: Some(resets.to_vec()), ..Bmc::default() };
    check(with(&["On", "PowerCycle", "ForceRestart"]), &["ForceRestart"]);
    check(with(&["On", "PowerCycle"]), &["PowerCycle"]);
    check(Bmc { in_action_info: true, ..with(&["PowerCycle"]) }, &["PowerCycle"]);
    check(Bmc::default(), &["ForceRestart"]);
    // An On that came before it is off would be a conflict.
    check(Bmc { looks_until_off: 2, ..with(&["On", "ForceOff"]) }, &["ForceOff", "On"]);

    let (server, bmc) = start(with(&["Nmi"]));
    let error = power_of(&server).off(Off::Forced).unwrap_err();
    assert!(
        matches!(&error, PowerError::NotOffered { offered, .. } if offered == "Nmi"),
        "{error}"
    );
    assert!(bmc.lock().unwrap().done.is_empty());
}

#[test]
fn a_conflict_is_told_in_the_controllers_words() {
    let (server, bmc) = start(Bmc { resets: Some(vec!["On"]), ..Bmc::default() });
    bmc.lock().unwrap().power = "PoweringOff";
    bmc.lock().unwrap().looks_until_off = 9;
    let error = power_of(&server).on().unwrap_err().to_string();
    assert!(error.ends_with("refused: status 409: On while PoweringOff"), "{error}");
}

#[test]
fn a_change_names_the_tag_where_there_is_one() {
    let boot = r#"{"BootSourceOverrideEnabled":"Once","BootSourceOverrideTarget":"Hdd"}"#;
    let check = |bmc: Bmc, path: &str| {
        let (server, bmc) = start(bmc);
        power_of(&server).boot_once(&BootSource::Disk).unwrap();
        assert_eq!(bmc.lock().unwrap().done, [format!("{path} {boot}")]);
    };
    let system = "/rf/Systems/1";
    check(Bmc::default(), system);
    check(Bmc { etag: Some("\"1\""), ..Bmc::default() }, system);
    // Somebody else changed it in between.
    check(Bmc { etag: Some("\"2\""), shown: Some("\"1\""), ..Bmc::default() }, system);
    // It shows a weak tag and wants a strong one.
    check(Bmc { etag: Some("\"2\""), shown: Some("W/\"2\""), ..Bmc::default() }, system);
    check(Bmc { settings: true, etag: Some("\"2\""), ..Bmc::default() }, "/rf/Systems/1/Settings");

    let (server, bmc) =
        start(Bmc { etag: Some("\"2\""), shown: Some("W/\"1\""), ..Bmc::default() });
    let error = power_of(&server).boot_once(&BootSource::Disk).unwrap_err().to_string();
    assert!(error.ends_with("refused: status 412 to each of 3 changes"), "{error}");
    assert!(bmc.lock().unwrap().done.is_empty());
}
