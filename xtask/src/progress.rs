//! What takes more than two seconds says so: a spinner with the time on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// What is done sooner is not worth a line.
const SOON: Duration = Duration::from_secs(2);

/// Does `work` under the heading `what`.
pub fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let result = if std::io::stderr().is_terminal() {
        let bar = spinner(what);
        let result = work();
        bar.finish_and_clear();
        result
    } else {
        with_heading(what, work)
    };
    let elapsed = start.elapsed();
    if elapsed >= SOON {
        let how = if result.is_ok() { "done" } else { "failed" };
        eprintln!("{what}: {how} after {:.0} s", elapsed.as_secs_f64());
    }
    result
}

/// Does `work` and says `what` it is as soon as it takes long.
fn with_heading<T>(what: &str, work: impl FnOnce() -> T) -> T {
    thread::scope(|scope| {
        let (done, is_done) = mpsc::channel::<()>();
        scope.spawn(move || {
            if is_done.recv_timeout(SOON) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{what} ...");
            }
        });
        let result = work();
        drop(done);
        result
    })
}

fn spinner(what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = ProgressBar::new_spinner().with_style(style).with_message(what.to_string());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
