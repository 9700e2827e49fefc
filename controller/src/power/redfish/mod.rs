//! Power by a management controller that speaks Redfish (DSP0266 1.15).
//!
//! An order is one conversation: log in, look at the system, ask for what it says it can do, log
//! out. Nothing is kept between orders: they are rare, and a controller forgets sessions, changes
//! its tags and is replaced.

mod http;
mod settings;
mod system;

use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::StatusCode;
use ureq::tls::TlsConfig;

use self::http::{AUTH_TOKEN, Answer, Client, basic, check_path};
use self::system::{Link, Order, Reset, System, resets};
use super::error::clean;
use super::{BootSource, Off, Power, PowerError, PowerState};
use crate::owner_only::Secret;

pub use self::settings::{Login, RedfishConfig, Scheme, Trust};
pub use self::system::BootOverride;

/// Where everything begins (DSP0266, 6.3).
const ROOT: &str = "/redfish/v1/";
/// Where sessions are, if the root does not say.
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
/// Systems of one controller: the nodes of a large chassis.
const MAX_SYSTEMS: usize = 256;
/// How long an order may take with all its requests.
const ORDER_LIMIT: Duration = Duration::from_secs(180);
/// How long a system may take from ForceOff to Off, where a cycle is made of two halves.
const OFF_LIMIT: Duration = Duration::from_secs(60);
/// How often it is asked meanwhile.
const OFF_POLL: Duration = Duration::from_secs(1);
/// Tries of a change that loses against another: the tag is read anew between them.
const MAX_CHANGES: usize = 3;

