//! What a policy may not say. All faults are found at once, each with its place and the way out,
//! so that a policy is not mended one refusal at a time.

use std::collections::BTreeSet;
use std::fmt;

use repave_protocol::limits::WATCHDOG_S;
use serde::Serialize;

use super::channel::is_name;
use super::milli::Milli;
use super::parts::{FileTemplate, LoadTarget, SettingsTemplates};
use super::{Policy, Pool, ServerType, settings};

/// Every limit of a policy, in one place.
pub mod limits {
    /// Most server types of a pool.
    pub const TYPES: usize = 64;
    /// Most servers of a type, and so of a pool's share in one number.
    pub const SERVERS: u32 = 1_000_000;
    /// Most servers moved at once.
    pub const CONCURRENCY: u32 = 10_000;
    /// Most failures of a budget and of a rollout, and most retries.
    pub const FAILURES: u32 = 10_000;
    /// Longest span of time, in seconds: thirty days.
    pub const SPAN_S: u64 = 30 * 24 * 3600;
    /// Most labels that a type may require.
    pub const LABELS: usize = 64;
    /// Longest label or value, in bytes.
    pub const LABEL_BYTES: usize = 128;
    /// Longest template, in bytes.
    pub const TEMPLATE_BYTES: usize = 128 * 1024;
}

/// One thing that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where: `pool.concurrency`, `type web: load.target`.
    pub place: String,
    /// What is wrong, and the way out.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place, self.problem)
    }
}

/// Collects faults under a place.
struct Finder<'a> {
    faults: &'a mut Vec<Fault>,
    at: String,
}

impl Finder<'_> {
    fn add(&mut self, field: &str, problem: String) {
        self.faults.push(Fault { place: format!("{}{field}", self.at), problem });
    }

    fn within(&mut self, field: &str, value: u64, least: u64, most: u64) {
        if value < least || value > most {
            self.add(field, format!("is {value}; it must be from {least} to {most}"));
        }
    }

    fn share(&mut self, field: &str, value: Milli, least: Milli, most: Milli) {
        if value < least || value > most {
            let (value, least, most) = (f64::from(value), f64::from(least), f64::from(most));
            self.add(field, format!("is {value}; it must be from {least} to {most}"));
        }
    }

    fn span(&mut self, field: &str, seconds: u64) {
        self.within(field, seconds, 0, limits::SPAN_S);
    }
}

impl Policy {
    /// All that is wrong with it; nothing is the answer to hope for.
    pub fn check(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        check_pool(&self.pool, &mut Finder { faults: &mut faults, at: "pool.".into() });
        let mut finder = Finder { faults: &mut faults, at: String::new() };
        finder.within("types", self.types.len() as u64, 0, limits::TYPES as u64);
        let mut names = BTreeSet::new();
        for server_type in &self.types {
            let at = format!("type {}: ", server_type.name);
            let mut finder = Finder { faults: &mut faults, at };
            if !names.insert(&server_type.name) {
                finder.add("name", "is declared twice; keep one of them".into());
            }
            check_type(server_type, &mut finder);
        }
        faults
    }
}

fn check_pool(pool: &Pool, finder: &mut Finder<'_>) {
    finder.within("concurrency", pool.concurrency.into(), 1, limits::CONCURRENCY.into());
    let budget = pool.failure_budget;
    finder.within("failure_budget.failures", budget.failures.into(), 1, limits::FAILURES.into());
    finder.within("failure_budget.window_s", budget.window_s, 1, limits::SPAN_S);
    finder.within("silent_after_s", pool.silent_after_s, 1, limits::SPAN_S);
    finder.share("freeze_share", pool.freeze_share, Milli(1), Milli::ONE);
    finder.within("retries", pool.retries.into(), 1, limits::FAILURES.into());
}

fn check_type(server_type: &ServerType, finder: &mut Finder<'_>) {
    let ServerType { min, max, wanted, load, .. } = server_type;
    if !is_name(&server_type.name) {
        finder.add("name", "is not a name: 1 to 64 of a-z, 0-9, '-', '_' and '.'".into());
    }
    finder.within("max", (*max).into(), 0, limits::SERVERS.into());
    if min > max {
        finder
            .add("min", format!("is {min}, above its max of {max}; lower one or raise the other"));
    }
    match (wanted, load) {
        (Some(_), Some(_)) => finder.add("wanted", "is given and load, too; keep one".into()),
        (None, None) => finder.add("wanted", "is missing; give a number or a load".into()),
        (Some(wanted), None) if wanted < min || wanted > max => {
            finder.add("wanted", format!("is {wanted}; it must be from min {min} to max {max}"));
        }
        (None, Some(load)) => check_load(load, *min, finder),
        _ => {}
    }
    finder.span("drain_s", server_type.drain_s);
    finder.within("health.up_within_s", server_type.health.up_within_s, 1, limits::SPAN_S);
    finder.span("health.settle_s", server_type.health.settle_s);
    let rollout = &server_type.rollout;
    finder.within("rollout.canary", rollout.canary.into(), 0, limits::SERVERS.into());
    finder.share("rollout.wave_share", rollout.wave_share, Milli(1), Milli::ONE);
    finder.span("rollout.settle_s", rollout.settle_s);
    finder.within(
        "rollout.most_failures",
        rollout.most_failures.into(),
        0,
        u64::from(limits::FAILURES),
    );
    check_requires(server_type, finder);
    check_settings(&server_type.settings, finder);
}

