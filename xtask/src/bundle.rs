//! `cargo xtask bundle`: packs a configuration and the files that it names.
//!
//! Problem: what is wrong with a configuration should be said where it is written, before a board has booted with it.
//! Idea: the reader that the board uses ([`tessera_core::config`]) reads the compiled tree here too, and dtc's own
//! annotations lead from its problems back to lines ([`source`]). What is written is read back by the board's reader
//! before it replaces anything.

mod fit;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tessera_core::bundle::{Bundle, File};
use tessera_core::config::{self, Config, Problem, VmConfig};
use tessera_core::fdt::Fdt;
use tessera_core::image::Kernel;

use crate::proc;
use source::Source;

/// Pack a configuration with its kernels and ramdisks
///
/// File names in the configuration are relative to it. The bundle is what the board gets as its initial ramdisk.
#[derive(Args)]
pub struct BundleArgs {
    /// The configuration
    #[arg(value_name = "FILE.dts")]
    config: PathBuf,
    /// Where to write the bundle
    #[arg(short, long, value_name = "FILE.itb")]
    output: PathBuf,
}

/// Runs `cargo xtask bundle`.
pub fn run(args: &BundleArgs) -> Result<()> {
    let dtc = proc::which("dtc").context("dtc is missing: run `cargo xtask setup`")?;
    build(&args.config, &args.output, &dtc)?;
    let bytes = fs::metadata(&args.output)?.len();
    eprintln!("{}: {:.1} MiB", args.output.display(), bytes as f64 / f64::from(1 << 20));
    Ok(())
}

/// The files that a configuration names, each by that name.
type Files = BTreeMap<String, Result<Vec<u8>, String>>;

/// Packs the configuration `dts` into `out`, with the compiler `dtc`. `out` is replaced as a whole or not at all.
pub fn build(dts: &Path, out: &Path, dtc: &Path) -> Result<()> {
    let source = Source::compile(dts, dtc)?;
    let tree = Fdt::new(source.blob()).context("dtc wrote a tree that cannot be read")?;
    let mut config = config::parse(&tree);
    let files = read_files(&config, dts.parent().unwrap_or(Path::new("")));
    // First: what a damaged one says of its length is not to be believed.
    let problems = check_packed(&config, &files);
    config.reject(problems);
    let problems = config::check_files(&config, |name| file(&files, name));
    config.reject(problems);
    if !config.problems.is_empty() {
        bail!(report(&config.problems, &source));
    }
    let bundle = fit::write(source.blob(), &config, &files)?;
    ensure!(reads_back(&bundle), "the bundle does not read back as it was written");
    replace(out, &bundle)
}

/// Whether the board will find every file whole, whichever hash it goes by.
fn reads_back(blob: &[u8]) -> bool {
    let Ok(bundle) = Bundle::parse(blob) else { return false };
    let whole = |file: File<'_>| {
        file.verify().is_ok() && (0..file.pieces()).all(|piece| file.verify_piece(piece).is_ok())
    };
    bundle.config().is_ok() && bundle.files().all(whole)
}

fn read_files(config: &Config, base: &Path) -> Files {
    let names = config.vms.iter().flat_map(|vm| [Some(&vm.kernel), vm.ramdisk.as_ref()]);
    let read = |name: &String| {
        let path = base.join(name);
        let content = fs::read(&path).map_err(|error| {
            let error = error.to_string();
            let reason = error.split(" (os error").next().unwrap_or_default();
            format!("cannot read {}: {}", path.display(), reason.to_lowercase())
        });
        (name.clone(), content)
    };
    let initial = config.groups.iter().map(|group| group.initial.as_ref());
    names.chain(initial).flatten().map(read).collect()
}

fn file<'a>(files: &'a Files, name: &str) -> Result<&'a [u8], String> {
    match files.get(name) {
        Some(Ok(content)) if content.is_empty() => Err(format!("{name} is empty; fetch it again")),
        Some(Ok(content)) => Ok(content),
        Some(Err(error)) => Err(error.clone()),
        None => Err(format!("{name} was not read")),
    }
}

/// Unpacks packed kernels to see that they can be: the board does so only after it took memory. What is no kernel, or not
/// there, is left to [`config::check_files`].
fn check_packed(config: &Config, files: &Files) -> Vec<Problem> {
    let check = |name: &str| {
        let Some(Ok(kernel)) = file(files, name).ok().map(Kernel::open) else { return Ok(()) };
        let unpacked = kernel.unpack(u64::MAX, |_| ());
        unpacked.map(|_| ()).map_err(|error| format!("{name}: {error}"))
    };
    let mut checked: BTreeMap<&str, Result<(), String>> = BTreeMap::new();
    for vm in &config.vms {
        checked.entry(&vm.kernel).or_insert_with(|| check(&vm.kernel));
    }
    let problem = |vm: &VmConfig| {
        let what = checked.get(vm.kernel.as_str())?.as_ref().err()?.clone();
        Some(Problem { node: format!("/{}", vm.name), property: Some("kernel".into()), what })
    };
    config.vms.iter().filter_map(problem).collect()
}

/// Every problem with its line.
fn report(problems: &[Problem], source: &Source) -> String {
    let mut text = match problems.len() {
        1 => String::from("the configuration has a problem"),
        n => format!("the configuration has {n} problems"),
    };
    for problem in problems {
        let span = source.find(&problem.node, problem.property.as_deref());
        match &span {
            Some(span) => write!(text, "\n{}:{}: {problem}", span.file, span.line),
            None => write!(text, "\n{}: {problem}", source.name()),
        }
        .expect("a String takes all text");
        if let Some(excerpt) = span.and_then(|span| source.excerpt(&span)) {
            text.push('\n');
            text.push_str(&excerpt);
        }
    }
    text
}

/// Writes beside `out` and renames, so that nobody ever sees half a bundle.
fn replace(out: &Path, content: &[u8]) -> Result<()> {
    let mut name = out.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(name);
    let written = fs::write(&temporary, content).and_then(|()| fs::rename(&temporary, out));
    if written.is_err() {
        // Nothing more can be done about it than what the error says.
        let _ = fs::remove_file(&temporary);
    }
    written.with_context(|| format!("cannot write {}", out.display()))
}
