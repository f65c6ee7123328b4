use super::*;

const HZ: u64 = 1000;

#[test]
fn the_first_reason_to_end_counts_and_a_kill_counts_over_all() {
    let life = running(2, Policy::default());
    assert!(life.end(StopReason::Reset, 10));
    assert!(!life.end(StopReason::Off, 11));
    assert_eq!(life.state(), State::Restarting);
    assert_eq!(life.ask(Request::Kill, 12, HZ), Ok(Action::Leave));
    assert!(!life.park());
    assert!(life.park() && life.all_parked());
    assert_eq!(life.ended(20, HZ), (StopReason::Killed, After::Stopped));
    assert_eq!((life.state(), life.phase()), (State::Stopped, Phase::Down));
    assert_eq!(life.facts().last_end, Some((StopReason::Killed, 20)));
}

#[test]
fn a_reset_builds_clears_every_chunk_once_and_loads() {
    let life = running(2, Policy::default());
    assert!(life.end(StopReason::Reset, 10));
    let _ = (life.park(), life.park());
    assert_eq!(life.ended(20, HZ), (StopReason::Reset, After::Anew));
    assert_eq!(life.phase(), Phase::Building);
    life.begin_clearing();
    let mut leaders = 0;
    for expected in 0..5 {
        assert_eq!(life.take_chunk(5), Some(expected));
    }
    assert_eq!(life.take_chunk(5), None);
    for _ in 0..5 {
        leaders += u32::from(life.chunk_cleared(5));
    }
    assert_eq!((leaders, life.phase()), (1, Phase::Loading));
    assert!(life.begin_running(30));
    let facts = life.facts();
    assert_eq!((life.phase(), facts.starts, facts.restarts), (Phase::Running, 2, 1));
    assert!(!life.all_parked(), "its cores are in it");
    assert!(life.end(StopReason::Off, 40), "a guest that runs again can end again");
}

#[test]
fn cores_racing_for_chunks_get_each_once() {
    let life = Life::new(4, Policy::default(), 30);
    let taken: std::vec::Vec<u32> = std::thread::scope(|scope| {
        let worker = || {
            let mut mine = std::vec::Vec::new();
            while let Some(chunk) = life.take_chunk(1000) {
                mine.push(chunk);
            }
            mine
        };
        let workers: std::vec::Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|w| w.join().unwrap()).collect()
    });
    let mut sorted = taken.clone();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..1000));
}

#[test]
fn who_is_killed_while_it_is_built_never_runs() {
    let life = Life::new(1, Policy { restart: Restart::Always, limit: 5 }, 30);
    assert_eq!(life.ask(Request::Start, 0, HZ), Ok(Action::Build));
    life.begin_clearing();
    assert_eq!(life.ask(Request::Kill, 1, HZ), Ok(Action::Leave));
    assert_eq!(life.phase(), Phase::Clearing, "cores finish what they began");
    assert!(!life.begin_running(2));
    assert_eq!(life.phase(), Phase::Leaving);
    assert!(life.park());
    assert_eq!(life.ended(3, HZ), (StopReason::Killed, After::Stopped));
}

#[test]
fn a_crash_waits_longer_each_time_until_it_is_too_often() {
    let life = running(1, Policy { restart: Restart::OnCrash, limit: 2 });
    let mut now = 1000;
    for wait in [1, 2] {
        assert!(life.end(StopReason::AllCpusOff, now));
        life.park();
        assert_eq!(life.ended(now, HZ), (StopReason::AllCpusOff, After::Wait(wait)));
        assert_eq!((life.state(), life.phase()), (State::Restarting, Phase::Down));
        assert_eq!(life.deadline(), Some(now + wait * HZ));
        assert_eq!(life.due(now + wait * HZ - 1), Due::Nothing);
        now += wait * HZ;
        assert_eq!(life.due(now), Due::Build);
        assert_eq!(life.deadline(), None);
        life.begin_clearing();
        assert!(life.begin_running(now));
    }
    assert!(life.end(StopReason::AllCpusOff, now));
    life.park();
    assert_eq!(life.ended(now, HZ), (StopReason::AllCpusOff, After::TooOften));
    assert_eq!(life.state(), State::Crashed);
    assert_eq!(life.facts().restarts, 2);
}

#[test]
fn a_restart_that_waits_can_be_forgotten() {
    let life = running(1, Policy { restart: Restart::Always, limit: 5 });
    assert!(life.end(StopReason::Off, 5));
    life.park();
    assert_eq!(life.ended(6, HZ).1, After::Wait(1));
    assert_eq!(life.ask(Request::Kill, 7, HZ), Ok(Action::Forget));
    assert_eq!((life.state(), life.deadline()), (State::Stopped, None));
    assert_eq!(life.due(u64::MAX), Due::Nothing);
    assert_eq!(life.ask(Request::Start, 8, HZ), Ok(Action::Build));
}

