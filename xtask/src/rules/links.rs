//! A link in the documentation leads somewhere: to a file of the tree and to a heading in it.

use super::{File, Problem};

/// Checks one Markdown file among all `files`.
pub fn check(file: &File, files: &[File]) -> Vec<Problem> {
    let mut found = Vec::new();
    let text = file.text.as_deref().unwrap_or_default();
    for (index, line) in text.lines().enumerate() {
        for target in targets(line) {
            if let Some(what) = dead(file, target, files) {
                found.push(
                    file.problem(index + 1, format!("the link {target} leads nowhere: {what}")),
                );
            }
        }
    }
    found
}

/// What stands in `](…)`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next())
}

fn dead(from: &File, target: &str, files: &[File]) -> Option<String> {
    if target.contains("://") {
        return None;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() { from.name.clone() } else { resolve(&from.name, path)? };
    let is_directory = || files.iter().any(|file| file.name.starts_with(&format!("{path}/")));
    let Some(to) = files.iter().find(|file| file.name == path) else {
        return (!is_directory()).then(|| format!("there is no {path}"));
    };
    let text = to.text.as_deref().unwrap_or_default();
    let known =
        anchor.is_empty() || text.lines().any(|line| heading(line).as_deref() == Some(anchor));
    (!known).then(|| format!("{path} has no heading {anchor}"))
}

/// `to` as seen from the file `from`; a name outside the tree stays one that no file has.
fn resolve(from: &str, to: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in to.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The anchor that a heading gets where Markdown is shown.
fn heading(line: &str) -> Option<String> {
    let title = line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ')?;
    let kept = title.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    Some(kept.collect::<String>().to_lowercase().replace(' ', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> File {
        File { name: name.into(), text: Some(text.into()) }
    }

    #[test]
    fn links_to_files_directories_and_headings_are_followed() {
        let files = [file("docs/a.md", "# One two, three\n"), file("docs/adr/1.md", "x")];
        let text =
            "[a](docs/a.md) [b](docs/a.md#one-two-three) [c](docs/adr/) [d](#here)\n## Here\n";
        let readme = file("README.md", text);
        let all = [files, [file("README.md", text), file("x", "")]].concat_files();
        assert_eq!(check(&readme, &all), []);
    }

    #[test]
    fn a_dead_link_is_found() {
        let from = file("docs/a.md", "[x](b.md)\n[y](../README.md#no)\n[z](../no/such)");
        let all = [file("README.md", "# Yes")];
        let lines: Vec<usize> = check(&from, &all).iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [1, 2, 3]);
    }

    trait ConcatFiles {
        fn concat_files(self) -> Vec<File>;
    }

    impl<const N: usize, const M: usize> ConcatFiles for [[File; N]; M] {
        fn concat_files(self) -> Vec<File> {
            self.into_iter().flatten().collect()
        }
    }
}
