//! Results: what `cargo test` prints, counted, and as JUnit XML for those who collect it.
//!
//! The compiler's own harness has a report for machines only in unstable compilers, so the lines for people are read: what
//! a test's name is and whether it failed has not changed in ten years. The system tests write their report themselves.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

/// How many tests said what, and the suites of the report.
#[derive(Default)]
pub struct Results {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    suites: Vec<TestSuite>,
}

impl Results {
    /// Takes the lines of one `cargo test` into this suite.
    pub fn read(&mut self, suite: &str, lines: impl Iterator<Item = Result<String>>) -> Result<()> {
        let mut failures = Failures::default();
        for line in lines {
            let line = line.context("cannot read what the tests print")?;
            if let Some((passed, failed)) = result(&line) {
                self.passed += passed;
                self.failed += failed;
            } else if let Some((name, passed)) = outcome(&line) {
                self.suite(suite).add_test_case(case(name, passed));
            }
            failures.feed(&line);
        }
        for (name, output) in failures.outputs {
            let cases = self.suite(suite).test_cases.iter_mut();
            let case = cases.rev().find(|case| full_name(case) == name);
            if let Some(case) = case {
                case.status.set_message(first_words(&output)).set_description(output);
            }
        }
        Ok(())
    }

    /// Enters that tests could not be run.
    pub fn fail(&mut self, suite: &str, why: &str) {
        self.failed += 1;
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(why);
        self.suite(suite).add_test_case(TestCase::new("cargo test", status));
    }

    /// Counts what another counted.
    pub fn take_counts(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// Takes the suites of a report, or those of `otherwise` if no test lived to write it.
    pub fn take_report(&mut self, path: &Path, otherwise: Self) -> Result<()> {
        let suites = match std::fs::read_to_string(path) {
            Ok(text) => {
                let report = Report::deserialize_from_str(&text);
                report.with_context(|| format!("{} is no report", path.display()))?.test_suites
            }
            Err(_) => otherwise.suites,
        };
        self.suites.extend(suites);
        Ok(())
    }

    /// Writes the report, if there is to be one, and says the sum.
    pub fn finish(self, junit: Option<&Path>) -> Result<ExitCode> {
        if let Some(path) = junit {
            let mut report = Report::new("tessera");
            report.add_test_suites(self.suites);
            let text = report.to_string().context("cannot make the report")?;
            std::fs::write(path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        Ok(if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn suite(&mut self, name: &str) -> &mut TestSuite {
        let known = self.suites.iter().position(|suite| suite.name.as_str() == name);
        let place = known.unwrap_or_else(|| {
            self.suites.push(TestSuite::new(name));
            self.suites.len() - 1
        });
        &mut self.suites[place]
    }
}

/// `(3, 1)` of `test result: FAILED. 3 passed; 1 failed; 0 ignored; …`.
fn result(line: &str) -> Option<(usize, usize)> {
    let line = line.strip_prefix("test result: ")?;
    let number = |what: &str| {
        let part = line.split([';', '.']).find(|part| part.trim().ends_with(what))?;
        part.split_whitespace().next()?.parse().ok()
    };
    Some((number("passed")?, number("failed")?))
}

/// `("a::b", true)` of `test a::b ... ok`.
fn outcome(line: &str) -> Option<(&str, bool)> {
    let (name, outcome) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let passed = match outcome {
        "ok" => true,
        "FAILED" => false,
        _ => return None,
    };
    Some((name.trim_end(), passed))
}

/// A test by its whole name, of which the last part is the sentence.
fn case(name: &str, passed: bool) -> TestCase {
    let (class, sentence) = name.rsplit_once("::").unwrap_or(("", name));
    let status = if passed {
        TestCaseStatus::success()
    } else {
        TestCaseStatus::non_success(NonSuccessKind::Failure)
    };
    let mut case = TestCase::new(sentence, status);
    case.set_classname(class);
    case
}

fn full_name(case: &TestCase) -> String {
    match case.classname.as_ref().map(|class| class.as_str()) {
        Some(class) if !class.is_empty() => format!("{class}::{}", case.name.as_str()),
        _ => case.name.as_str().to_string(),
    }
}

/// The line that says what is wrong: the one behind the panic's place.
fn first_words(output: &str) -> &str {
    let mut lines = output.lines().filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    if first.contains("panicked at") { lines.next().unwrap_or(first) } else { first }
}

/// What failed tests printed: the parts of the section `failures:`, each under its test's name.
#[derive(Default)]
struct Failures {
    outputs: Vec<(String, String)>,
    open: bool,
}

impl Failures {
    fn feed(&mut self, line: &str) {
        let named = line.strip_prefix("---- ").and_then(|line| line.strip_suffix(" ----"));
        if let Some(name) = named {
            let name = name.strip_suffix(" stdout").unwrap_or(name);
            self.outputs.push((name.to_string(), String::new()));
            self.open = true;
        } else if line == "failures:" {
            // The second time come the names alone.
            self.open = false;
        } else if let Some((_, output)) = self.outputs.last_mut().filter(|_| self.open) {
            output.push_str(line);
            output.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\nrunning 3 tests\ntest a::one_is_one ... ok\ntest b::two ... FAILED\n\
        test c ... ignored\ntest src/lib.rs - x (line 3) ... ok\n\nfailures:\n\n\
        ---- b::two stdout ----\n\nthread 'b::two' (7) panicked at src/b.rs:3:5:\n\
        left < right & \u{1b}[1mso on\n\n\nfailures:\n    b::two\n\n\
        test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out\n";

    fn results() -> Results {
        let mut results = Results::default();
        let lines = PRINTED.lines().map(|line| Ok(line.to_string()));
        results.read("host", lines).unwrap();
        results
    }

    #[test]
    fn a_result_line_is_counted() {
        let line = "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 2 filtered out";
        assert_eq!(result(line), Some((3, 1)));
        assert_eq!(result("test result: ok. 12 passed; 0 failed; 0 ignored"), Some((12, 0)));
        assert_eq!(result("test a ... ok"), None);
        assert_eq!(result("test result: "), None);
    }

    #[test]
    fn printed_lines_become_a_report() {
        let results = results();
        assert_eq!((results.passed, results.failed), (2, 1));
        let path = std::env::temp_dir().join(format!("tessera-junit-{}.xml", std::process::id()));
        results.finish(Some(&path)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        for part in [
            r#"<testsuite name="host" tests="3" skipped="0" errors="0" failures="1">"#,
            r#"<testcase name="one_is_one" classname="a""#,
            r#"<failure message="left &lt; right &amp; so on">"#,
            "panicked at src/b.rs:3:5",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        assert!(!text.contains("test result"), "{text}");
    }

    #[test]
    fn a_report_is_taken_over_and_a_run_without_one_is_known_by_its_lines() {
        let path = std::env::temp_dir().join(format!("tessera-taken-{}.xml", std::process::id()));
        results().finish(Some(&path)).unwrap();
        let mut taken = Results::default();
        taken.take_report(&path, Results::default()).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(taken.suites[0].test_cases.len(), 3);
        let mut failed = Results::default();
        failed.fail("system", "it did not compile");
        taken.take_report(&path, failed).unwrap();
        assert_eq!(taken.suites[1].test_cases[0].name.as_str(), "cargo test");
    }
}
