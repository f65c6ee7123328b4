//! What other cores have to do with a queue: places, mailboxes, cores without work.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;

use super::*;
use crate::addr::CpuId;
use crate::fuzz::Random;
use crate::lock::Mutex;

const ID: TaskId = TaskId(77);

#[test]
fn a_blocked_task_is_woken_by_one_and_a_running_one_is_kicked() {
    let places = Places::new();
    assert_eq!(places.get(ID), (CpuId(0), PlaceState::Blocked));
    places.put(ID, CpuId(7), PlaceState::Blocked);
    assert_eq!(places.wake(ID), Wake::Leave(CpuId(7)));
    assert_eq!(places.wake(ID), Wake::Nothing, "somebody has woken it");
    assert_eq!(places.get(ID), (CpuId(7), PlaceState::Queued));
    places.run(ID, CpuId(7));
    assert_eq!((places.wake(ID), places.wake(ID)), (Wake::Kick(CpuId(7)), Wake::Kick(CpuId(7))));
    places.block(ID, CpuId(7));
    assert!(places.unblock(ID, CpuId(7)), "its core takes it back");
    assert_eq!(places.wake(ID), Wake::Nothing);
    places.block(ID, CpuId(7));
    assert_eq!(places.wake(ID), Wake::Leave(CpuId(7)));
    assert!(!places.unblock(ID, CpuId(7)), "somebody else was faster");
    assert_eq!(
        places.get(TaskId(76)),
        (CpuId(0), PlaceState::Blocked),
        "others are where they were"
    );
}

#[test]
fn what_is_left_in_a_mailbox_is_taken_once() {
    let mailbox = Mailbox::new();
    assert!(!mailbox.any());
    [3, 64, 255, 3].into_iter().for_each(|id| mailbox.leave_wake(TaskId(id)));
    mailbox.leave_call(TaskId(128));
    mailbox.leave_ask(CpuId(2));
    mailbox.leave_ask(CpuId(7));
    assert!(mailbox.any());
    let word = mailbox.take();
    assert_eq!(word.woken().collect::<Vec<_>>(), [3, 64, 255].map(TaskId));
    assert_eq!(word.called().collect::<Vec<_>>(), [TaskId(128)]);
    assert_eq!(word.asking().iter().collect::<Vec<_>>(), [CpuId(2), CpuId(7)]);
    assert!(!word.parcels() && !mailbox.any());
    mailbox.leave_parcel_note();
    let word = mailbox.take();
    assert!(word.parcels() && word.asking().is_empty() && word.woken().next().is_none());
    assert_eq!(mailbox.take(), Word::default());
}

#[test]
fn a_core_without_work_is_claimed_by_one() {
    let cores = IdleCores::new();
    let all = CoreSet(0xff);
    assert!(!cores.any() && cores.claim(all).is_none());
    cores.publish(CpuId(2));
    cores.publish(CpuId(5));
    assert_eq!(cores.claim(CoreSet::only(CpuId(4))), None);
    assert_eq!(cores.claim(all.without(CpuId(2))), Some(CpuId(5)));
    assert_eq!((cores.claim(all), cores.claim(all)), (Some(CpuId(2)), None));
    assert!(!cores.withdraw(CpuId(2)), "it was claimed");
    cores.publish(CpuId(2));
    assert!(cores.withdraw(CpuId(2)) && !cores.any());
}

#[test]
fn work_is_asked_for_where_most_waits() {
    let cores = IdleCores::new();
    assert_eq!(cores.longest(CoreSet(0xff)), None);
    cores.set_waiting(CpuId(1), 3);
    cores.set_waiting(CpuId(3), 1000);
    cores.set_waiting(CpuId(6), 4);
    let set = CoreSet::only(CpuId(1)).union(CoreSet::only(CpuId(6)));
    assert_eq!(cores.longest(set), Some(CpuId(6)));
    assert_eq!(cores.longest(CoreSet(0xff)), Some(CpuId(3)));
    cores.set_waiting(CpuId(6), 0);
    cores.set_waiting(CpuId(1), 0);
    assert_eq!(cores.longest(set), None);
}

/// Cores in the game below.
const PLAYERS: usize = 2;
/// Tasks in it.
const PAWNS: u8 = 5;
/// News that each of those who wake leaves.
const ROUNDS: u64 = 100_000;

/// Two cores with queues, and two that leave news for the tasks.
struct Game {
    places: Places,
    mailboxes: [Mailbox; PLAYERS],
    inboxes: [Mutex<Vec<Parcel<()>>>; PLAYERS],
    kicked: [AtomicBool; PLAYERS],
    /// What was left for each task and not taken.
    news: [AtomicU64; PAWNS as usize],
    taken: AtomicU64,
    /// Who still leaves news.
    wakers: AtomicU32,
}

impl Game {
    fn new() -> Self {
        Self {
            places: Places::new(),
            mailboxes: [const { Mailbox::new() }; PLAYERS],
            inboxes: [const { Mutex::new(Vec::new()) }; PLAYERS],
            kicked: [const { AtomicBool::new(false) }; PLAYERS],
            news: [const { AtomicU64::new(0) }; PAWNS as usize],
            taken: AtomicU64::new(0),
            wakers: AtomicU32::new(2),
        }
    }