#[test]
fn who_does_not_listen_runs_on_and_can_be_asked_again() {
    let life = running(1, Policy { restart: Restart::Always, limit: 5 });
    assert_eq!(life.ask(Request::Stop, 100, HZ), Ok(Action::PressButton));
    assert_eq!(life.state(), State::Stopping);
    assert_eq!(life.deadline(), Some(100 + 30 * HZ));
    assert_eq!(life.due(100 + 30 * HZ), Due::NotListening);
    assert_eq!(life.state(), State::Running);
    assert_eq!(life.ask(Request::Stop, 40_000, HZ), Ok(Action::PressButton));
    assert!(life.end(StopReason::Off, 40_100));
    life.park();
    assert_eq!(life.ended(40_200, HZ).1, After::Stopped, "it was asked to, so it stays off");
}

#[test]
fn what_cannot_be_built_is_a_crash_for_the_policy_to_judge() {
    let life = Life::new(1, Policy { restart: Restart::OnCrash, limit: 1 }, 30);
    assert_eq!(life.ask(Request::Start, 0, HZ), Ok(Action::Build));
    assert_eq!(life.not_built(1, HZ), (StopReason::NotLoaded, After::Wait(1)));
    assert_eq!(life.due(2000), Due::Build);
    assert_eq!(life.not_built(2001, HZ).1, After::TooOften);
    assert_eq!(life.state(), State::Crashed);
}

fn running(cores: u8, policy: Policy) -> Life {
    let life = Life::new(cores, policy, 30);
    assert_eq!(life.ask(Request::Start, 0, HZ), Ok(Action::Build));
    life.begin_clearing();
    assert_eq!(life.take_chunk(1), Some(0));
    assert!(life.chunk_cleared(1));
    assert!(life.begin_running(1));
    life
}

#[test]
fn each_change_of_state_is_told_once_with_its_reason() {
    let life = Life::new(1, Policy::default(), 30);
    assert_eq!(life.ask(Request::Start, 5, 1), Ok(Action::Build));
    life.begin_clearing();
    assert!(life.begin_running(7));
    assert!(life.end(StopReason::Off, 9));
    assert!(life.park());
    let _ = life.ended(11, 1);
    let change = |state, reason, at| Change { state, reason, at, left_out: 0 };
    let off = Some(StopReason::Off);
    let want = [
        change(State::Starting, None, 5),
        change(State::Running, None, 7),
        change(State::Stopping, off, 9),
        change(State::Stopped, off, 11),
    ];
    assert_eq!(told(&life, 11, 1), want);
    assert_eq!(life.take_change(11, 1), Telling::Nothing);
    let life = running(1, Policy::default());
    for _ in 0..50 {
        assert!(life.ask(Request::Pause, 5, 1).is_ok() && life.ask(Request::Resume, 5, 1).is_ok());
    }
    let told = told(&life, 1000, 1);
    assert_eq!(told.len(), changes::CHANGES_MAX);
    assert_eq!((told[0].left_out, told[1].left_out), (86, 0), "those that nobody took in time");
}

/// The changes that are told at `now`.
fn told(life: &Life, now: u64, hz: u64) -> std::vec::Vec<Change> {
    let next = || match life.take_change(now, hz) {
        Telling::Now(change) => Some(change),
        Telling::Later(_) | Telling::Nothing => None,
    };
    core::iter::from_fn(next).collect()
}

#[test]
fn who_starts_anew_all_the_time_is_told_of_now_and_then_and_where_he_is_in_the_end() {
    let life = running(1, Policy::default());
    let mut all = std::vec::Vec::new();
    let mut changes = 2;
    // Ten lives a second for 100 seconds.
    for now in (2..100 * HZ).step_by(100) {
        assert!(life.end(StopReason::Reset, now));
        let _ = (life.park(), life.ended(now, HZ));
        life.begin_clearing();
        assert!(life.begin_running(now));
        changes += 2;
        all.extend(told(&life, now, HZ));
    }
    assert!(all.len() <= 16 + 100, "{}", all.len());
    assert!(life.end(StopReason::Off, 100 * HZ));
    let _ = (life.park(), life.ended(100 * HZ, HZ));
    changes += 2;
    let Telling::Later(again) = life.take_change(100 * HZ, HZ) else { panic!("it is to be told") };
    assert!(again <= 101 * HZ);
    let last = told(&life, again, HZ);
    assert_eq!((last.len(), last[0].state, last[0].at), (1, State::Stopped, 100 * HZ));
    all.extend(last);
    assert_eq!(all.len() as u64 + all.iter().map(|it| it.left_out).sum::<u64>(), changes);
    assert_eq!(life.take_change(200 * HZ, HZ), Telling::Nothing);
}

#[test]
fn after_the_last_life_comes_none_however_it_ends() {
    let always = Policy { restart: Restart::Always, limit: 9 };
    for (reason, after) in [
        (StopReason::Reset, After::Stopped),
        (StopReason::WatchdogReset, After::Stopped),
        (StopReason::Off, After::Stopped),
        (StopReason::AllCpusOff, After::Crashed),
    ] {
        let life = running(1, always);
        life.be_the_last();
        assert!(life.end(reason, 10) && life.park());
        assert_eq!(life.ended(20, HZ), (reason, after));
        assert!(life.state().is_down() && life.deadline().is_none());
    }
}
