//! Other programs: found, started, and their last words shown when they fail.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Lines of a failed program's output that are worth showing.
const LAST_WORDS: usize = 30;

/// Runs `command` with its output kept, and returns what it wrote to stdout.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start `{shown}`"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = stdout.lines().chain(stderr.lines()).collect();
    let tail = lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n");
    bail!("`{shown}` failed ({}):\n{tail}", output.status)
}

/// Runs `command` with its output shown as it comes.
pub fn show_output(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command.status().with_context(|| format!("could not start `{shown}`"))?;
    ensure!(status.success(), "`{shown}` failed ({status})");
    Ok(())
}

/// Runs `command` and shows, when it has ended, what it said on stderr: it disturbs no progress bar. Paragraphs with
/// `known`, if there is such a text, are left out.
pub fn show_after(command: &mut Command, known: Option<&str>) -> Result<()> {
    let shown = show(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start `{shown}`"))?;
    eprint!("{}", without(&String::from_utf8_lossy(&output.stderr), known));
    ensure!(output.status.success(), "`{shown}` failed ({})", output.status);
    Ok(())
}

/// `text` without its paragraphs that have `known` in them.
fn without(text: &str, known: Option<&str>) -> String {
    let is_new = |paragraph: &&str| known.is_none_or(|known| !paragraph.contains(known));
    text.split_inclusive("\n\n").filter(is_new).collect()
}

/// Where `program` is: in PATH, or in the directories for administrators that a user's PATH may lack.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A command as one would type it in a shell.
pub fn show(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| quote(&word.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_string()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("apt-get");
        command.args(["-o", "A::B=c", "it's", ""]);
        assert_eq!(show(&command), r"apt-get -o A::B=c 'it'\''s' ''");
    }

    #[test]
    fn a_paragraph_that_is_known_is_left_out_and_all_others_are_shown() {
        let text = "warning: a\n  |\n\nwarning: b is old\n  = note\n\nerror: c\n";
        assert_eq!(without(text, Some("b is")), "warning: a\n  |\n\nerror: c\n");
        assert_eq!(without(text, None), text);
    }

    #[test]
    fn a_failed_program_has_its_last_words_in_the_error() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let error = output(&mut command).unwrap_err().to_string();
        assert!(error.contains("out\nerr"), "{error}");
        assert!(error.contains('3'), "{error}");
    }
}
