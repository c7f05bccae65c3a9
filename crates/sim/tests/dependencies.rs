//! Everything that is linked in: licences, known advisories, sources, unwanted crates. Needs no network.
//!
//! The policy stands in `deny.toml` and `scripts/advisories.txt`. `cargo deny check` asks the same, and the advisory
//! database besides.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[path = "dependencies/licence.rs"]
mod licence;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).expect("the crate lies two levels below the root").to_path_buf()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A package of Cargo.lock.
#[derive(Clone, Debug, Default)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    checksum: bool,
    dependencies: Vec<String>,
}

/// Cargo.lock is written by cargo, one key a line; this reads that form and no other TOML.
fn locked() -> Vec<Package> {
    let packages: Vec<Package> = read("Cargo.lock").split("[[package]]").skip(1).map(package).collect();
    assert!(packages.len() > 100, "only {} packages were found in Cargo.lock", packages.len());
    packages
}

fn package(text: &str) -> Package {
    let mut package = Package::default();
    for line in text.lines() {
        let value = line.split('"').nth(1).unwrap_or_default().to_owned();
        match line.split(' ').next() {
            Some("name") => package.name = value,
            Some("version") => package.version = value,
            Some("source") => package.source = Some(value),
            Some("checksum") => package.checksum = true,
            Some("") if line.starts_with(" \"") => package.dependencies.push(value),
            _ => {}
        }
    }
    package
}

/// Numbers of a version; what follows `-` or `+` does not count.
fn numbers(version: &str) -> Vec<u64> {
    let plain = version.split(['-', '+']).next().unwrap_or_default();
    plain.split('.').map(|part| part.parse().unwrap_or_else(|_| panic!("{version} is no version"))).collect()
}

/// The lines of the advisory file that begin with a word, without it.
fn rules(kind: &str) -> Vec<Vec<String>> {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let all = read("scripts/advisories.txt");
    let lines = all.lines().map(words).filter(|words| words.first().is_some_and(|first| first == kind));
    lines.map(|words| words[1..].to_vec()).collect()
}

/// The strings of a list in deny.toml.
fn policy(key: &str) -> BTreeSet<String> {
    let text = read("deny.toml");
    let start = text.find(&format!("\n{key} = [")).unwrap_or_else(|| panic!("deny.toml has no list {key}"));
    let list = text[start..].split("\n]").next().unwrap_or_default();
    let lines = list.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

fn report(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

/// Whether only one package uses this version, and the advisory file says that this one may.
fn excepted(package: &Package, all: &[Package]) -> bool {
    let named = |name: &String| *name == package.name || *name == format!("{} {}", package.name, package.version);
    let used_by = all.iter().filter(|user| user.dependencies.iter().any(named)).map(|user| user.name.as_str());
    let used_by: Vec<&str> = used_by.collect();
    let allows = |rule: &Vec<String>| {
        rule[0] == package.name && rule[1] == package.version && used_by == [rule[2].as_str()] && rule.len() > 3
    };
    rules("except").iter().any(allows)
}

#[test]
fn no_version_with_a_known_advisory_is_used() {
    let all = locked();
    let mut findings = Vec::new();
    for rule in rules("floor") {
        for package in all.iter().filter(|package| package.name == rule[0]) {
            if numbers(&package.version) < numbers(&rule[1]) && !excepted(package, &all) {
                findings.push(format!(
                    "{} {} is older than {}: {}",
                    rule[0],
                    package.version,
                    rule[1],
                    rule[2..].join(" ")
                ));
            }
        }
    }
    report(&findings);
}

#[test]
fn every_exception_is_needed() {
    let all = locked();
    let stale = rules("except").into_iter().filter(|rule| {
        !all.iter().any(|package| package.name == rule[0] && package.version == rule[1] && excepted(package, &all))
    });
    report(&stale.map(|rule| format!("the exception for {} {} fits nothing", rule[0], rule[1])).collect::<Vec<_>>());
}

#[test]
fn everything_comes_from_the_one_registry_with_a_checksum() {
    let foreign = locked().into_iter().filter(|package| match &package.source {
        None => !package.name.starts_with("onceflow"),
        Some(source) => source != REGISTRY || !package.checksum,
    });
    report(
        &foreign
            .map(|package| format!("{} {} comes from elsewhere", package.name, package.version))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn what_must_be_one_is_one() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    locked().into_iter().for_each(|package| versions.entry(package.name).or_default().push(package.version));
    let twice = rules("single").into_iter().filter_map(|rule| {
        let found = versions.get(&rule[0]).filter(|found| found.len() > 1)?;
        Some(format!("{} is there in versions {}", rule[0], found.join(" and ")))
    });
    report(&twice.collect::<Vec<_>>());
}

#[test]
fn unwanted_crates_are_not_there() {
    let unwanted = policy("deny");
    assert!(unwanted.contains("aws-lc-rs"), "the list of unwanted crates was not read");
    let found = locked().into_iter().filter(|package| unwanted.contains(&package.name));
    report(&found.map(|package| format!("{} {} is not wanted", package.name, package.version)).collect::<Vec<_>>());
}

/// What cargo says of the packages that this machine's build consists of.
fn metadata() -> Value {
    let version = Command::new(env!("CARGO")).args(["-vV"]).output().expect("cargo runs");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo says its host").to_owned();
    let arguments = ["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", &host];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).stdin(Stdio::null()).output();
    let output = output.expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

#[test]
fn every_licence_is_allowed() {
    let allowed = policy("allow");
    assert!(allowed.contains("MIT") && allowed.contains("Apache-2.0"), "the list of licences was not read");
    let all = metadata();
    let packages = all["packages"].as_array().expect("cargo lists packages");
    let refused = packages.iter().filter_map(|package| {
        let expression = package["license"].as_str();
        let fine = expression.is_some_and(|expression| licence::allows(expression, &allowed));
        (!fine).then(|| {
            format!("{} {}: {}", package["name"], package["version"], expression.unwrap_or("no licence named"))
        })
    });
    let refused: Vec<String> = refused.collect();
    println!("{} packages, licences allowed: {}", packages.len(), allowed.len());
    report(&refused);
}
