//! Random loads on one to four cores, held against what must be true of any.
//!
//! Time is virtual: the next event of any core comes next. A task does what its kind says: it works for a while, then blocks
//! with a timer, or until somebody wakes it, or yields. What each ran, wanted and waited is kept beside the queues.

use std::vec;

use super::*;
use crate::fuzz::Random;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Always works.
    Hog,
    /// Always works, and yields now and then.
    Spinner,
    /// Works for some ticks, then sleeps by a timer for up to some.
    Sleeper { work: u64, sleep: u64 },
    /// The same, but others wake it.
    Waiter { work: u64, sleep: u64 },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Is {
    Blocked,
    Wants { since: u64 },
    Runs,
}

#[derive(Clone, Debug)]
struct Actor {
    kind: Kind,
    share: Share,
    is: Is,
    /// Ticks until it blocks or yields.
    work: u64,
    /// When somebody wakes it.
    wake_at: Option<u64>,
    ran: u64,
    /// What it ran in this window.
    window: u64,
    /// The longest that it wanted the core without having it.
    longest: u64,
    /// How often it began to run.
    turns: u64,
}

impl Actor {
    fn new(kind: Kind, share: Share) -> Self {
        let is = Is::Blocked;
        let wake_at = Some(0);
        Self { kind, share, is, work: 0, wake_at, ran: 0, window: 0, longest: 0, turns: 0 }
    }
}

struct World {
    random: Random,
    now: u64,
    queues: Vec<RunQueue<usize>>,
    /// When each core asks again.
    until: Vec<Option<u64>>,
    actors: Vec<Actor>,
    /// Whether cores without work take from others.
    moves: bool,
    moved: u64,
}

impl World {
    fn new(seed: u64, cores: usize, actors: Vec<Actor>) -> Self {
        let mut queues: Vec<_> = (0..cores).map(|_| RunQueue::new(TIMING)).collect();
        for (index, actor) in actors.iter().enumerate() {
            queues[index % cores].add(TaskId(index as u8), actor.share, index);
        }
        let until = vec![Some(0); cores];
        Self { random: Random(seed), now: 0, queues, until, actors, moves: cores > 1, moved: 0 }
    }

    /// Runs until `end`, and looks after each event that all is as it must be.
    fn run(&mut self, end: u64) {
        while self.now < end {
            let next = self.next_event().min(end);
            self.pass(next);
            self.wake_by_others();
            for core in 0..self.queues.len() {
                self.act(core);
                self.ask(core);
            }
            self.check();
        }
    }

    fn next_event(&self) -> u64 {
        let works = self.queues.iter().filter_map(|queue| queue.current());
        let ends = works.map(|id| self.now + self.actors[id.index()].work);
        let wakes = self.actors.iter().filter_map(|actor| actor.wake_at);
        let window = (self.now / TIMING.window + 1) * TIMING.window;
        let all = ends.chain(wakes).chain(self.until.iter().copied().flatten());
        all.chain([window]).min().unwrap().max(self.now)
    }

    fn pass(&mut self, next: u64) {
        let ran = next - self.now;
        for id in self.queues.iter().filter_map(|queue| queue.current()) {
            let actor = &mut self.actors[id.index()];
            actor.ran += ran;
            actor.window += ran;
            actor.work -= ran;
            let most = u64::from(actor.share.cap.unwrap_or(100)) * TIMING.window / 100;
            assert!(actor.window <= most, "{actor:?} runs beyond its cap");
        }
        if ran > 0 && next.is_multiple_of(TIMING.window) {
            self.actors.iter_mut().for_each(|actor| actor.window = 0);
        }
        self.now = next;
    }

    fn wake_by_others(&mut self) {
        for index in 0..self.actors.len() {
            if self.actors[index].wake_at.is_some_and(|at| at <= self.now) {
                self.actors[index].wake_at = None;
                let id = TaskId(index as u8);
                let now = self.now;
                let woken = self.queues.iter_mut().map(|queue| usize::from(queue.wake(id, now)));
                assert_eq!(woken.sum::<usize>(), 1, "it is blocked, on one core");
                self.wants(index);
            }
        }
    }

    fn wants(&mut self, index: usize) {
        let now = self.now;
        assert_eq!(self.actors[index].is, Is::Blocked);
        self.actors[index].is = Is::Wants { since: now };
        self.actors[index].work = self.work(index);
    }

    fn work(&mut self, index: usize) -> u64 {
        match self.actors[index].kind {
            Kind::Hog => u64::MAX / 4,
            Kind::Spinner => 1 + self.random.below(2000),
            Kind::Sleeper { work, .. } | Kind::Waiter { work, .. } => {
                1 + self.random.below(2 * work)
            }
        }
    }

