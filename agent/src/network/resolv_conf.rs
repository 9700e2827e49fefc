//! The resolver's file: which name servers are in it, and how it is replaced.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use super::config::MAX_NAME_SERVERS;

/// The file's text for these name servers, best first: each once, as many as a resolver reads.
/// Two seconds and two tries each, since a server whose first name server is dead must still get
/// an answer within the time in which a connection is tried.
pub(super) fn text(name_servers: impl IntoIterator<Item = IpAddr>) -> String {
    let mut seen = BTreeSet::new();
    let distinct = name_servers.into_iter().filter(|server| seen.insert(*server));
    let mut text = String::new();
    for server in distinct.take(MAX_NAME_SERVERS) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "nameserver {server}");
    }
    if !text.is_empty() {
        text.push_str("options timeout:2 attempts:2\n");
    }
    text
}

/// Replaces the file in one step, so that no resolver reads half of it.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text)?;
    std::fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    fn check(servers: &[&str], expected: &str) {
        let servers = servers.iter().map(|server| server.parse::<IpAddr>().unwrap());
        assert_eq!(super::text(servers), expected);
    }

    #[test]
    fn names_each_server_once_and_no_more_than_are_read() {
        check(&[], "");
        check(
            &["10.0.2.3", "10.0.2.3", "fd00::1"],
            "nameserver 10.0.2.3\nnameserver fd00::1\noptions timeout:2 attempts:2\n",
        );
        check(
            &["1.0.0.4", "1.0.0.3", "1.0.0.2", "1.0.0.1"],
            "nameserver 1.0.0.4\nnameserver 1.0.0.3\nnameserver 1.0.0.2\n\
             options timeout:2 attempts:2\n",
        );
    }
}
