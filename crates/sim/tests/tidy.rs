//! The house rules that a machine can measure, over every source file of the repository.
//!
//! A limit that is passed today stands in `tidy/ratchet.txt` with today's number: it may go down and not up.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/scan.rs"]
mod scan;

use scan::{Function, functions, plain, without_tests};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 500;
/// Tests are data, and data may be longer.
const TEST_FILE_LINES_MAX: usize = 800;
/// Half of all functions are shorter than this, nine of ten than the next.
const FUNCTION_LINES_MEDIAN: usize = 10;
const FUNCTION_LINES_90TH: usize = 30;

fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).expect("the crate lies two levels below the root").to_path_buf()
}

struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Whether users run it.
    fn is_product(&self) -> bool {
        self.path.contains("/src/") && !self.path.contains("/tests/") && !self.path.ends_with("/tests.rs")
    }
}

/// Files below the root with one of these endings, by path.
fn files(endings: &[&str]) -> Vec<Source> {
    let mut found = BTreeMap::new();
    let mut open = vec![root()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("the repository can be read") {
            let path = entry.expect("the repository can be read").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if path.is_dir() && !(name.starts_with('.') && name != ".ci") && name != "target" {
                open.push(path);
            } else if path.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
                found.insert(path.strip_prefix(root()).expect("below the root").display().to_string(), path);
            }
        }
    }
    let read = |(path, full): (String, PathBuf)| Some(Source { path, text: fs::read_to_string(full).ok()? });
    found.into_iter().filter_map(read).collect()
}

fn sources() -> Vec<Source> {
    let sources = files(&[".rs"]);
    assert!(sources.len() > 50, "only {} source files were found", sources.len());
    sources
}

/// The numbers that stand in the ratchet file for one rule.
fn ratchet(rule: &str) -> BTreeMap<String, usize> {
    let text = include_str!("tidy/ratchet.txt");
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (named, number, place) = (words.next()?, words.next()?, words.next()?);
        (named == rule).then(|| (place.to_owned(), number.parse().expect("the ratchet holds numbers")))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(entry).collect()
}

/// Compares measured numbers that are over a limit with the ratchet, and the ratchet with what is measured.
fn hold(rule: &str, over: &BTreeMap<String, usize>) {
    let allowed = ratchet(rule);
    let worse = over.iter().filter(|(place, number)| allowed.get(*place).is_none_or(|allowed| *number > allowed));
    let mut findings: Vec<String> = worse.map(|(place, number)| format!("{rule} {number} {place}")).collect();
    let mended = allowed.keys().filter(|place| !over.contains_key(*place));
    findings.extend(mended.map(|place| format!("{place} keeps the limit now: take it out of tidy/ratchet.txt")));
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

fn report(findings: &[String]) {
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// Every line of the sources, without comments and the contents of strings, that the check finds fault with.
fn in_code(product_only: bool, fault: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !product_only || source.is_product()) {
        let code = plain(&source.text);
        let code = if product_only { without_tests(&code) } else { code };
        let faulty = code.lines().enumerate().filter(|(_, line)| fault(line));
        found.extend(faulty.map(|(number, line)| format!("{}:{}: {}", source.path, number + 1, line.trim())));
    }
    found
}

fn all_functions() -> Vec<(String, Function)> {
    let of = |source: &Source| {
        let path = source.path.clone();
        functions(&plain(&source.text)).into_iter().map(move |function| (path.clone(), function)).collect::<Vec<_>>()
    };
    sources().iter().flat_map(of).collect()
}

#[test]
fn no_function_is_longer_than_seventy_lines() {
    let long = all_functions().into_iter().filter(|(_, function)| function.lines > FUNCTION_LINES_MAX);
    hold("function", &long.map(|(path, function)| (format!("{path}:{}", function.name), function.lines)).collect());
}

#[test]
fn most_functions_are_small() {
    let mut lines: Vec<usize> = all_functions().iter().map(|(_, function)| function.lines).collect();
    lines.sort_unstable();
    let (median, ninetieth) = (lines[lines.len() / 2], lines[lines.len() * 9 / 10]);
    println!("{} functions: half have at most {median} lines, nine of ten at most {ninetieth}", lines.len());
    assert!(median <= FUNCTION_LINES_MEDIAN, "half of all functions have more than {median} lines");
    assert!(ninetieth <= FUNCTION_LINES_90TH, "one of ten functions has more than {ninetieth} lines");
}

#[test]
fn files_stay_below_five_hundred_lines() {
    let limit = |source: &Source| if source.is_product() { FILE_LINES_MAX } else { TEST_FILE_LINES_MAX };
    let long = sources().into_iter().map(|source| (limit(&source), source.text.lines().count(), source.path));
    hold("file", &long.filter(|(limit, lines, _)| lines > limit).map(|(_, lines, path)| (path, lines)).collect());
}

#[test]
fn nothing_is_left_to_do_in_the_code() {
    let left = ["todo!", "dbg!", "unimplemented!"];
    report(&in_code(false, |line| left.iter().any(|left| line.contains(left))));
}

#[test]
fn product_code_never_unwraps() {
    report(&in_code(true, |line| line.contains(".unwrap()") || line.contains(".unwrap_err()")));
}

#[test]
fn every_expectation_gives_its_reason() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.is_product()) {
        let lines = source.text.lines().enumerate().filter(|(_, line)| line.contains(".expect(\"\")"));
        found.extend(lines.map(|(number, _)| format!("{}:{}", source.path, number + 1)));
    }
    report(&found);
}

