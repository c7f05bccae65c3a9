//! "Did you mean": the name that was probably meant, among those that exist.

/// The candidate nearest to a name, where one is near enough: at most a third of the letters differ, or only case and
/// separators do.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(name);
    let limit = folded.chars().count() / 3;
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&folded, &fold(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= limit && (*distance > 0 || *candidate != name))
        .min()
        .map(|(_, candidate)| candidate)
}

fn fold(name: &str) -> String {
    name.chars().map(|ch| if ch == '_' || ch == '.' { '-' } else { ch.to_ascii_lowercase() }).collect()
}

/// Help that names what was meant, or else what there is.
pub fn help<'a>(name: &str, what: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    if let Some(meant) = nearest(name, candidates.iter().copied()) {
        return format!("did you mean {meant}?");
    }
    match candidates.is_empty() {
        true => format!("there is no {what}"),
        false => format!("{what}: {}", candidates.join(", ")),
    }
}