    /// Leaves news for tasks at random, and now and then waits until all was taken, so that all sleep.
    fn wake(&self, seed: u64) {
        let mut random = Random(seed);
        for _ in 0..ROUNDS {
            let id = TaskId(random.below(u64::from(PAWNS)) as u8);
            self.news[id.index()].fetch_add(1, Ordering::Relaxed);
            match self.places.wake(id) {
                Wake::Kick(core) => self.kick(core),
                Wake::Leave(core) => {
                    self.mailboxes[usize::from(core.0)].leave_wake(id);
                    self.kick(core);
                }
                Wake::Nothing => {}
            }
            if random.below(64) == 0 {
                thread::yield_now();
            }
        }
        self.wakers.fetch_sub(1, Ordering::Release);
    }

    fn kick(&self, core: CpuId) {
        self.kicked[usize::from(core.0)].store(true, Ordering::Release);
    }

    /// Takes the news of `id`, which runs; how much that was.
    fn look(&self, id: TaskId) -> u64 {
        let news = self.news[id.index()].swap(0, Ordering::Relaxed);
        self.taken.fetch_add(news, Ordering::Relaxed);
        news
    }

    fn is_over(&self) -> bool {
        self.wakers.load(Ordering::Acquire) == 0 && self.taken.load(Ordering::Relaxed) == 2 * ROUNDS
    }

    /// What a core does with the tasks that it has.
    fn play(&self, me: usize) {
        let core = CpuId(me as u8);
        let mut random = Random(me as u64);
        let mut queue = RunQueue::new(TIMING);
        for id in (0..PAWNS).map(TaskId).filter(|id| id.index() % PLAYERS == me) {
            queue.add(id, share(100), ());
            self.places.put(id, core, PlaceState::Blocked);
        }
        let (mut now, mut taken, mut waited) = (0, 0, 0u64);
        while !self.is_over() {
            now += random.below(300);
            self.open(me, &mut queue, now);
            let before = queue.current();
            match pick(&mut queue, now) {
                Decision::Run { id, .. } if before == Some(id) => {
                    self.go_on(id, core, &mut queue, now, &mut random);
                }
                Decision::Run { id, .. } => {
                    if let Some(before) = before {
                        self.places.put(before, core, PlaceState::Queued);
                    }
                    self.places.run(id, core);
                    self.look(id);
                    self.go_on(id, core, &mut queue, now, &mut random);
                }
                Decision::Idle { .. } => thread::yield_now(),
            }
            let all = self.taken.load(Ordering::Relaxed);
            waited = if all == taken { waited + 1 } else { 0 };
            taken = all;
            assert!(waited < 500_000_000, "news was left and nobody looks");
        }
    }

    /// Takes what was left for core `me`.
    fn open(&self, me: usize, queue: &mut RunQueue<()>, now: u64) {
        if !self.mailboxes[me].any() {
            return;
        }
        let word = self.mailboxes[me].take();
        if word.parcels() {
            for parcel in core::mem::take(&mut *self.inboxes[me].lock()) {
                let id = queue.adopt(parcel, now);
                assert_eq!(self.places.get(id), (CpuId(me as u8), PlaceState::Queued));
            }
        }
        for id in word.woken() {
            // It may have moved meanwhile, as a timer woke it before the word came.
            queue.wake(id, now);
        }
    }

    /// What `id` does on `core`: it runs on and looks where it is kicked, or blocks. Now and then another is handed over.
    fn go_on(
        &self,
        id: TaskId,
        core: CpuId,
        queue: &mut RunQueue<()>,
        now: u64,
        random: &mut Random,
    ) {
        if self.kicked[usize::from(core.0)].swap(false, Ordering::Acquire) {
            self.look(id);
        }
        if random.below(2) == 0
            && let Some(parcel) = queue.hand_over(now, |_, ()| true)
        {
            let other = usize::from(core.0 + 1) % PLAYERS;
            self.places.put(parcel.id(), CpuId(other as u8), PlaceState::Queued);
            self.inboxes[other].lock().push(parcel);
            self.mailboxes[other].leave_parcel_note();
        }
        // At the end they run until they are kicked.
        if random.below(4) == 0 || self.wakers.load(Ordering::Relaxed) == 0 {
            return thread::yield_now();
        }
        self.places.block(id, core);
        if self.news[id.index()].load(Ordering::Relaxed) == 0 || !self.places.unblock(id, core) {
            return queue.block(now, None);
        }
        self.places.run(id, core);
        self.look(id);
    }
}

#[test]
fn no_news_is_lost_however_tasks_block_wake_and_move_meanwhile() {
    let game = Game::new();
    thread::scope(|scope| {
        (0..PLAYERS).for_each(|me| {
            drop(scope.spawn({
                let game = &game;
                move || game.play(me)
            }))
        });
        (0..2).for_each(|seed| {
            drop(scope.spawn({
                let game = &game;
                move || game.wake(seed)
            }))
        });
    });
    assert!(game.is_over());
}