#[test]
fn every_module_says_what_it_owns() {
    let silent = sources().into_iter().filter(|source| source.is_product() && !source.text.starts_with("//!"));
    report(&silent.map(|source| format!("{} has no header", source.path)).collect::<Vec<_>>());
}

#[test]
fn nothing_is_called_manager_or_helper() {
    let banned = ["manager", "handler", "processor", "util", "utils", "helper", "helpers"];
    let declares = ["struct ", "enum ", "trait ", "mod "];
    let faulty = |line: &str| {
        let name = declares.iter().find_map(|word| {
            let (before, after) = line.split_once(word)?;
            let starts = before.trim().is_empty() || before.trim_end().ends_with(['b', ')']);
            starts.then(|| after.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default())
        });
        name.is_some_and(|name| banned.iter().any(|banned| name.to_lowercase().ends_with(banned)))
    };
    report(&in_code(false, faulty));
}

/// The files with unsafe code are few, and named.
#[test]
fn unsafe_code_stays_where_it_is() {
    let says = |line: &str| line.contains("unsafe {") || line.contains("unsafe fn") || line.contains("unsafe impl");
    let mut places = BTreeMap::new();
    for found in in_code(false, says) {
        let path = found.split(':').next().unwrap_or_default().to_owned();
        *places.entry(path).or_insert(0) += 1;
    }
    hold("unsafe", &places);
}

/// Written in two parts, so that this file does not find itself.
const MACHINE: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("../sha", "red"), concat!("/bash_", "jobs")];

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let endings = [".rs", ".md", ".toml", ".sql", ".txt", ".xml", ".properties", "run", "test", "services", "lock"];
    let mut found = Vec::new();
    for source in files(&endings) {
        for (number, line) in source.text.lines().enumerate() {
            if MACHINE.iter().any(|name| line.contains(name)) {
                found.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    report(&found);
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut found = Vec::new();
    for source in files(&[".md"]) {
        let folder = root().join(&source.path).parent().expect("a file lies in a folder").to_path_buf();
        for target in source.text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let local = !target.is_empty() && !target.contains(':') && !target.contains([' ', '\n', '`']);
            if local && !folder.join(target).exists() {
                found.push(format!("{}: nothing at {target}", source.path));
            }
        }
    }
    report(&found);
}