    /// The current task of `core` has done its work, if it has.
    fn act(&mut self, core: usize) {
        let Some(id) = self.queues[core].current() else { return };
        let index = id.index();
        if self.actors[index].work > 0 {
            return;
        }
        let now = self.now;
        let mut later = |sleep: u64| Some(now + 1 + self.random.below(2 * sleep));
        match self.actors[index].kind {
            Kind::Hog | Kind::Spinner => {
                self.actors[index].work = self.work(index);
                return self.queues[core].yields(now);
            }
            Kind::Sleeper { sleep, .. } => {
                let timer = later(sleep);
                self.queues[core].block(now, timer);
            }
            Kind::Waiter { sleep, .. } => {
                self.actors[index].wake_at = later(sleep);
                self.queues[core].block(now, None);
            }
        }
        self.actors[index].is = Is::Blocked;
    }

    /// `core` decides anew.
    fn ask(&mut self, core: usize) {
        let before = self.queues[core].current();
        let mut woken = Vec::new();
        let mut decision = self.queues[core].pick(self.now, |id, &mut index| {
            assert_eq!(id.index(), index);
            woken.push(index);
        });
        woken.into_iter().for_each(|index| self.wants(index));
        if matches!(decision, Decision::Idle { .. }) && self.moves && self.take_over(core) {
            decision = self.queues[core].pick(self.now, |_, _| unreachable!());
        }
        let (Decision::Run { until, .. } | Decision::Idle { until }) = decision;
        assert!(until.is_none_or(|until| until > self.now), "{decision:?} is over at once");
        self.until[core] = until;
        self.note(before, decision);
    }

    /// An idle core gets a task from the one where most wait.
    fn take_over(&mut self, core: usize) -> bool {
        let Some(from) = self.queues.iter_mut().max_by_key(|queue| queue.waiting()) else {
            return false;
        };
        let Some(parcel) = from.hand_over(self.now, |_, _| true) else { return false };
        let id = self.queues[core].adopt(parcel, self.now);
        assert!(matches!(self.actors[id.index()].is, Is::Wants { .. }), "only who waits moves");
        self.moved += 1;
        true
    }

    fn note(&mut self, before: Option<TaskId>, decision: Decision) {
        let now = self.now;
        let runs = match decision {
            Decision::Run { id, .. } => Some(id),
            Decision::Idle { .. } => None,
        };
        if before == runs {
            return;
        }
        if let Some(before) = before {
            self.actors[before.index()].is = Is::Wants { since: now };
        }
        if let Some(id) = runs {
            let actor = &mut self.actors[id.index()];
            let Is::Wants { since } = actor.is else { panic!("{actor:?} is given a core") };
            actor.is = Is::Runs;
            actor.turns += 1;
            actor.longest = actor.longest.max(now - since);
        }
    }

    /// Each task is on one core, and no core is idle while one on it may run.
    fn check(&self) {
        for (index, actor) in self.actors.iter().enumerate() {
            let id = TaskId(index as u8);
            let here = self.queues.iter().filter(|queue| queue.contains(id)).count();
            assert_eq!(here, 1, "{id:?}");
            let running = self.queues.iter().filter(|queue| queue.current() == Some(id)).count();
            assert_eq!(running, usize::from(actor.is == Is::Runs), "{actor:?}");
        }
        for queue in self.queues.iter().filter(|queue| queue.current().is_none()) {
            let mut here = queue.iter().map(|(_, &index)| &self.actors[index]);
            let may = |actor: &Actor| {
                let cap = u64::from(actor.share.cap.unwrap_or(100)) * TIMING.window / 100;
                matches!(actor.is, Is::Wants { .. }) && actor.window < cap
            };
            assert!(!here.any(may), "a core is idle while somebody wants it");
        }
        assert_eq!(self.queues.iter().map(RunQueue::len).sum::<usize>(), self.actors.len());
    }
}

/// `count` tasks, of the first `kinds` kinds: two that sleep, and then three that do not.
fn random_actors(random: &mut Random, count: usize, kinds: u64) -> Vec<Actor> {
    let weights = [1, 10, 50, 100, 100, 100, 300, 10_000];
    let actor = |_| {
        let mut share = share(weights[random.below(8) as usize]);
        if random.below(4) == 0 {
            share.cap = Some(1 + random.below(99) as u8);
        }
        let (work, sleep) = (1 + random.below(2000), 1 + random.below(20_000));
        let kind = match random.below(kinds) {
            0 => Kind::Sleeper { work, sleep },
            1 => Kind::Waiter { work, sleep },
            2 => Kind::Spinner,
            _ => Kind::Hog,
        };
        Actor::new(kind, share)
    };
    (0..count).map(actor).collect()
}

