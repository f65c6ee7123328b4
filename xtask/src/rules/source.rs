//! Rules for Rust sources: short files, `unsafe` only where hardware is, and each with its reason.

use super::{File, Problem};

/// Lines of a file before its tests.
const LONGEST: usize = 400;
/// A reason stands at most so many lines above the word that it explains.
const NEAR: usize = 3;
/// What stands before tests.
const TESTS: &str = "#[cfg(test)]";
/// What stands before models that tests and fuzz targets share.
const MODELS: &str = "#[cfg(any(test, feature = \"fake\"))]";
/// The only places that touch hardware.
const HARDWARE: &[&str] = &["hyp/el2/", "guests/"];

/// Where the hypervisor is, and its one kind of lock: another would be silent while it waits for ever.
const HYPERVISOR: &str = "hyp/";
const LOCK: &str = "hyp/core/src/lock.rs";

/// The files that only tests have: those of modules under `#[cfg(test)]`, with their own modules.
pub struct TestModules(Vec<String>);

impl TestModules {
    /// Finds them by their declarations.
    pub fn of(files: &[File]) -> Self {
        let mut paths = Vec::new();
        for file in files.iter().filter(|file| file.name.ends_with(".rs")) {
            let stem = file.name.trim_end_matches(".rs");
            // Where the modules of this file are.
            let directory = match stem.rsplit_once('/') {
                Some((directory, "mod" | "lib" | "main")) => directory,
                _ => stem,
            };
            let mut in_test = false;
            for line in file.text.as_deref().unwrap_or_default().lines().map(str::trim) {
                let declared =
                    line.rsplit_once("mod ").and_then(|(_, rest)| rest.strip_suffix(';'));
                if let Some(name) = declared.filter(|_| in_test) {
                    paths.push(format!("{directory}/{name}"));
                }
                in_test = [TESTS, MODELS].contains(&line) || in_test && line.starts_with("#[");
            }
        }
        TestModules(paths)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|path| {
            name.strip_prefix(path).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        })
    }
}

/// Checks one source file.
pub fn check(file: &File, tests: &TestModules) -> Vec<Problem> {
    let text = file.text.as_deref().unwrap_or_default();
    let mut found = Vec::new();
    let length = length(text);
    if length > LONGEST && !tests.has(&file.name) {
        let what = format!("{length} lines before the tests, {LONGEST} are the most: split it");
        found.push(file.problem(LONGEST + 1, what));
    }
    let code = code_only(text);
    let lines: Vec<&str> = text.lines().collect();
    for (index, line) in code.lines().enumerate().filter(|(_, line)| has_unsafe(line)) {
        if !HARDWARE.iter().any(|place| file.name.starts_with(place)) {
            found.push(file.problem(index + 1, "unsafe outside of hyp/el2 and guests"));
        } else if !has_reason(&lines, index) && !is_attribute(line) {
            let what = format!("unsafe without a SAFETY comment at most {NEAR} lines above");
            found.push(file.problem(index + 1, what));
        }
    }
    if file.name.starts_with(HYPERVISOR) && file.name != LOCK {
        let others = code.lines().enumerate().filter(|(_, line)| is_other_lock(line));
        let what = "a lock that waits for ever in silence: use tessera_core::lock::Mutex";
        found.extend(others.map(|(index, _)| file.problem(index + 1, what)));
    }
    found
}

/// Lines before the tests, which come last; a test module in a file of its own is but a line.
fn length(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let is_inline = |at: usize| {
        lines[at + 1..]
            .iter()
            .find(|line| line.contains("mod "))
            .is_some_and(|line| line.ends_with('{'))
    };
    let tests = (0..lines.len()).find(|at| lines[*at].trim() == TESTS && is_inline(*at));
    tests.unwrap_or(lines.len())
}

/// `#[unsafe(no_mangle)]` is no operation, and the linker finds a name that is there twice.
fn is_attribute(line: &str) -> bool {
    line.trim_start().starts_with("#[unsafe(")
}

fn has_unsafe(line: &str) -> bool {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == "unsafe")
}

/// One of spin's locks, by its path or in a list of imports.
fn is_other_lock(line: &str) -> bool {
    let path = line.split_once("spin::").map(|(_, path)| path).unwrap_or_default();
    ["Mutex", "RwLock", "mutex", "rwlock", "*"].iter().any(|lock| path.contains(lock))
}

/// A `SAFETY` near the line, or in the comment that ends near it: `# Safety` of a function's description.
fn has_reason(lines: &[&str], index: usize) -> bool {
    let says = |line: &&str| line.contains("SAFETY") || line.contains("# Safety");
    let near = &lines[index.saturating_sub(NEAR)..=index];
    let is_comment = |line: &&&str| {
        let line = line.trim_start();
        line.starts_with("//") || line.starts_with("#[")
    };
    near.iter().any(says) || lines[..index].iter().rev().take_while(is_comment).any(says)
}

