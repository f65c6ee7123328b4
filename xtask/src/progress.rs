//! What takes more than two seconds says so: a spinner with the time on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// Does `work` under the heading `what`. A failure leaves the heading on the screen, above the error.
pub fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let bar = std::io::stderr().is_terminal().then(|| spinner(what));
    if bar.is_none() {
        eprintln!("{what} ...");
    }
    let result = work();
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let seconds = start.elapsed().as_secs_f64();
    match &result {
        Ok(_) => eprintln!("{what}: done in {seconds:.1} s"),
        Err(_) => eprintln!("{what}: failed after {seconds:.1} s"),
    }
    result
}

fn spinner(what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = ProgressBar::new_spinner().with_style(style).with_message(what.to_string());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
