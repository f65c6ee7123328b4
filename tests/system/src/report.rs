//! What a test says that fails.

/// Lines of each that are printed when a test fails.
const LAST_LINES: usize = 150;
/// Characters of a line that are: a flood is no more to be read than its beginning.
const LINE: usize = 300;
/// What lines begin with in which a guest of ours says what is wrong.
const COMPLAINTS: [&str; 3] = ["broken ", "not ok ", "GUEST-DIED "];

/// Why a test failed, what guests complained of, which must not be cut off or buried, and what each printed last.
pub fn report<'a>(why: &str, all: impl Iterator<Item = (&'a str, String)>) -> String {
    let (mut complaints, mut printed) = (String::new(), String::new());
    for (who, said) in all {
        let lines: Vec<&str> = said.lines().collect();
        let complain = |line: &&&str| COMPLAINTS.iter().any(|mark| line.starts_with(mark));
        for line in lines.iter().filter(complain).take(LAST_LINES) {
            complaints.push_str(&format!("{who}: {}\n", shortened(line)));
        }
        printed.push_str(&format!("--- what {who} printed ({} lines)\n", lines.len()));
        for line in lines.iter().skip(lines.len().saturating_sub(LAST_LINES)) {
            printed.push_str(&format!("{}\n", shortened(line)));
        }
    }
    format!("{why}\n{complaints}{printed}")
}

fn shortened(line: &str) -> String {
    match line.char_indices().nth(LINE) {
        Some((end, _)) => format!("{}... and {} bytes more", &line[..end], line.len() - end),
        None => line.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_complains_of_comes_first_and_no_flood_buries_it() {
        let flood = "é".repeat(20_000);
        let said = format!("broken 17 a cpu is gone\n{flood}\n{}not ok 3\n", "x\n".repeat(1000));
        let report = report("promises are broken", [("web", said)].into_iter());
        let mut lines = report.lines();
        assert_eq!(lines.next(), Some("promises are broken"));
        assert_eq!(lines.next(), Some("web: broken 17 a cpu is gone"));
        assert_eq!(lines.next(), Some("web: not ok 3"));
        assert!(report.len() < 2000, "{} bytes", report.len());
        assert!(shortened(&flood).ends_with("... and 39400 bytes more"));
    }
}
