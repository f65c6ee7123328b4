//! What other cores have to do with a queue: places, mailboxes, cores without work.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;

use super::*;
use crate::addr::{CoreSet, CpuId};
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
    /// The last news that each of those who wake left for each task. Stored, and not added to: that alone is no fence.
    news: [[AtomicU64; PAWNS as usize]; 2],
    /// And what the tasks have seen of it.
    seen: [[AtomicU64; PAWNS as usize]; 2],
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
            news: [const { [const { AtomicU64::new(0) }; PAWNS as usize] }; 2],
            seen: [const { [const { AtomicU64::new(0) }; PAWNS as usize] }; 2],
            wakers: AtomicU32::new(2),
        }
    }

    /// Leaves news for tasks at random.
    fn wake(&self, me: usize) {
        let mut random = Random(me as u64);
        for round in 1..=ROUNDS {
            let id = TaskId(random.below(u64::from(PAWNS)) as u8);
            self.news[me][id.index()].store(round, Ordering::Relaxed);
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

    /// `id`, which runs, sees its news.
    fn look(&self, id: TaskId) {
        for (news, seen) in self.news.iter().zip(&self.seen) {
            seen[id.index()].store(news[id.index()].load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn has_news(&self, id: TaskId) -> bool {
        let mut both = self.news.iter().zip(&self.seen);
        both.any(|(news, seen)| {
            news[id.index()].load(Ordering::Relaxed) != seen[id.index()].load(Ordering::Relaxed)
        })
    }

    fn is_over(&self) -> bool {
        self.wakers.load(Ordering::Acquire) == 0 && (0..PAWNS).all(|id| !self.has_news(TaskId(id)))
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
        let (mut now, mut waited) = (0, 0);
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
            waited += u64::from(self.wakers.load(Ordering::Relaxed) == 0);
            assert!(waited < 100_000_000, "news was left and nobody looks");
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
        if !self.has_news(id) || !self.places.unblock(id, core) {
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
        (0..2).for_each(|me| {
            drop(scope.spawn({
                let game = &game;
                move || game.wake(me)
            }))
        });
    });
    assert!(game.is_over());
}

/// Two threads come to the same point at about the same time, for the `n`th time.
fn meet(came: &AtomicU64, n: u64) {
    came.fetch_add(1, Ordering::AcqRel);
    for looks in 0u32.. {
        if came.load(Ordering::Acquire) >= 2 * n {
            return;
        }
        if looks > 1000 {
            thread::yield_now();
        }
    }
}

/// The owner changes the place of a task from `before` by `change` and looks for news, while another leaves news and looks at the
/// place, again and again. Neither may miss the other: `missed` is what the other found then.
fn owner_and_other_see_each_other(
    before: PlaceState,
    change: impl Fn(&Places) + Sync,
    missed: impl Fn(Wake) -> bool + Sync,
) {
    const TIMES: u64 = 20_000;
    let (places, news, came) = (Places::new(), AtomicBool::new(false), AtomicU64::new(0));
    let found = Mutex::new(Wake::Nothing);
    let mut wrong = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..TIMES {
                meet(&came, 3 * n + 1);
                meet(&came, 3 * n + 2);
                news.store(true, Ordering::Relaxed);
                *found.lock() = places.wake(ID);
                meet(&came, 3 * n + 3);
            }
        });
        for n in 0..TIMES {
            places.put(ID, CpuId(1), before);
            news.store(false, Ordering::Relaxed);
            meet(&came, 3 * n + 1);
            meet(&came, 3 * n + 2);
            change(&places);
            let seen = news.load(Ordering::Relaxed);
            meet(&came, 3 * n + 3);
            wrong += u32::from(!seen && missed(*found.lock()));
        }
    });
    assert_eq!(wrong, 0, "times of {TIMES}");
}

#[test]
fn who_blocks_sees_the_news_or_is_woken() {
    owner_and_other_see_each_other(
        PlaceState::Running,
        |places| places.block(ID, CpuId(1)),
        |wake| wake != Wake::Leave(CpuId(1)),
    );
}

#[test]
fn who_gets_the_core_sees_the_news_or_is_kicked() {
    owner_and_other_see_each_other(
        PlaceState::Queued,
        |places| places.run(ID, CpuId(1)),
        |wake| wake != Wake::Kick(CpuId(1)),
    );
}
