//! Settings of one server, rendered from the templates of its type. Templates see facts and
//! nothing else: no files, no other template, no environment. A name that is not there is an
//! error, and so is a render that takes too many steps or grows too large. Facts such as a serial
//! number were said by the server, so they may not carry control characters into a file, and a
//! host name is checked after rendering.
//!
//! The limit is on what comes out. A template that doubles a string in a variable over and over can
//! still take the memory of whoever renders it, so writing a policy is for those who are trusted.

mod facts;

use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, Value};
use repave_protocol::limits::SETTINGS_BYTES;
use repave_protocol::{ServerId, Settings, SettingsFile};
use serde::Serialize;
use thiserror::Error as ThisError;

pub use facts::{Facts, ServerFacts};

use super::{ServerType, SettingsTemplates, limits};

/// Most steps of the template engine for one template.
const FUEL: u64 = 200_000;
/// Deepest nesting of the template engine's calls.
const RECURSION: usize = 32;
/// Longest host name (RFC 1123 with the 64 bytes that Linux keeps).
const HOSTNAME_BYTES: usize = 64;

/// Why a server's settings could not be made.
#[derive(Debug, ThisError)]
pub enum RenderError {
    /// A template: its syntax, a name that is not there, or a limit.
    #[error("type {server_type}: {field} line {line} of its template: {problem}")]
    Template {
        /// The type.
        server_type: String,
        /// `settings.hostname`, `settings.files "/etc/motd"`, …
        field: String,
        /// Line in the template, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// What came out cannot be used.
    #[error("type {server_type}: {field} {problem}")]
    Output {
        /// The type.
        server_type: String,
        /// The field.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// A fact that may not enter a file.
    #[error("server {server}: its {fact} holds control characters; correct it or do not use it")]
    Fact {
        /// The server.
        server: ServerId,
        /// Which fact.
        fact: String,
    },
}

/// Renders the settings of a server that becomes one of `server_type`.
pub fn render(server_type: &ServerType, facts: &Facts) -> Result<Settings, RenderError> {
    facts.server.check()?;
    let templates = &server_type.settings;
    let context = Value::from(Serde(Context { r#type: &server_type.name, facts }));
    let mut press = Press {
        environment: environment(),
        context,
        server_type: &server_type.name,
        left_bytes: SETTINGS_BYTES,
    };
    let hostname = templates.hostname.as_ref().map(|template| press.hostname(template));
    let (hostname, watchdog_s) = (hostname.transpose()?, templates.watchdog_s);
    let mut settings = Settings { hostname, watchdog_s, ..Settings::default() };
    for (number, template) in templates.ssh_authorized_keys.iter().enumerate() {
        let field = key_field(number);
        let line = press.render(&field, template)?;
        match line.trim() {
            "" => {}
            key if key.contains(['\n', '\r']) => {
                return Err(press.refuse(&field, "renders to more than one line".into()));
            }
            key => settings.ssh_authorized_keys.push(key.into()),
        }
    }
    for file in &templates.files {
        let content = press.render(&file_field(&file.path), &file.content)?;
        settings.files.push(SettingsFile::new(&file.path, file.mode, content.as_bytes()));
    }
    Ok(settings)
}

/// Faults that are seen without a server: syntax and size. Each as field and problem.
pub(super) fn faults(templates: &SettingsTemplates) -> Vec<(String, String)> {
    let keys = templates.ssh_authorized_keys.iter().enumerate();
    let hostname = templates.hostname.iter().map(|text| (hostname_field(), text));
    let all = hostname
        .chain(keys.map(|(number, text)| (key_field(number), text)))
        .chain(templates.files.iter().map(|file| (file_field(&file.path), &file.content)));
    let environment = environment();
    let mut faults = Vec::new();
    for (field, text) in all {
        if text.len() > limits::TEMPLATE_BYTES {
            let most = limits::TEMPLATE_BYTES;
            faults.push((field, format!("has {} bytes; at most {most} are allowed", text.len())));
        } else if let Err(error) = environment.template_from_str(text) {
            let problem = format!("line {} of its template: {}", line_of(&error), reason(&error));
            faults.push((field, problem));
        }
    }
    faults
}

fn hostname_field() -> String {
    "settings.hostname".into()
}

fn key_field(number: usize) -> String {
    format!("settings.ssh_authorized_keys[{number}]")
}

fn file_field(path: &str) -> String {
    format!("settings.files {path:?}")
}

#[derive(Serialize)]
struct Context<'a> {
    r#type: &'a str,
    #[serde(flatten)]
    facts: &'a Facts,
}

fn environment<'a>() -> Environment<'a> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // The output is configuration, never HTML, whatever a file is called.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
    environment.set_syntax(syntax.expect("the usual delimiters are a syntax"));
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    environment
}

/// Renders one template after another within one limit of bytes.
struct Press<'a> {
    environment: Environment<'a>,
    context: Value,
    server_type: &'a str,
    left_bytes: usize,
}

impl Press<'_> {
    fn render(&mut self, field: &str, template: &str) -> Result<String, RenderError> {
        let mut output = Limited { bytes: Vec::new(), most: self.left_bytes };
        let rendered = self.environment.template_from_str(template).and_then(|template| {
            template.render_captured_to(self.context.clone(), &mut output).map(drop)
        });
        rendered.map_err(|error| RenderError::Template {
            server_type: self.server_type.into(),
            field: field.into(),
            line: line_of(&error),
            problem: reason(&error),
        })?;
        self.left_bytes -= output.bytes.len();
        String::from_utf8(output.bytes)
            .map_err(|_| self.refuse(field, "renders to what is not UTF-8".into()))
    }

    fn hostname(&mut self, template: &str) -> Result<String, RenderError> {
        let text = self.render(&hostname_field(), template)?;
        let label = |part: &str| {
            let inside = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            !part.is_empty() && part.bytes().all(inside) && !part.starts_with('-')
        };
        if text.len() <= HOSTNAME_BYTES && text.split('.').all(label) {
            Ok(text)
        } else {
            let shown: String = text.chars().take(HOSTNAME_BYTES).collect();
            Err(self.refuse(&hostname_field(), format!("renders to {shown:?}, no host name")))
        }
    }

    fn refuse(&self, field: &str, problem: String) -> RenderError {
        RenderError::Output { server_type: self.server_type.into(), field: field.into(), problem }
    }
}

/// A buffer that refuses to grow beyond its limit.
struct Limited {
    bytes: Vec<u8>,
    most: usize,
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.most {
            return Err(io::Error::other(format!(
                "settings of one server may have {SETTINGS_BYTES} bytes, and these have more"
            )));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn line_of(error: &Error) -> usize {
    error.line().unwrap_or(1)
}

/// The innermost cause in words; the engine's own text names a file that is none.
fn reason(error: &Error) -> String {
    use std::error::Error as _;
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    format!("{}{detail}{source}", error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::FileTemplate;

    fn facts() -> Facts {
        Facts {
            pool: "demo".parse().unwrap(),
            server: ServerFacts {
                id: "0".repeat(64).parse().unwrap(),
                name: Some("r1-07".into()),
                serial: None,
                labels: [("rack".to_string(), "r1".to_string())].into(),
                macs: vec!["52:54:00:00:00:01".into()],
            },
        }
    }

    fn web(templates: SettingsTemplates) -> ServerType {
        let text = "name='web'\nimage='web:stable'\nmax=1\nwanted=1";
        ServerType { settings: templates, ..toml::from_str(text).unwrap() }
    }

    fn motd(content: &str) -> ServerType {
        let file = FileTemplate { path: "/etc/motd".into(), mode: 0o644, content: content.into() };
        web(SettingsTemplates { files: vec![file], ..SettingsTemplates::default() })
    }

    fn check(server_type: &ServerType, expected: &str) {
        let found = match render(server_type, &facts()) {
            Ok(settings) => String::from_utf8(settings.files[0].bytes().unwrap()).unwrap(),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "{found}");
    }

    #[test]
    fn facts_are_filled_in() {
        check(&motd("{{ type }} {{ server.name }} in {{ pool }}\n"), "web r1-07 in demo\n");
        check(&motd("{{ server.labels.rack }} {{ server.macs[0] }}"), "r1 52:54:00:00:00:01");
        check(&motd("{{ server.name | upper }} <&>"), "R1-07 <&>");
    }

    #[test]
    fn what_cannot_be_rendered_names_type_field_and_line() {
        let place = "type web: settings.files \"/etc/motd\" line 2 of its template: undefined";
        check(&motd("\n{{ server.colour }}"), place);
        check(&motd("\n{{ server.serial }}"), place);
        check(&motd("{% include '/etc/passwd' %}"), "line 1 of its template");
        check(&motd("{% for a in range(1000000) %}{% endfor %}"), "line 1");
        let endless =
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        check(&motd(endless), "fuel");
        check(&motd("{{ 'x' * 600000 }}"), "524288 bytes");
    }

    #[test]
    fn host_names_and_keys_are_checked() {
        let hostname = |text: &str| {
            let hostname = Some(text.into());
            web(SettingsTemplates { hostname, ..SettingsTemplates::default() })
        };
        assert_eq!(
            render(&hostname("{{ server.name }}.demo"), &facts()).unwrap().hostname.as_deref(),
            Some("r1-07.demo")
        );
        check(&hostname("{{ server.name }} x"), "settings.hostname renders to \"r1-07 x\"");
        let keys = |text: &str| {
            let ssh_authorized_keys = vec![text.into()];
            web(SettingsTemplates { ssh_authorized_keys, ..SettingsTemplates::default() })
        };
        check(&keys("a\nb"), "ssh_authorized_keys[0] renders to more than one line");
        assert_eq!(render(&keys(" "), &facts()).unwrap().ssh_authorized_keys, [""; 0]);
    }

    #[test]
    fn a_fact_with_control_characters_is_refused() {
        let mut facts = facts();
        facts.server.serial = Some("1\nroot::0:0".into());
        let error = render(&motd(""), &facts).unwrap_err().to_string();
        assert!(error.contains("its serial number holds control characters"), "{error}");
    }
}
