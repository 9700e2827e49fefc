//! The page for people.

use repave_controller::control::Role;
use repave_protocol::LogTail;
use serde_json::json;

use crate::daemon::{Asking, Daemon};

const FORM: &str = "application/x-www-form-urlencoded";

/// A browser's request: without a token of its own.
fn browse<'a>(daemon: &'a Daemon, what: &str) -> Asking<'a> {
    daemon.ask(what).without("authorization")
}

fn log_in<'a>(daemon: &'a Daemon, token: &str) -> Asking<'a> {
    browse(daemon, "POST /login").raw(FORM, format!("token={token}").as_bytes())
}

/// The cookie that a login gave, as a browser sends it.
fn cookie(daemon: &Daemon, token: &str) -> String {
    let entered = log_in(daemon, token).page(303);
    assert_eq!(entered.header("location"), "/");
    let set = entered.header("set-cookie");
    let (pair, attributes) = set.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; Secure; HttpOnly; SameSite=Strict");
    pair.into()
}

#[test]
fn a_token_lets_in_and_logging_out_forgets_it() {
    let daemon = Daemon::start();
    assert_eq!(browse(&daemon, "GET /").page(303).header("location"), "/login");
    assert!(browse(&daemon, "GET /login").page(200).text().contains("<form"));
    // A cookie is what counts here, and only here.
    assert_eq!(daemon.ask("GET /").page(303).header("location"), "/login");
    let viewer = daemon.token("wall", Role::Viewer, None);
    let cookie = cookie(&daemon, &format!("%20{viewer}%0A"));
    let page = browse(&daemon, "GET /").with("cookie", &format!("a=b; {cookie}")).page(200);
    assert!(page.text().contains("wall (viewer)"), "{}", page.text());
    assert!(!page.text().contains(&viewer));
    browse(&daemon, "GET /v1/servers").with("cookie", &cookie).expect(401);
    let left = browse(&daemon, "POST /logout").with("cookie", &cookie).page(303);
    assert_eq!(left.header("location"), "/login");
    assert!(left.header("set-cookie").starts_with("__Host-repave=; "));
    assert!(left.header("set-cookie").ends_with("; Max-Age=0"));
    // A token that is removed is forgotten with it.
    daemon.ask("DELETE /v1/tokens/wall").expect(204);
    let out = browse(&daemon, "GET /").with("cookie", &cookie).page(303);
    assert_eq!(out.header("location"), "/login");
    assert!(out.header("set-cookie").ends_with("; Max-Age=0"));
}

#[test]
fn wrong_tokens_are_refused_and_soon_not_even_looked_at() {
    let daemon = Daemon::start();
    let refused = log_in(&daemon, "rpv_admin_00").page(401);
    assert!(refused.header("content-type").starts_with("text/html"));
    assert!(refused.text().contains("not good") && refused.text().contains("<form"));
    assert_eq!(refused.header("set-cookie"), "");
    browse(&daemon, "POST /login").raw(FORM, b"").expect(422);
    browse(&daemon, "POST /login").raw(FORM, &[b'a'; 8 * 1024]).expect(413);
    let code = || {
        let request = daemon.agent.post(daemon.url("/login")).content_type(FORM);
        request.send("token=rpv_admin_00").unwrap().status().as_u16()
    };
    let before = (0..1_000).take_while(|_| code() != 429).count();
    assert!((15..100).contains(&before), "{before}");
    assert_ne!(log_in(&daemon, "rpv_admin_00").page(429).header("retry-after"), "");
    // The API counts in the same place.
    daemon.ask("GET /v1/servers").by("rpv_admin_00").expect(429);
    // So does a cookie that was made up.
    browse(&daemon, "GET /").with("cookie", "__Host-repave=rpv_admin_01").page(429);
}

#[test]
fn a_form_elsewhere_logs_nobody_in_or_out() {
    let daemon = Daemon::start();
    for site in ["cross-site", "same-site"] {
        log_in(&daemon, &daemon.admin).with("sec-fetch-site", site).expect(403);
        browse(&daemon, "POST /logout").with("sec-fetch-site", site).expect(403);
    }
    log_in(&daemon, &daemon.admin).with("sec-fetch-site", "same-origin").page(303);
}

#[test]
fn what_a_server_or_an_operator_wrote_is_escaped() {
    let daemon = Daemon::start();
    let id = daemon.report(1);
    let labels = json!({ "labels": { "note": "<script>alert(1)</script>" } });
    daemon.ask(&format!("PUT /v1/servers/{id}/description")).body(&labels).expect(200);
    let cookie = cookie(&daemon, &daemon.admin);
    let page = browse(&daemon, "GET /").with("cookie", &cookie).page(200).text();
    assert!(page.contains("note=&lt;script&gt;alert(1)") && !page.contains("<script"), "{page}");
    assert!(page.contains(&id.short()) && page.contains("pending") && page.contains("S1"));
}

#[test]
fn the_log_of_a_failure_has_a_page_that_only_who_may_look_sees() {
    let daemon = Daemon::start();
    let id = daemon.report(1);
    let path = format!("GET /servers/{id}/log");
    assert_eq!(browse(&daemon, &path).page(303).header("location"), "/login");
    let cookie = cookie(&daemon, &daemon.token("wall", Role::Viewer, None));
    let look = |what: &str, code| browse(&daemon, what).with("cookie", &cookie).page(code).text();
    let none = look(&path, 404);
    assert!(none.contains("told of no failure") && !none.contains("<form"), "{none}");
    assert!(!look("GET /", 200).contains("/log\""), "nothing to show");
    daemon.ask(&format!("POST /v1/servers/{id}/approve")).expect(200);
    let log = LogTail::of(b"<script>alert(1)</script>\n", b"<6>[    1.0] eth0: up\n");
    daemon.report_failed(1, 1, &log);
    let link = format!("href=\"/servers/{id}/log\"");
    assert!(look("GET /", 200).contains(&link));
    let page = look(&path, 200);
    assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script"), "{page}");
    assert!(page.contains("&lt;6&gt;[    1.0] eth0: up"), "{page}");
    assert!(page.contains("&lt;b&gt;read") && page.contains("<details open>"), "{page}");
    assert!(!page.contains("http-equiv"), "it stays as it is while it is read");
}

#[test]
fn browsers_are_told_how_little_a_page_may_do() {
    let daemon = Daemon::start();
    let cookie = cookie(&daemon, &daemon.admin);
    for (what, code) in [("GET /", 200), ("GET /login", 200), ("GET /style.css", 200)] {
        let page = browse(&daemon, what).with("cookie", &cookie).page(code);
        let policy = page.header("content-security-policy");
        for part in ["default-src 'none'", "form-action 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{what}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("script"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.header("referrer-policy"), "no-referrer");
        let style = what.ends_with("css");
        assert_eq!(page.header("cache-control"), if style { "max-age=60" } else { "no-store" });
        // Nothing that the policy would not let through.
        assert!(!page.text().contains("style=") && !page.text().contains("http:"), "{what}");
    }
    browse(&daemon, "DELETE /login").expect(405);
}