/// A management controller.
#[derive(Debug)]
pub struct Redfish {
    origin: String,
    system: Option<String>,
    login: Option<Login>,
    tls: TlsConfig,
    limit: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Root {
    systems: Link,
    #[serde(default)]
    links: RootLinks,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RootLinks {
    sessions: Option<Link>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Collection {
    members: Vec<Link>,
}

impl Redfish {
    /// What the next start boots from.
    ///
    /// # Errors
    /// [`PowerError`].
    pub fn boot_override(&self) -> Result<BootOverride, PowerError> {
        self.converse(|client, system| Ok(self.look(client, system)?.0.boot_override()))
    }

    /// One conversation about the system, whose path `work` is given.
    fn converse<T>(
        &self,
        work: impl FnOnce(&Client, &str) -> Result<T, PowerError>,
    ) -> Result<T, PowerError> {
        let deadline = Instant::now() + ORDER_LIMIT;
        let mut client = Client::new(&self.origin, self.tls.clone(), self.limit, deadline);
        // The root is open to everybody (DSP0266, 13.3.1).
        let root: Root = client.get(ROOT)?.json("service root")?;
        let session = self.log_in(&mut client, &root)?;
        let result = self.find(&client, &root).and_then(|path| work(&client, &path));
        // What the order took of its time must not cost one of the few sessions.
        client.allow(self.limit);
        if let Some(session) = session
            && let Err(error) = client.delete(&session)
        {
            tracing::warn!(origin = self.origin, %error, "a session was not closed");
        }
        result
    }

    /// Shows who we are, and gives the path of the session that must be closed.
    fn log_in(&self, client: &mut Client, root: &Root) -> Result<Option<String>, PowerError> {
        let Some(login) = &self.login else {
            return Ok(None);
        };
        let password = Secret::read(&login.password_file)?;
        match login.scheme {
            Scheme::Basic => {
                client.show(basic(&login.username, password.reveal()));
                Ok(None)
            }
            Scheme::Session => {
                let sessions = root.links.sessions.as_ref().map_or(SESSIONS, |link| &link.path);
                let body = json!({"UserName": login.username, "Password": password.reveal()});
                let answer = client.post(sessions, &body)?;
                let mut token = answer.header(AUTH_TOKEN).cloned().ok_or_else(|| {
                    PowerError::malformed(&answer.url, "session", "no X-Auth-Token")
                })?;
                token.set_sensitive(true);
                client.show(Some((AUTH_TOKEN, token)));
                self.session_path(&answer).map(Some)
            }
        }
    }

    /// Where a new session is: in Location, which may be a whole URL, or else in the body.
    fn session_path(&self, answer: &Answer) -> Result<String, PowerError> {
        let path = match answer.location() {
            Some(location) => location.strip_prefix(&self.origin).unwrap_or(location).to_owned(),
            None => answer.json::<Link>("session")?.path,
        };
        check_path(&self.origin, &path).map(|()| path)
    }

    /// The path of the system that is meant.
    fn find(&self, client: &Client, root: &Root) -> Result<String, PowerError> {
        let answer = client.get(&root.systems.path)?;
        let systems: Collection = answer.json("collection of systems")?;
        let mut paths: Vec<String> =
            systems.members.into_iter().take(MAX_SYSTEMS).map(|member| member.path).collect();
        let ids = paths.iter().map(|path| id_of(path)).collect::<Vec<_>>().join(", ");
        let found = match &self.system {
            Some(id) => paths.iter().position(|path| id_of(path) == id),
            None => (paths.len() == 1).then_some(0),
        };
        found.map(|at| paths.swap_remove(at)).ok_or_else(|| {
            let ids = if ids.is_empty() { "nothing" } else { &ids };
            let reason = match &self.system {
                Some(id) => format!("{id} is not there; {} has: {ids}", self.origin),
                None => format!("it must be one of what {} has: {ids}", self.origin),
            };
            PowerError::setting("system", clean(&reason))
        })
    }

    /// The system as it is now, and its tag.
    fn look(&self, client: &Client, path: &str) -> Result<(System, Option<String>), PowerError> {
        let answer = client.get(path)?;
        let system: System = answer.json("ComputerSystem")?;
        let etag = answer.etag().or_else(|| system.etag.clone());
        Ok((system, etag))
    }

    /// Which resource takes the boot override, with its tag: the system, unless its settings have
    /// one.
    fn place_of_boot(
        &self,
        client: &Client,
        path: &str,
        system: &System,
        etag: Option<String>,
    ) -> Result<(String, Option<String>), PowerError> {
        if let Some(link) = system.settings() {
            let (settings, etag) = self.look(client, &link.path)?;
            if settings.has_boot_override() {
                return Ok((link.path.clone(), etag));
            }
        }
        Ok((path.to_owned(), etag))
    }

    fn state(&self, system: &System) -> Result<PowerState, PowerError> {
        system
            .state()
            .map_err(|word| PowerError::malformed(&self.url(&system.path), "PowerState", &word))
    }

    fn order(&self, order: Order) -> Result<(), PowerError> {
        self.converse(|client, path| {
            let (system, _) = self.look(client, path)?;
            let not_offered = |offered: String| PowerError::NotOffered {
                place: self.url(path),
                order: format!("{order:?}").to_lowercase(),
                offered: clean(&offered),
            };
            let reset = system.reset().ok_or_else(|| not_offered("no reset".to_owned()))?;
            let offered = offered(client, reset)?;
            let resets =
                resets(order, self.state(&system)?, offered.as_deref()).map_err(not_offered)?;
            for (number, reset_type) in resets.iter().enumerate() {
                if number > 0 {
                    self.wait_off(client, path)?;
                }
                client.post(&reset.target, &json!({"ResetType": reset_type}))?;
            }
            Ok(())
        })
    }

    /// Waits for the first half of a cycle: an `On` that comes too early is lost.
    fn wait_off(&self, client: &Client, path: &str) -> Result<(), PowerError> {
        let deadline = Instant::now() + OFF_LIMIT;
        while self.state(&self.look(client, path)?.0)? != PowerState::Off {
            if Instant::now() >= deadline {
                return Err(PowerError::timed_out(&self.url(path), OFF_LIMIT));
            }
            thread::sleep(OFF_POLL);
        }
        Ok(())
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }
}

/// The ResetType values that may be asked for, wherever the controller lists them.
fn offered(client: &Client, reset: &Reset) -> Result<Option<Vec<String>>, PowerError> {
    if reset.types.is_some() {
        return Ok(reset.types.clone());
    }
    let Some(path) = &reset.action_info else {
        return Ok(None);
    };
    let info: Value = client.get(path)?.json("ActionInfo")?;
    let parameters = info["Parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    let types = parameters.iter().find(|parameter| parameter["Name"] == "ResetType");
    let types = types.and_then(|parameter| parameter["AllowableValues"].as_array());
    Ok(types.map(|types| types.iter().filter_map(Value::as_str).map(str::to_owned).collect()))
}

/// The last part of a resource's path is its Id (DSP0266, 6.4, for members of a collection).
fn id_of(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

impl Power for Redfish {
    fn status(&self) -> Result<PowerState, PowerError> {
        self.converse(|client, path| self.state(&self.look(client, path)?.0))
    }

    fn on(&self) -> Result<(), PowerError> {
        self.order(Order::On)
    }

    fn off(&self, how: Off) -> Result<(), PowerError> {
        self.order(Order::Off(how))
    }

    fn cycle(&self) -> Result<(), PowerError> {
        self.order(Order::Cycle)
    }

    fn boot_once(&self, source: &BootSource) -> Result<(), PowerError> {
        self.converse(|client, path| {
            for attempt in 0..MAX_CHANGES {
                let (system, etag) = self.look(client, path)?;
                let change =
                    system.boot_change(source).map_err(|offered| PowerError::NotOffered {
                        place: self.url(path),
                        order: format!("boot once from {source}"),
                        offered: clean(&offered),
                    })?;
                let (place, etag) = self.place_of_boot(client, path, &system, etag)?;
                // Some controllers hand out weak tags (W/"...") and compare them as strong ones.
                let etag = etag.as_deref().map(|etag| match attempt {
                    0 => etag,
                    _ => etag.strip_prefix("W/").unwrap_or(etag),
                });
                let answer = client.patch(&place, &change, etag)?;
                if answer.status != StatusCode::PRECONDITION_FAILED {
                    return Ok(());
                }
            }
            let answer = format!("status 412 to each of {MAX_CHANGES} changes");
            Err(PowerError::refused(&self.url(path), &answer))
        })
    }
}