fn check_load(load: &LoadTarget, min: u32, finder: &mut Finder<'_>) {
    if min == 0 {
        finder.add("min", "is 0 and load decides; give 1, an empty type has no load to see".into());
    }
    finder.within("load.target (in thousandths)", load.target.0.into(), 1, u32::MAX.into());
    finder.share("load.tolerance", load.tolerance, Milli(0), Milli(900));
    finder.span("load.stabilise_up_s", load.stabilise_up_s);
    finder.span("load.stabilise_down_s", load.stabilise_down_s);
    finder.span("load.cool_down_s", load.cool_down_s);
}

fn check_requires(server_type: &ServerType, finder: &mut Finder<'_>) {
    let labels = &server_type.requires.labels;
    finder.within("requires.labels (their number)", labels.len() as u64, 0, limits::LABELS as u64);
    for (label, value) in labels {
        let longest = label.len().max(value.len()) as u64;
        let field = format!("requires.labels.{label} (its bytes)");
        finder.within(&field, longest, 1, limits::LABEL_BYTES as u64);
    }
}

fn check_settings(templates: &SettingsTemplates, finder: &mut Finder<'_>) {
    let most_files = repave_protocol::limits::SETTINGS_FILES as u64;
    finder.within("settings.files (their number)", templates.files.len() as u64, 0, most_files);
    if let Some(watchdog_s) = templates.watchdog_s {
        let (least, most) = WATCHDOG_S.into_inner();
        finder.within("settings.watchdog_s", watchdog_s.into(), least.into(), most.into());
    }
    let mut paths = BTreeSet::new();
    for FileTemplate { path, mode, .. } in &templates.files {
        let field = format!("settings.files {path:?}");
        let odd = |part: &str| matches!(part, "" | "." | "..");
        if path.strip_prefix('/').is_none_or(|rest| rest.split('/').any(odd)) {
            finder.add(&field, "is not an absolute path without '.' and '..'".into());
        }
        if !paths.insert(path) {
            finder.add(&field, "is given twice; keep one of them".into());
        }
        if *mode > 0o7777 {
            finder.add(&field, format!("has mode {mode:o}; it must be at most 7777 in octal"));
        }
    }
    for (field, problem) in settings::faults(templates) {
        finder.add(&field, problem);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks `text` in place of the example's type `web`.
    fn check(text: &str, expected: &[&str]) {
        let policy = Policy::from_toml(&format!("[pool]\nname='demo'\n{text}")).unwrap();
        let found = policy.check().iter().map(Fault::to_string).collect::<Vec<_>>();
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found}");
        }
    }

    const WEB: &str = "[[type]]\nname='web'\nimage='web:stable'\nmin=1\nmax=5\n";

    #[test]
    fn faults_of_the_pool() {
        check("", &[]);
        check(
            "concurrency=0\nfreeze_share=1.5\nretries=0\nfailure_budget.failures=0\n",
            &["pool.concurrency is 0", "failures is 0", "freeze_share is 1.5", "retries is 0"],
        );
    }

    #[test]
    fn faults_of_a_type() {
        check(&format!("{WEB}wanted=3\n"), &[]);
        check(WEB, &["type web: wanted is missing"]);
        check(&format!("{WEB}wanted=6\n"), &["wanted is 6; it must be from min 1 to max 5"]);
        check(&format!("{WEB}wanted=1\n{WEB}wanted=1\n"), &["name is declared twice"]);
        let both = format!("{WEB}wanted=1\nload={{measure='cpu',target=0.7}}\n");
        check(&both, &["wanted is given and load, too"]);
        let idle = WEB.replace("min=1", "min=0");
        check(&format!("{idle}load={{measure='cpu',target=0}}\n"), &["min is 0", "load.target"]);
        check(&format!("{}wanted=1\n", WEB.replace("min=1", "min=9")), &["min is 9", "wanted"]);
    }

    #[test]
    fn faults_of_settings() {
        let file = |path, content| {
            format!("{WEB}wanted=1\n[[type.settings.files]]\npath='{path}'\ncontent='{content}'\n")
        };
        check(&file("/etc/motd", "{{ server.id }}"), &[]);
        check(&file("etc/motd", ""), &["not an absolute path"]);
        check(&file("/etc/../motd", ""), &["not an absolute path"]);
        let watchdog = |s| format!("{WEB}wanted=1\n[type.settings]\nwatchdog_s={s}\n");
        check(&watchdog(180), &[]);
        check(&watchdog(29), &["settings.watchdog_s"]);
        check(&watchdog(601), &["settings.watchdog_s"]);
        check(&file("/etc/motd", "{{ server.id"), &["\"/etc/motd\" line 1"]);
    }
}
