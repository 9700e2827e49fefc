//! Every dependency's licence suits ours.

use crate::metadata::Metadata;

pub(crate) fn faults(metadata: &Metadata, rules: &str) -> Vec<String> {
    let allowed: Vec<&str> =
        rules.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect();
    let strangers = metadata.packages.iter().filter(|package| !package.member);
    let bad = strangers.filter(|package| !suits(package.licence.as_deref(), &allowed));
    let words = |licence: &Option<String>| licence.clone().unwrap_or_else(|| "no licence".into());
    bad.map(|p| {
        format!("{} {} has {}, see tests/licences.txt", p.name, p.version, words(&p.licence))
    })
    .collect()
}

/// SPDX expressions as crates use them: alternatives by OR (or the old slash), parts by AND.
fn suits(licence: Option<&str>, allowed: &[&str]) -> bool {
    let Some(licence) = licence else { return false };
    let plain = licence.replace(['(', ')'], "").replace('/', " OR ");
    // "A AND (B OR C)" without its brackets reads as "A AND B OR C": stricter on A only if A is
    // not allowed, and then a person must look anyway.
    plain.split(" AND ").all(|part| part.split(" OR ").any(|name| allowed.contains(&name.trim())))
}

#[cfg(test)]
mod tests {
    use super::suits;

    #[test]
    fn one_alternative_and_all_parts() {
        let check = |licence, expected| {
            assert_eq!(suits(Some(licence), &["MIT", "ISC", "Apache-2.0"]), expected, "{licence}");
        };
        check("MIT", true);
        check("MIT/Apache-2.0", true);
        check("GPL-3.0 OR MIT", true);
        check("Apache-2.0 AND ISC", true);
        check("(MIT OR GPL-2.0) AND ISC", true);
        check("GPL-3.0", false);
        check("MIT AND GPL-3.0", false);
        assert!(!suits(None, &["MIT"]));
    }
}
