//! When a guest starts, and when again: `autostart`, `depends-on`, `restart`, `restart-limit`, `stop-timeout`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::check::about;
use super::problem::{Problem, short};
use super::reader::Reader;
use super::{MAX_GUESTS, MAX_NAME, MAX_PATH, VmConfig};
use crate::life::{Policy, Restart};
use crate::words::nearest;

/// Seconds that a guest has for stopping, where nothing else is said.
const STOP_TIMEOUT: u32 = 30;
/// Longest `stop-timeout`, in seconds: a day.
const LONGEST_TIMEOUT: u32 = 86_400;

/// What a guest's node says of its life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lifecycle {
    /// It is started with the board.
    pub autostart: bool,
    /// Guests that have to run before it is started.
    pub depends_on: Vec<String>,
    /// When it is started again.
    pub policy: Policy,
    /// Seconds that it has for stopping when asked.
    pub stop_timeout: u32,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            autostart: true,
            depends_on: Vec::new(),
            policy: Policy::default(),
            stop_timeout: STOP_TIMEOUT,
        }
    }
}

const DEPENDS_ON: &str = "depends-on";
/// The properties' names.
pub(super) const PROPERTIES: [&str; 5] =
    ["autostart", DEPENDS_ON, "restart", "restart-limit", "stop-timeout"];

/// Reads a guest's.
pub(super) fn parse(reader: &mut Reader<'_, '_>) -> Lifecycle {
    let usual = Lifecycle::default();
    let autostart = one_of(reader, "autostart", &[("yes", true), ("no", false)]);
    let restart = one_of(
        reader,
        "restart",
        &[("never", Restart::Never), ("on-crash", Restart::OnCrash), ("always", Restart::Always)],
    );
    let limit = reader.optional_number("restart-limit", "restart-limit = <5>");
    let timeout = reader.optional_number("stop-timeout", "stop-timeout = <30>");
    if timeout.is_some_and(|seconds| !(1..=LONGEST_TIMEOUT).contains(&seconds)) {
        let what = format!("is not from 1 to {LONGEST_TIMEOUT} seconds");
        reader.problem(Some("stop-timeout"), what);
    }
    Lifecycle {
        autostart: autostart.unwrap_or(usual.autostart),
        depends_on: depends_on(reader),
        policy: Policy {
            restart: restart.unwrap_or(usual.policy.restart),
            limit: limit.unwrap_or(usual.policy.limit),
        },
        stop_timeout: timeout.unwrap_or(usual.stop_timeout),
    }
}

/// A text of which there are few.
pub(super) fn one_of<T: Copy>(
    reader: &mut Reader<'_, '_>,
    property: &'static str,
    known: &[(&str, T)],
) -> Option<T> {
    let text = reader.text(property, MAX_PATH)?;
    let found = known.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    if found.is_none() {
        let mut what = format!("\"{}\" is unknown; write ", short(text));
        for (n, (word, _)) in known.iter().enumerate() {
            let separator = match n {
                0 => "",
                _ if n + 1 == known.len() => " or ",
                _ => ", ",
            };
            what.push_str(&format!("{separator}\"{word}\""));
        }
        reader.problem(Some(property), what);
    }
    found
}

fn depends_on(reader: &mut Reader<'_, '_>) -> Vec<String> {
    let names = reader.texts(DEPENDS_ON, MAX_NAME, MAX_GUESTS);
    let mut kept: Vec<String> = Vec::new();
    for name in names {
        if name == reader.guest() {
            reader.problem(Some(DEPENDS_ON), "is the guest itself; take the name out".into());
        } else if !kept.iter().any(|other| other == name) {
            kept.push(name.into());
        }
    }
    kept
}

/// Holds `depends-on` against the guests there are: those of `vms`, and others of `names` that have problems of their own.
pub(super) fn check_dependencies(vms: &[VmConfig], names: &[&str]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for vm in vms {
        for name in &vm.life.depends_on {
            if !names.contains(&name.as_str()) {
                let meant = nearest(name, names);
                let advice =
                    meant.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                problems.push(about(vm, DEPENDS_ON, format!("there is no guest `{name}`{advice}")));
            } else if waits_for(vms, name, &vm.name) {
                let what =
                    format!("`{name}` waits for this guest in turn; take one of the two out");
                problems.push(about(vm, DEPENDS_ON, what));
            }
        }
    }
    problems
}

/// Guests that depend on one that is left out, or on one that is left out for that.
pub(super) fn orphans(vms: &[VmConfig]) -> Vec<Problem> {
    let mut left: Vec<&VmConfig> = vms.iter().collect();
    let mut problems = Vec::new();
    loop {
        let there = |name: &String, left: &[&VmConfig]| left.iter().any(|vm| vm.name == *name);
        let lost = left.iter().enumerate().find_map(|(index, vm)| {
            let missing = vm.life.depends_on.iter().find(|name| !there(name, &left))?;
            Some((index, format!("`{missing}`, which this guest waits for, cannot be started")))
        });
        let Some((index, what)) = lost else { return problems };
        problems.push(about(left.remove(index), DEPENDS_ON, what));
    }
}

/// Whether `from` waits for `to`, over any number of others.
fn waits_for(vms: &[VmConfig], from: &str, to: &str) -> bool {
    let mut reached: Vec<&str> = Vec::from([from]);
    let mut next = 0;
    while let Some(&name) = reached.get(next) {
        next += 1;
        for other in vms.iter().filter(|vm| vm.name == name).flat_map(|vm| &vm.life.depends_on) {
            if other == to {
                return true;
            }
            if !reached.contains(&other.as_str()) {
                reached.push(other);
            }
        }
    }
    false
}