#[test]
fn whatever_tasks_do_each_is_on_one_core_and_none_is_idle_while_one_wants_it() {
    let mut moved = 0;
    for seed in 0..24 {
        let mut random = Random(0x5c4e_d000 + seed);
        let cores = 1 + seed as usize % 4;
        let (count, kinds) = (1 + random.below(40) as usize, 2 + random.below(4));
        let mut world = World::new(seed, cores, random_actors(&mut random, count, kinds));
        world.run(HZ / 2);
        let late = world.actors.iter().find(|actor| match actor.is {
            Is::Wants { since } => {
                actor.turns == 0 && actor.share.cap.is_none() && since + HZ / 4 < world.now
            }
            _ => false,
        });
        assert!(late.is_none_or(|actor| actor.share.weight <= 10), "seed {seed}: {late:?} starves");
        moved += world.moved;
    }
    assert!(moved > 100, "cores take over from each other: {moved}");
}

#[test]
fn hogs_get_their_shares_within_a_turn_whatever_the_others_do() {
    for seed in 0..8 {
        let mut random = Random(0xfa1_0000 + seed);
        let mut actors = random_actors(&mut random, 12, 5);
        let hogs = [100, 300, 50, 1000].map(|weight| Actor::new(Kind::Hog, share(weight)));
        actors.extend(hogs.clone());
        let mut world = World::new(seed, 1, actors);
        world.run(3 * HZ);
        let hogs = &world.actors[12..];
        let sum: u64 = hogs.iter().map(|hog| hog.ran).sum();
        let weights: u64 = hogs.iter().map(|hog| u64::from(hog.share.weight)).sum();
        for hog in hogs {
            let due = sum * u64::from(hog.share.weight) / weights;
            assert!(hog.ran.abs_diff(due) <= 2 * SLICE, "seed {seed}: {due} {hog:?}");
        }
        // Nobody got more than his part by what he did, but for what he had to his credit, and a turn.
        for actor in &world.actors {
            for hog in hogs {
                let part = (hog.ran + 2 * SLICE) * u64::from(actor.share.weight);
                let most = part / u64::from(hog.share.weight) + 3 * SLICE;
                assert!(actor.ran <= most, "seed {seed}: at most {most} were due: {actor:?}");
            }
        }
    }
}

#[test]
fn who_used_less_than_its_share_runs_within_the_latency_after_it_woke() {
    for hogs in [1, 7, 30, 200] {
        let light = Kind::Sleeper { work: 50, sleep: 10_000 };
        let mut actors = vec![Actor::new(light, share(10_000)); 2];
        actors.extend((0..hogs).map(|_| Actor::new(Kind::Hog, share(100))));
        // They come when the hogs have all run.
        let come = (hogs + 1) * SLICE;
        actors[..2].iter_mut().for_each(|actor| actor.wake_at = Some(come));
        let mut world = World::new(hogs, 1, actors);
        world.run(come + 3 * HZ);
        for actor in &world.actors[..2] {
            assert!(actor.turns > 200, "{actor:?}");
            assert!(actor.longest <= TIMING.latency / 2, "{hogs} hogs: {actor:?}");
        }
    }
}

#[test]
fn reserves_are_kept_beside_sleepers_and_hogs_of_all_weights() {
    for seed in 0..6 {
        let mut random = Random(0x9e5e_0000 + seed);
        let promised = |percent| Share { weight: 1, cap: None, reserve: Some(percent) };
        let mut actors: Vec<_> =
            [5, 20, 50].map(|percent| Actor::new(Kind::Hog, promised(percent))).into();
        actors.extend(random_actors(&mut random, 20, 5));
        let mut world = World::new(seed, 1, actors);
        world.run(2 * HZ);
        for actor in &world.actors[..3] {
            let due = world.now * u64::from(actor.share.reserve.unwrap()) / 100;
            assert!(actor.ran + 2 * TIMING.latency >= due, "seed {seed}: {due} {actor:?}");
        }
    }
}

#[test]
fn the_lightest_of_all_does_not_starve() {
    let mut actors = vec![Actor::new(Kind::Hog, share(10_000)); 7];
    actors.push(Actor::new(Kind::Hog, share(1)));
    actors.push(Actor::new(Kind::Sleeper { work: 500, sleep: 500 }, share(10_000)));
    let mut world = World::new(1, 1, actors);
    world.run(60 * HZ);
    let light = &world.actors[7];
    let due = world.now / 80_001;
    assert!(light.ran.abs_diff(due) <= SLICE && light.turns > 1, "{due} {light:?}");
}
