//! `cargo xtask doctor`: what is here, what is missing and what to do about it. Changes nothing.

use std::path::Path;
use std::process::{Command, ExitCode};

use clap::Args;

use crate::disk;
use crate::firmware;
use crate::guests::Guests;
use crate::images::Image;
use crate::platform::{self, Platform};
use crate::proc;
use crate::setup::TOOLS;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// Say what is here, what is missing and what to do about it
#[derive(Args)]
pub struct DoctorArgs {}

/// One line of the table.
struct Row {
    name: String,
    /// What was found, or what to do.
    found: Result<String, String>,
}

/// Runs `cargo xtask doctor`; fails when something is missing that nobody but the user can bring.
pub fn run(workspace: &Workspace, _: &DoctorArgs) -> ExitCode {
    let tools = tools();
    let made = made(workspace);
    print(&tools);
    println!();
    print(&made);
    match tools.iter().all(|row| row.found.is_ok()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn tools() -> Vec<Row> {
    let mut rows = vec![Row {
        name: "compiler".into(),
        found: Toolchain::require().map(Toolchain::describe).map_err(|error| error.to_string()),
    }];
    for tool in TOOLS {
        let path = proc::which(tool.program);
        let version = path.as_deref().map(|path| version(path, tool.version));
        let packages = tool.packages.join(" ");
        let found = match (tool.is_here(), version) {
            (true, version) => Ok(version.unwrap_or_default()),
            (false, Some(version)) => Err(format!(
                "{version} is too old for {}: `cargo xtask setup` installs Debian's {packages}",
                tool.purpose
            )),
            (false, None) => Err(format!(
                "for {}: `cargo xtask setup` installs Debian's {packages}",
                tool.purpose
            )),
        };
        rows.push(Row { name: tool.program.into(), found });
    }
    rows
}

/// The first line that a program says about its version.
fn version(path: &Path, option: &str) -> String {
    let output = Command::new(path).arg(option).output();
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().next().map_or_else(|| path.display().to_string(), |line| line.trim().to_string())
}

fn made(workspace: &Workspace) -> Vec<Row> {
    let by_run = || "not yet: `cargo xtask run` makes it".to_string();
    let file = |name: &str, path: &Path| Row {
        name: name.into(),
        found: path.is_file().then(|| workspace.show(path)).ok_or_else(by_run),
    };
    let versions = Guests::new(workspace).versions();
    [
        file("Tessera", &Image::Tessera.path(workspace)),
        Row {
            name: "guests".into(),
            found: versions.map(|text| text.trim().replace('\n', ", ")).ok_or_else(by_run),
        },
        file("disk", &disk::path(workspace, platform::DEFAULT)),
    ]
    .into_iter()
    .chain(Platform::all(workspace).iter().filter_map(|platform| device_tree(workspace, platform)))
    .collect()
}

/// The device tree of a board whose loader does not bring one.
fn device_tree(workspace: &Workspace, platform: &Platform) -> Option<Row> {
    let path = firmware::device_tree_path(workspace, &platform.device_tree().ok()??);
    let command = format!("cargo xtask setup --platform {}", platform.name);
    let found = path.is_file().then(|| workspace.show(&path));
    let found = found.ok_or(format!("for its device tree alone: `{command}` fetches it"));
    Some(Row { name: platform.name.clone(), found })
}

fn print(rows: &[Row]) {
    for row in rows {
        let (mark, text) = match &row.found {
            Ok(text) => ("ok", text),
            Err(text) => ("missing", text),
        };
        println!("{mark:<8} {:<20} {text}", row.name);
    }
}
