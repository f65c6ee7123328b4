//! The list of tests, and how they are run: each on every machine that it fits, one after the other.
//!
//! Problem: the harness that comes with the compiler has one function a test, no times, and a report that only people can
//! read. Idea: a table a file, [`tests!`](crate::tests), with the machines before the tests; a test's name is then
//! `MACHINE::file::sentence`, so that a part of it picks a test, a file or a machine. Where `TESSERA_JUNIT` names a file,
//! the results are written there after each test, so that a run which was stopped has left what it knows.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::machine::Machine;
use crate::serial::Serial;

/// A test and the machines that it fits.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    /// Crate, file and sentence, as `::` separates them.
    pub name: &'static str,
    /// The machines.
    pub machines: &'static [Machine],
    /// The test.
    pub run: fn(Machine),
}

/// `TESTS`, the table of a file: machines, and the functions that run on each of them.
#[macro_export]
macro_rules! tests {
    ($($machines:ident: $($name:ident),+ $(,)?;)+) => {
        pub const TESTS: &[$crate::harness::Test] = &[$($($crate::harness::Test {
            name: concat!(module_path!(), "::", stringify!($name)),
            machines: $machines,
            run: $name,
        }),+),+];
    };
}

thread_local! {
    /// What the last panic of this thread said, and where.
    static LAST_WORDS: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs those that the command line picks.
pub fn run(tables: &[&[Test]]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One board at a time.
    arguments.test_threads = Some(1);
    if let Err(error) = Serial::check() {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(|at| format!("{}:{}: ", at.file(), at.line()));
        let words = format!("{}{}", place.unwrap_or_default(), message(info.payload()));
        LAST_WORDS.set(words);
    }));
    let journal = Arc::new(Journal::default());
    let tests = || tables.iter().copied().flatten();
    let trials = Machine::of_this_run().iter().flat_map(|machine| {
        let fitting = tests().filter(|test| test.machines.contains(machine));
        fitting.map(|test| trial(*test, *machine, journal.clone()))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn trial(test: Test, machine: Machine, journal: Arc<Journal>) -> Trial {
    let (_, name) = test.name.split_once("::").unwrap_or(("", test.name));
    Trial::test(format!("{}::{name}", machine.name()), move || {
        let begin = Instant::now();
        let result = panic::catch_unwind(AssertUnwindSafe(|| (test.run)(machine)));
        let words = result.err().map(|_| LAST_WORDS.take());
        journal.enter(machine, name, begin.elapsed(), words.as_deref());
        words.map_or(Ok(()), |words| Err(Failed::from(words)))
    })
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("no message").to_string()
}

/// What is known so far, for the report.
struct Journal {
    path: Option<PathBuf>,
    suites: Mutex<Vec<TestSuite>>,
}

impl Default for Journal {
    fn default() -> Self {
        let path = std::env::var_os("TESSERA_JUNIT").map(PathBuf::from);
        Self { path, suites: Mutex::default() }
    }
}

impl Journal {
    fn enter(&self, machine: Machine, name: &str, time: Duration, words: Option<&str>) {
        let Some(path) = &self.path else { return };
        let mut suites = self.suites.lock().unwrap_or_else(PoisonError::into_inner);
        let known = suites.iter().position(|suite| suite.name.as_str() == machine.name());
        let place = known.unwrap_or_else(|| {
            suites.push(TestSuite::new(machine.name()));
            suites.len() - 1
        });
        suites[place].add_test_case(case(name, time, words));
        if let Err(error) = write(path, &suites) {
            eprintln!("cannot write {}: {error}", path.display());
        }
    }
}

/// The entry of one test: `file::sentence`, and what it said if it failed.
fn case(name: &str, time: Duration, words: Option<&str>) -> TestCase {
    let status = words.map_or_else(TestCaseStatus::success, |words| {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(words.lines().next().unwrap_or_default()).set_description(words);
        status
    });
    let (file, sentence) = name.rsplit_once("::").unwrap_or(("", name));
    let mut case = TestCase::new(sentence, status);
    case.set_classname(format!("system::{file}")).set_time(time);
    case
}

fn write(path: &Path, suites: &[TestSuite]) -> std::io::Result<()> {
    let mut report = Report::new("tessera");
    report.add_test_suites(suites.iter().cloned());
    let text = report.to_string().map_err(std::io::Error::other)?;
    std::fs::write(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failed_test_says_is_escaped() {
        let words = "waiting for <x> & \"y\"\n\u{1b}[31mred\u{0}]]>";
        let mut suite = TestSuite::new("virt-gicv3");
        suite.add_test_case(case("probe::a_sentence", Duration::from_millis(1500), Some(words)));
        let mut report = Report::new("tessera");
        report.add_test_suite(suite);
        let text = report.to_string().unwrap();
        for part in [
            r#"<testsuite name="virt-gicv3" tests="1" skipped="0" errors="0" failures="1""#,
            r#"<testcase name="a_sentence" classname="system::probe" time="1.500""#,
            "waiting for &lt;x&gt; &amp; &quot;y&quot;",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        assert!(
            !text.contains('\u{1b}') && !text.contains('\0') && !text.contains("]]>"),
            "{text}"
        );
    }
}
