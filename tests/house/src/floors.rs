//! Imports only go down.

use std::collections::BTreeMap;

use crate::metadata::Metadata;

pub(crate) fn faults(metadata: &Metadata, rules: &str) -> Vec<String> {
    let lines = rules.lines().filter(|line| !line.starts_with('#'));
    let floors: BTreeMap<&str, u32> =
        lines.filter_map(|line| line.split_once(' ')).filter_map(parse).collect();
    let mut faults = Vec::new();
    for package in metadata.packages.iter().filter(|package| package.member) {
        let Some(floor) = floors.get(package.name.as_str()) else {
            faults.push(format!("{} has no floor in tests/floors.txt", package.name));
            continue;
        };
        for import in &package.dependencies {
            if floors.get(import.as_str()).is_some_and(|below| below >= floor) {
                faults.push(format!(
                    "{} (floor {floor}) imports {import}, not from below",
                    package.name
                ));
            }
        }
    }
    faults
}

fn parse<'a>((floor, name): (&str, &'a str)) -> Option<(&'a str, u32)> {
    Some((name.trim(), floor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Package;

    fn check(imports: &[&str], expected: &[&str]) {
        let package = Package {
            name: "middle".into(),
            version: "1".into(),
            licence: None,
            member: true,
            dependencies: imports.iter().map(|&name| name.into()).collect(),
        };
        let metadata = Metadata { root: String::new(), packages: vec![package] };
        assert_eq!(faults(&metadata, "# rules\n0 low\n1 middle\n1 beside\n2 high\n"), expected);
    }

    #[test]
    fn only_imports_from_below_pass() {
        check(&["low", "serde"], &[]);
        check(&["beside"], &["middle (floor 1) imports beside, not from below"]);
        check(&["high"], &["middle (floor 1) imports high, not from below"]);
    }
}
