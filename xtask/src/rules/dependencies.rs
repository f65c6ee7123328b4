//! Dependencies point one way: `el2 → core → abi ← guests`.

use super::{File, Problem};

/// What each crate of the tree may depend on among the others.
const MAY_USE: &[(&str, &[&str])] = &[
    ("tessera-abi", &[]),
    ("tessera-core", &["tessera-abi"]),
    ("tessera-el2", &["tessera-core", "tessera-abi"]),
    ("tessera-ring", &["tessera-abi"]),
    ("tessera-rt", &["tessera-ring", "tessera-abi"]),
    ("guest-probe", &["tessera-rt", "tessera-abi"]),
    ("guest-rogue", &["tessera-rt", "tessera-ring", "tessera-abi"]),
    ("guest-bench", &["tessera-rt", "tessera-ring", "tessera-abi"]),
    ("guest-load", &["tessera-rt", "tessera-ring", "tessera-abi"]),
    ("guest-linux-group", &["tessera-abi"]),
    ("tessera-control", &[]),
    ("xtask", &["tessera-control", "tessera-core", "tessera-abi"]),
    ("tessera-fuzz", &["tessera-core", "tessera-abi"]),
    ("tessera-system-tests", &["tessera-control", "tessera-abi"]),
];

/// Checks one `Cargo.toml`; that of the workspace has no package.
pub fn check(file: &File) -> Vec<Problem> {
    let text = file.text.as_deref().unwrap_or_default();
    let Some((_, name)) = entries(text).find_map(|(_, section, line)| match section {
        "package" => line.split_once('=').filter(|(key, _)| key.trim() == "name"),
        _ => None,
    }) else {
        return Vec::new();
    };
    let name = name.trim().trim_matches('"');
    let Some((_, allowed)) = MAY_USE.iter().find(|(package, _)| *package == name) else {
        let what = format!("{name} is new: say in xtask/src/rules/dependencies.rs what it may use");
        return vec![file.problem(1, what)];
    };
    entries(text)
        .filter(|(_, section, _)| section.ends_with("dependencies"))
        .filter_map(|(number, _, line)| {
            let used = line.split(['.', '=', ' ']).next()?;
            let ours = MAY_USE.iter().any(|(package, _)| *package == used);
            (ours && !allowed.contains(&used))
                .then(|| file.problem(number, format!("{name} must not use {used}")))
        })
        .collect()
}

/// The lines with an entry: number, section and text.
fn entries(text: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    let mut section = "";
    text.lines().enumerate().filter_map(move |(index, line)| {
        if let Some(name) = line.trim().strip_prefix('[') {
            section = name.trim_end_matches(']');
            return None;
        }
        line.contains('=').then_some((index + 1, section, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<usize> {
        let file = File { name: "Cargo.toml".into(), text: Some(text.into()) };
        check(&file).iter().map(|problem| problem.line).collect()
    }

    #[test]
    fn a_dependency_against_the_direction_is_found() {
        let toml = "[package]\nname = \"tessera-core\"\n[dependencies]\ntessera-abi.workspace = true\n\
            tessera-el2.workspace = true\n[dev-dependencies]\ntessera-rt = { path = \"x\" }\n";
        assert_eq!(problems(toml), [5, 7]);
    }

    #[test]
    fn a_crate_that_is_not_in_the_table_is_found_and_a_workspace_is_not() {
        assert_eq!(problems("[package]\nname = \"new\"\n"), [1]);
        let workspace =
            problems("[workspace.dependencies]\ntessera-abi = { path = \"hyp/abi\" }\n");
        assert_eq!(workspace, [0usize; 0]);
    }
}
