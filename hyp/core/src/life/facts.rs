//! What is told of a guest's life.

use super::{State, StopReason};

/// What is known of a guest's life; times are the board's counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Where it is.
    pub state: State,
    /// Since when.
    pub since: u64,
    /// When this life began to run, or the last one did.
    pub began: u64,
    /// Lives that ran.
    pub starts: u64,
    /// Starts without a request from outside.
    pub restarts: u32,
    /// Why the last life ended, and when.
    pub last_end: Option<(StopReason, u64)>,
    /// When a restart is due that waits.
    pub wake_at: Option<u64>,
}

/// What is due by the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// The back-off is over: build.
    Build,
    /// It was asked to stop and does not listen. It runs on.
    NotListening,
}
