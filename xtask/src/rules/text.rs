//! Rules for every file: it is text, it leaves no work for later, it names no machine on the network.

use super::{File, Problem};

/// Words for work that somebody should have done, in two parts so that this file does not have them.
const LATER: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Checks one file.
pub fn check(file: &File) -> Vec<Problem> {
    let Some(text) = &file.text else {
        return vec![file.problem(1, "not a text file: build it or fetch it instead")];
    };
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(word) = LATER.iter().find(|word| has_word(line, word)) {
            found.push(file.problem(index + 1, format!("{word}: do it now or leave it out")));
        }
        if let Some(host) = host(line).filter(|_| !is_given(&file.name)) {
            let what =
                format!("the host name {host}: derive it from the user's machine or leave it out");
            found.push(file.problem(index + 1, what));
        }
    }
    found
}

/// Texts that are not ours to word: cargo's lock file and the licences.
fn is_given(name: &str) -> bool {
    name == "Cargo.lock" || name.starts_with("LICENSE")
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric()).any(|found| found == word)
}

/// The host in a line's URL, unless it is one of those that are reserved for examples (RFC 2606).
fn host(line: &str) -> Option<&str> {
    line.split("://").skip(1).find_map(|rest| {
        let host = rest.split(|c: char| !(c.is_alphanumeric() || "-.".contains(c))).next()?;
        (host.contains('.') && !host.ends_with(".example")).then_some(host)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let file = File { name: "a.rs".into(), text: Some(text.into()) };
        check(&file).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn work_left_for_later_is_found_as_a_word() {
        let word = LATER[0];
        assert_eq!(problems(&format!("a\n// {word}: b")).len(), 1);
        assert!(problems(&format!("{word}S {}", word.to_lowercase())).is_empty());
    }

    #[test]
    fn a_host_name_in_a_url_is_found_and_an_example_is_not() {
        let url = |host: &str| format!("see http:{}{host}/path", "//");
        assert!(problems(&url("archive.vendor.org"))[0].contains("archive.vendor.org"));
        assert!(problems(&url("archive.example")).is_empty());
        assert!(problems("file:///etc/x").is_empty());
    }

    #[test]
    fn a_binary_file_is_found() {
        let file = File { name: "a.img".into(), text: None };
        assert_eq!(check(&file).len(), 1);
    }
}
