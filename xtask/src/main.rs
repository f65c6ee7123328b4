//! The only build interface of Tessera: `cargo xtask --help`.
//!
//! One subcommand, one module. What a step needs, it makes: `run` builds, sets up and bundles by itself, so that a
//! clean clone and one command are enough. Everything made lands under `target/`.

mod apt;
mod bench;
mod bundle;
mod check_memory;
mod ci;
mod ctl;
mod disk;
mod doctor;
mod elf;
mod firmware;
mod fuzz;
mod guests;
mod hil;
mod image;
mod images;
mod modules;
mod platform;
mod proc;
mod progress;
mod ramdisk;
mod rules;
mod run;
mod setup;
mod soak;
mod stack;
mod test;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use workspace::Workspace;

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about, version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Bench(bench::BenchArgs),
    Build(images::BuildArgs),
    Bundle(bundle::BundleArgs),
    CheckMemory(check_memory::CheckMemoryArgs),
    Ci(ci::CiArgs),
    Ctl(ctl::CtlArgs),
    Doctor(doctor::DoctorArgs),
    Fuzz(fuzz::FuzzArgs),
    Image(image::ImageArgs),
    Hil(hil::HilArgs),
    Run(run::RunArgs),
    Setup(setup::SetupArgs),
    Soak(soak::SoakArgs),
    Test(test::TestArgs),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::find()?;
    match command {
        Command::Bench(args) => bench::run(&workspace, &args)?,
        Command::Build(args) => images::run(&workspace, &args)?,
        Command::Bundle(args) => bundle::run(&args)?,
        Command::CheckMemory(args) => return check_memory::run(&workspace, &args),
        Command::Ci(args) => return ci::run(&workspace, &args),
        Command::Ctl(args) => return ctl::run(&args),
        Command::Doctor(args) => return Ok(doctor::run(&workspace, &args)),
        Command::Fuzz(args) => return fuzz::run(&workspace, &args),
        Command::Image(args) => image::run(&workspace, &args)?,
        Command::Hil(args) => return hil::run(&workspace, &args),
        Command::Run(args) => return run::run(&workspace, &args),
        Command::Setup(args) => setup::run(&workspace, &args)?,
        Command::Soak(args) => return soak::run(&workspace, &args),
        Command::Test(args) => return test::run(&workspace, &args),
    }
    Ok(ExitCode::SUCCESS)
}