/// `text` with comments, strings and character literals blanked; lines stay.
fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = at + skipped(&bytes[at..]);
        if end == at {
            code.push(bytes[at]);
            at += 1;
            continue;
        }
        let blanked = bytes[at..end.min(bytes.len())].iter();
        code.extend(blanked.map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
        at = end;
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// How many bytes at the start of `rest` are no code; 0 when it is code.
fn skipped(rest: &[u8]) -> usize {
    let until = |needle: &[u8], from: usize| {
        let tail = rest.get(from..).unwrap_or_default();
        let found = tail.windows(needle.len()).position(|window| window == needle);
        found.map_or(rest.len(), |position| from + position + needle.len())
    };
    match rest {
        [b'/', b'/', ..] => until(b"\n", 0) - usize::from(rest.contains(&b'\n')),
        [b'/', b'*', ..] => until(b"*/", 2),
        [b'r', b'"', ..] => until(b"\"", 2),
        [b'r', b'#', b'"', ..] => until(b"\"#", 3),
        [b'"', ..] => quoted(rest),
        // A character, not a lifetime.
        [b'\'', b'\\', ..] => until(b"'", 3),
        [b'\'', _, b'\'', ..] => 3,
        _ => 0,
    }
}

/// The length of a string literal with its escapes.
fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = rest.get(at) {
        at += match byte {
            b'\\' => 2,
            b'"' => return at + 1,
            _ => 1,
        };
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(name: &str, text: &str) -> Vec<usize> {
        let file = File { name: name.into(), text: Some(text.into()) };
        let tests = TestModules::of(&[]);
        check(&file, &tests).iter().map(|problem| problem.line).collect()
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_are_not_counted() {
        let long = "x\n".repeat(LONGEST);
        assert_eq!(
            problems("a.rs", &format!("{long}#[cfg(test)]\nmod tests {{\n{long}")),
            [0usize; 0]
        );
        assert_eq!(problems("a.rs", &format!("#[cfg(test)]\nmod tests;\n{long}")), [LONGEST + 1]);
        assert_eq!(problems("a.rs", &format!("{long}x\n")), [LONGEST + 1]);
    }

    #[test]
    fn a_module_of_tests_may_be_long() {
        let file = |name: &str, text: &str| File { name: name.into(), text: Some(text.into()) };
        let files = [
            file("a/mod.rs", "#[cfg(test)]\n#[path = \"x\"]\npub(crate) mod model;\nmod other;\n"),
            file("b.rs", "#[cfg(test)]\nmod tests;\n"),
            file("c.rs", "#[cfg(any(test, feature = \"fake\"))]\npub(crate) mod model;\n"),
        ];
        let tests = TestModules::of(&files);
        let names =
            ["a/model.rs", "b/tests.rs", "b/tests/x.rs", "c/model.rs", "a/other.rs", "a/models.rs"];
        assert_eq!(names.map(|name| tests.has(name)), [true, true, true, true, false, false]);
    }

    #[test]
    fn unsafe_is_only_for_hardware_and_needs_its_reason() {
        assert_eq!(problems("hyp/core/src/a.rs", "// SAFETY: no\nunsafe {}\n"), [2]);
        assert_eq!(
            problems("hyp/el2/src/a.rs", "// SAFETY: yes\n\nlet a =\n    unsafe {};\n"),
            [0usize; 0]
        );
        assert_eq!(problems("hyp/el2/src/a.rs", "// SAFETY: far\n\n\n\nunsafe {}\n"), [5]);
        let described = "/// # Safety\n/// a\n/// b\n/// c\n/// d\n#[inline]\nunsafe fn f() {}\n";
        assert_eq!(problems("guests/rt/src/a.rs", described), [0usize; 0]);
    }

    #[test]
    fn the_hypervisor_has_one_kind_of_lock() {
        let text =
            "use spin::Mutex;\nuse spin::{Mutex, Once};\nuse spin::Once;\na: spin::RwLock<()>,\n";
        assert_eq!(problems("hyp/core/src/a.rs", text), [1, 2, 4]);
        assert_eq!(problems("hyp/core/src/lock.rs", text), [0usize; 0]);
        assert_eq!(problems("guests/rt/src/a.rs", text), [0usize; 0]);
        assert_eq!(problems("hyp/el2/src/a.rs", "use tessera_core::lock::Mutex;\n"), [0usize; 0]);
    }

    #[test]
    fn words_in_comments_and_strings_are_no_code() {
        let text = "// unsafe\n/* unsafe\nunsafe */ let a = \"unsafe \\\" unsafe\"; let b = r#\"unsafe\"#;\n\
            let c = '\"'; let d = \"unsafe\"; fn f<'a>() {} let e = '\\''; forbid(unsafe_code)\n";
        assert_eq!(problems("a.rs", text), [0usize; 0]);
        let behind = format!("let c = '\"'; {} {{}}", "unsafe");
        assert_eq!(problems("a.rs", &behind), [1], "what is behind a quotation mark is code");
    }

    #[test]
    fn no_source_text_stops_the_check() {
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        let alphabet = ["\"", "'", "\\", "/", "*", "r#\"", "\n", "unsafe", " ", "é", "#"];
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                text.push_str(alphabet[(seed % alphabet.len() as u64) as usize]);
            }
            assert_eq!(code_only(&text).lines().count(), text.lines().count(), "{text:?}");
        }
    }
}
