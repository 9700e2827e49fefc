//! Who asks, and whether they may. Every address under `/v1/` but the servers' own comes through
//! [`guard`]; which role it needs is one function of method and path, so that no handler can
//! forget.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use repave_protocol::Sha256;

use super::{App, Problem, limits};
use crate::clock;
use crate::control::{Control, ControlError, Identity, Role};

/// What somebody needs to be for a request. What is not named here, and changes anything, needs an
/// operator.
fn needed(method: &Method, path: &str) -> Role {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    let is_under = |prefix: &str| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if is_under("/v1/tokens") || is_under("/v1/join-tokens") {
        return Role::Admin;
    }
    let is_power = path.starts_with("/v1/servers/") && path.ends_with("/power");
    match path {
        "/v1/trust" if !is_read => Role::Admin,
        // Where management controllers are, and whose word counts there.
        _ if is_power && !is_read => Role::Admin,
        _ if is_power => Role::Operator,
        // Trying a policy out changes nothing.
        "/v1/plan" => Role::Viewer,
        _ if is_read => Role::Viewer,
        _ => Role::Operator,
    }
}

/// Lets those in who may, and tells the handler who they are.
pub(super) async fn guard(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<std::net::SocketAddr>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let path = request.uri().path();
    if !path.starts_with("/v1/") {
        return Ok(next.run(request).await);
    }
    let role = needed(request.method(), path);
    let token = token(request.headers())?;
    let identity = identify(&app, peer.ip(), &token).await?;
    if identity.role < role {
        let detail = format!(
            "token {:?} is {}; this needs {}",
            identity.name,
            identity.role.name(),
            role.name()
        );
        return Err(Problem::new(StatusCode::FORBIDDEN, "role", detail));
    }
    request.extensions_mut().insert(identity);
    request.extensions_mut().insert(Bearer(token));
    Ok(next.run(request).await)
}

/// The token of a request that came through [`guard`], to be looked at again.
#[derive(Clone)]
pub(super) struct Bearer(pub(super) String);

fn token(headers: &HeaderMap) -> Result<String, Problem> {
    let text = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    match text.and_then(|text| text.split_once(' ')) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim().into()),
        _ => Err(unknown("send a token: Authorization: Bearer rpv_…")),
    }
}

/// Whose token this is. One that is not good counts against its address, wherever it was given.
pub(crate) async fn identify(app: &App, client: IpAddr, token: &str) -> Result<Identity, Problem> {
    if let Some(identity) = app.0.identities.known(token) {
        return Ok(identity);
    }
    let now_ms = clock::now_ms();
    let limiter = &app.0.failed_logins;
    let refused = |after_ms| Problem::too_many(after_ms, "tokens that are not good");
    limiter.has(client, now_ms).map_err(refused)?;
    match app.0.identities.look(app.control(), token).await? {
        Some(identity) => Ok(identity),
        None => {
            limiter.take(client, now_ms).map_err(refused)?;
            Err(unknown("this token is not good: it is mistyped, removed or at its end"))
        }
    }
}

fn unknown(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
}

/// Identities that were looked up a moment ago, so that a poll does not cost a read each time. Only
/// good tokens are kept, under their digests.
#[derive(Debug, Default)]
pub(super) struct Identities(Mutex<HashMap<Sha256, (Identity, Instant)>>);

impl Identities {
    fn known(&self, token: &str) -> Option<Identity> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (identity, at) = known.get(&Sha256::of(token.as_bytes()))?;
        (at.elapsed() < limits::IDENTITY).then(|| identity.clone())
    }

    /// Looks a token up where all tokens are.
    async fn look(&self, control: &Control, token: &str) -> Result<Option<Identity>, ControlError> {
        let found = control.identify(token).await?;
        if let Some(identity) = &found {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= limits::IDENTITIES {
                known.clear();
            }
            let entry = (identity.clone(), Instant::now());
            known.insert(Sha256::of(token.as_bytes()), entry);
        }
        Ok(found)
    }

    /// Whether a token that was good still is.
    pub(super) async fn is_good(&self, control: &Control, token: &str) -> bool {
        match self.known(token) {
            Some(_) => true,
            // A store that does not answer takes nobody's rights away.
            None => self.look(control, token).await.map_or(true, |found| found.is_some()),
        }
    }

    /// Forgets whoever has that name, so that an end takes effect here at once.
    pub(super) fn forget(&self, name: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (identity, _)| identity.name != name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_by_method_and_path() {
        let cases = [
            ("GET /v1/servers", Role::Viewer),
            ("POST /v1/servers/a/approve", Role::Operator),
            ("DELETE /v1/something-new", Role::Operator),
            ("PUT /v1/policy", Role::Operator),
            ("POST /v1/plan", Role::Viewer),
            ("GET /v1/trust", Role::Viewer),
            ("PUT /v1/trust", Role::Admin),
            ("GET /v1/tokens", Role::Admin),
            ("DELETE /v1/tokens/ci", Role::Admin),
            ("POST /v1/join-tokens", Role::Admin),
            ("PUT /v1/invitations/a", Role::Operator),
        ];
        for (request, expected) in cases {
            let (method, path) = request.split_once(' ').unwrap();
            assert_eq!(needed(&method.parse().unwrap(), path), expected, "{request}");
        }
    }
}
