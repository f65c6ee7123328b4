//! The states of a guest as a person sees them, and what may be asked in which.

use core::fmt;

/// Where a guest is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It was never started.
    Defined,
    /// It is being built for the first time, or after it was stopped.
    Starting,
    /// Its vCPUs run, or wait for CPU_ON.
    Running,
    /// Its vCPUs and its time stand still.
    Paused,
    /// It was asked, or is made, to stop.
    Stopping,
    /// It ended as it wanted to, or was ended.
    Stopped,
    /// It failed and is not started again.
    Crashed,
    /// It ended and starts again: now, or when its back-off is over.
    Restarting,
}

use State::*;

impl State {
    /// The state's name.
    pub const fn word(self) -> &'static str {
        match self {
            Defined => "defined",
            Starting => "starting",
            Running => "running",
            Paused => "paused",
            Stopping => "stopping",
            Stopped => "stopped",
            Crashed => "crashed",
            Restarting => "restarting",
        }
    }

    /// Whether nothing of it is in memory, and nothing will be without somebody's asking.
    pub const fn is_down(self) -> bool {
        matches!(self, Defined | Stopped | Crashed)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What may be asked of a guest from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// To start.
    Start,
    /// To switch itself off.
    Stop,
    /// To end at once.
    Kill,
    /// To stand still.
    Pause,
    /// To go on.
    Resume,
    /// To start anew, at once.
    Reset,
}

/// What is to be done for a request that is granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Action {
    /// To build it.
    Build,
    /// To press its power button.
    PressButton,
    /// To make its cores leave it for good.
    Leave,
    /// To make its cores stand still.
    Pause,
    /// To let its cores go on.
    Resume,
    /// To forget the restart that waits.
    Forget,
}

/// Why a request is not granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What was asked.
    pub request: Request,
    /// The state in which it was.
    pub state: State,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = match (self.request, self.state) {
            (Request::Start, Paused) => "resume it",
            (Request::Start, Starting | Running) => "it needs no start",
            (Request::Start, Restarting) => "it starts by itself; `kill` keeps it from that",
            (Request::Start, Stopping) => "wait until it has stopped, or kill it",
            (Request::Stop, Paused) => "it cannot listen: resume it first, or kill it",
            (Request::Stop, Stopping) => "it was asked already; `kill` does not ask",
            (Request::Stop, Starting | Restarting) => "it cannot listen yet; `kill` does not ask",
            (Request::Pause, Paused) => "it stands still already",
            (Request::Resume, Running) => "it runs already",
            (Request::Pause | Request::Resume | Request::Reset, Starting | Restarting) => {
                "wait until it runs"
            }
            (Request::Pause | Request::Resume, Stopping) => "wait until it has stopped, or kill it",
            (Request::Resume, _) => "only what is paused can be resumed",
            (Request::Kill | Request::Stop, _) => "there is nothing to stop",
            (Request::Pause | Request::Reset, _) => "start it",
            (Request::Start, _) => "it can be started",
        };
        write!(f, "it is {}: {advice}", self.state)
    }
}

/// The table: what a request does in a state, and the state that follows at once.
pub const fn answer(state: State, request: Request) -> Result<(Action, State), Refusal> {
    Ok(match (request, state) {
        (Request::Start, Defined | Stopped | Crashed) => (Action::Build, Starting),
        (Request::Stop, Running) => (Action::PressButton, Stopping),
        (Request::Kill, Starting | Running | Paused | Stopping | Restarting) => {
            (Action::Leave, Stopping)
        }
        (Request::Pause, Running) => (Action::Pause, Paused),
        (Request::Resume, Paused) => (Action::Resume, Running),
        (Request::Reset, Running | Paused | Stopping) => (Action::Leave, Restarting),
        _ => return Err(Refusal { request, state }),
    })
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;

    /// All of them, in the order of the table. The compiler does not let a new one be forgotten here.
    fn states() -> impl Iterator<Item = State> {
        let next = |state: &State| {
            Some(match state {
                Defined => Starting,
                Starting => Running,
                Running => Paused,
                Paused => Stopping,
                Stopping => Stopped,
                Stopped => Crashed,
                Crashed => Restarting,
                Restarting => return None,
            })
        };
        core::iter::successors(Some(Defined), next)
    }

    const REQUESTS: [Request; 6] = [
        Request::Start,
        Request::Stop,
        Request::Kill,
        Request::Pause,
        Request::Resume,
        Request::Reset,
    ];

    #[test]
    fn the_table_of_states_and_requests_is_this() {
        // A line a state; start, stop, kill, pause, resume, reset; `-` is refused.
        let expected = "
            defined    starting -        -        -      -       -
            starting   -        -        stopping -      -       -
            running    -        stopping stopping paused -       restarting
            paused     -        -        stopping -      running restarting
            stopping   -        -        stopping -      -       restarting
            stopped    starting -        -        -      -       -
            crashed    starting -        -        -      -       -
            restarting -        -        stopping -      -       -";
        let lines: Vec<&str> = expected.lines().filter(|line| !line.trim().is_empty()).collect();
        assert_eq!(lines.len(), states().count());
        for (line, state) in lines.into_iter().zip(states()) {
            let mut words = line.split_whitespace();
            assert_eq!(words.next(), Some(state.word()));
            for (word, request) in words.zip(REQUESTS) {
                let next = answer(state, request).map_or("-", |(_, next)| next.word());
                assert_eq!(next, word, "{request:?} when {state}");
            }
        }
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        for state in states() {
            for request in REQUESTS {
                if let Err(refusal) = answer(state, request) {
                    let text = refusal.to_string();
                    assert!(text.starts_with(&std::format!("it is {state}: ")), "{text}");
                    assert!(!text.contains("can be started"), "granted, so not refused: {text}");
                }
            }
        }
    }
}
