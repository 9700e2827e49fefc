//! The API, described: OpenAPI 3.1 from the handlers themselves. `docs/openapi.json` is a copy that
//! a test compares; `make openapi` writes it anew.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi, SecurityRequirement};
use utoipa::{Modify, OpenApi as _};

use super::{access, balancer, enrolment, events, images, policy, power, servers, stream, trust};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Repave controller",
        description = "Operators' API of one pool. Errors are application/problem+json (RFC 9457)."
    ),
    paths(
        servers::list, servers::get, servers::log, servers::act, servers::wipe, servers::pin, servers::rekey,
        servers::describe, policy::get, policy::set, balancer::types, balancer::plan,
        balancer::try_out, balancer::apply, balancer::get, balancer::pause, balancer::resume,
        images::list, images::get, images::channels, images::set_channel, events::list, stream::follow,
        access::tokens, access::create_token, access::remove_token, enrolment::join_tokens,
        enrolment::create_join_token, enrolment::remove_join_token, enrolment::invitations,
        enrolment::invitation, enrolment::invite, enrolment::uninvite, trust::get,
        trust::servers, trust::set, power::get, power::set, power::unset, power::order,
    ),
    components(schemas(servers::Action, power::PowerOrder)),
    modifiers(&Bearer),
)]
struct Described;

/// Every operation needs a token.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token of `repave token create`: rpv_…"))
            .build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
        openapi.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    }
}

/// The description as JSON, with a line end.
pub fn document() -> String {
    let mut text = Described::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// `GET /openapi.json`
pub(super) async fn serve() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], document())
}
