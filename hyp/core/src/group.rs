//! Groups: guests that share a region of memory, ring each other, and see who of them is up.
//!
//! The region needs nothing of us once it is mapped. What is here is the rest. A **doorbell**: who rings sets its bit in the
//! member's [`Member::pending`]; only where nothing was pending does the member get an interrupt, and everything else is done in
//! the ringer's time. **Membership**: a word for
//! each member in a page that all of them read, changed as their lives change.
//!
//! **Storms.** A member that asks at each interrupt who rang could be interrupted again at once, for ever. So rings
//! interrupt a guest so often at most in the long run ([`Budget`]). Who would ring sooner is held: nothing has happened yet, and its
//! store is executed again, in its own time, with its own interrupts in between. Nothing has to be remembered or brought later,
//! so nothing is lost. An interrupt is free that comes from whom the member itself rang: members that answer each other
//! go as fast as they can. Who was held for long enough rings all the same, or others that ring all the time could
//! hold it for ever. Idea not taken: to ring later by a timer of the member's core, which would
//! interrupt it as well.
//!
//! A group outlives its members' lives. To ring one takes the lock of that member's bell, under which its present life cannot
//! end: for as long as it takes to make one interrupt pending. Idea not taken: to reach the life as others do, by
//! [`crate::guest::Guest::vm`], which is a lock as well and two counts of an `Arc` beside.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

use tessera_abi::group::membership::{self, LIVES_SHIFT, State};
use tessera_abi::group::{MAX_MEMBERS, doorbell};

use crate::addr::{PAGE_SIZE, Pa};
use crate::guest_mem::Extent;
use crate::hw::Hw;
use crate::life::{self, Life, Phase};
use crate::lock::Mutex;
use crate::stage2::Access;
use crate::vm::Vm;

mod budget;

pub use budget::Budget;

/// In [`Member::pending`], above a bit for each member: the membership page has changed.
const CHANGED: u64 = 1 << 32;
/// Below it: who rang.
const RINGS: u64 = CHANGED - 1;

/// A group, as long as the board runs.
pub struct Group {
    /// Its name in the configuration.
    pub name: String,
    /// The region: where it is, for the members and on the board.
    pub region: Vec<Extent>,
    /// The frame of the membership page.
    pub page: Pa,
    members: Vec<Member>,
    /// Ticks for which a member has one interrupt.
    price: u64,
    /// How often the page changed.
    generation: Mutex<u64>,
}

/// A guest's place in a group.
pub struct Member {
    /// Which of the guest's groups this is.
    slot: u8,
    access: Access,
    /// Who rang, a bit each, and [`CHANGED`].
    pending: AtomicU64,
    /// Its GPIO is to be told of edges.
    watched: AtomicBool,
    /// Its word on the page.
    told: AtomicU64,
    /// How often it may be interrupted.
    budget: Arc<Budget>,
    /// Whom it rang since a ring of theirs interrupted it last, a bit each.
    rang: AtomicU32,
    /// Its present life, to be rung.
    life: Mutex<Option<Arc<Vm>>>,
}

impl Member {
    /// A member that is down, whose group of number `slot` this is. Its guest has `budget` in all of them.
    pub const fn new(slot: u8, access: Access, budget: Arc<Budget>) -> Self {
        let [pending, told] = [const { AtomicU64::new(0) }; 2];
        let (watched, rang) = (AtomicBool::new(false), AtomicU32::new(0));
        Self { slot, access, pending, watched, told, budget, rang, life: Mutex::new(None) }
    }

    /// Whether a ring by whose bit is `by` would interrupt it too soon. Not so where it has yet to ask for others, or rang that
    /// one itself.
    #[inline]
    fn is_spared(&self, now: u64, by: u32) -> bool {
        !self.budget.is_open(now)
            && self.pending.load(Ordering::Relaxed) & RINGS == 0
            && self.rang.load(Ordering::Relaxed) & by == 0
    }

    /// What a ring that interrupts it counts for, where one that nobody watches is `price`.
    fn cost(&self, price: u64) -> u64 {
        if self.watched.load(Ordering::Relaxed) { budget::GPIO * price } else { price }
    }

    /// Takes what is pending of `bits`.
    fn take(&self, bits: u64) -> u64 {
        // What was noted before the interrupt that the guest took (`Vgic::ring`).
        fence(Ordering::Acquire);
        // Before the look at `watched`, as `Vm::gpio_write` has it the other way round.
        self.pending.fetch_and(!bits, Ordering::SeqCst) & bits
    }

    /// A ring interrupted it.
    #[inline]
    fn charge(&self, now: u64, price: u64, cost: u64, by: u32) {
        if self.rang.load(Ordering::Relaxed) & by == 0 {
            self.budget.charge(now, price, cost);
        } else {
            self.rang.fetch_and(!by, Ordering::Relaxed);
        }
    }
}

/// What is known of a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// What it may do in the region.
    pub access: Access,
    /// Where it is in its life, as the others see it: its word on the membership page.
    pub word: u64,
    /// Who rang since it asked last, a bit an index.
    pub pending: u32,
    /// The page has changed since it asked last.
    pub changed: bool,
}

/// What became of a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Rung {
    /// It is done.
    Done,
    /// It is too soon, and nothing was done: the store is to be executed again.
    Held,
}

/// A guest's share of a group.
#[derive(Clone)]
pub struct Share {
    /// The group.
    pub group: Arc<Group>,
    /// The guest's index in it.
    pub index: u8,
}

impl Group {
    /// A group of these members, at most [`MAX_MEMBERS`], which are all down. `page` is a zeroed frame.
    pub fn new(
        hw: &impl Hw,
        name: String,
        region: Vec<Extent>,
        page: Pa,
        mut members: Vec<Member>,
    ) -> Self {
        members.truncate(MAX_MEMBERS);
        let bytes: u64 = region.iter().map(|extent| extent.len).sum();
        let word = |at, value: u32| hw.write(page.offset(at), &value.to_le_bytes());
        word(membership::MAGIC, membership::MAGIC_VALUE);
        word(membership::VERSION, 1);
        word(membership::MEMBERS, members.len() as u32);
        hw.write(page.offset(membership::SIZE), &bytes.to_le_bytes());
        // Linux maps it as device memory, and reads past the caches; so does who has none on.
        hw.dma_sync(page, PAGE_SIZE);
        let price = hw.counter_hz() / budget::INTERRUPTS_A_SECOND;
        Self { name, region, page, members, price, generation: Mutex::new(0) }
    }

    /// Bytes of the region.
    pub fn size(&self) -> u64 {
        self.region.iter().map(|extent| extent.len).sum()
    }

    /// How many members it has.
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// How often the membership page has changed.
    pub fn generation(&self) -> u64 {
        *self.generation.lock()
    }

    /// What is known of each member, by its index.
    pub fn standings(&self) -> impl Iterator<Item = Standing> {
        self.members.iter().map(|member| {
            let pending = member.pending.load(Ordering::Relaxed);
            Standing {
                access: member.access,
                word: member.told.load(Ordering::Relaxed),
                pending: (pending & RINGS) as u32,
                changed: pending & CHANGED != 0,
            }
        })
    }

    /// Has `member` find that it was rung by whose bit is `by`, if it lives.
    #[inline(always)]
    fn ring(&self, hw: &impl Hw, member: &Member, by: u32, now: u64) {
        let life = member.life.lock();
        let Some(vm) = &*life else { return };
        if member.pending.fetch_or(by.into(), Ordering::AcqRel) & RINGS != 0 {
            return;
        }
        // There is a fence in it, between `pending` and `watched`: who enables a line has one between them as well.
        let interrupted = vm.group_interrupt(hw, member.slot);
        if member.watched.load(Ordering::Relaxed) {
            vm.gpio_edge(hw, member.slot, true);
            member.charge(now, self.price, budget::GPIO * self.price, by);
        } else if interrupted {
            member.charge(now, self.price, self.price, by);
        }
    }

    /// Has `member` find that the membership page has changed, if it lives. A change and a ring each have an interrupt: who
    /// asks for one of the two only is still told of it.
    fn tell_change(hw: &impl Hw, member: &Member) {
        let life = member.life.lock();
        let Some(vm) = &*life else { return };
        if member.pending.fetch_or(CHANGED, Ordering::AcqRel) & CHANGED == 0 {
            vm.group_interrupt(hw, member.slot);
            if member.watched.load(Ordering::Relaxed) {
                vm.gpio_edge(hw, member.slot, true);
            }
        }
    }

    #[inline]
    fn others(&self, index: u8) -> impl Iterator<Item = &Member> {
        let others = self.members.iter().enumerate();
        others.filter(move |(n, _)| *n != usize::from(index)).map(|(_, member)| member)
    }

    /// Has the page say of member `index` what `word` does, and tells the others where that is new. `word` is asked while
    /// nobody else changes the page, so the last one to ask has the latest to tell.
    fn tell(&self, hw: &impl Hw, index: u8, word: impl FnOnce() -> u64) {
        let Some(member) = self.members.get(usize::from(index)) else { return };
        let mut generation = self.generation.lock();
        let word = word();
        if member.told.swap(word, Ordering::Relaxed) == word {
            return;
        }
        *generation += 1;
        let at = membership::WORDS + 8 * u64::from(index);
        hw.write(self.page.offset(at), &word.to_le_bytes());
        hw.dma_sync(self.page.offset(at), 8);
        let at = self.page.offset(membership::GENERATION);
        hw.write(at, &generation.to_le_bytes());
        hw.dma_sync(at, 8);
        drop(generation);
        // Who is rung sees the page as it is now.
        hw.fence();
        self.others(index).for_each(|member| Self::tell_change(hw, member));
    }
}

impl Share {
    fn member(&self) -> Option<&Member> {
        self.group.members.get(usize::from(self.index))
    }

    /// What the guest may do in the region.
    pub fn access(&self) -> Access {
        self.member().map_or(Access::ReadOnly, |member| member.access)
    }

    /// A life of the guest begins: it can be rung, and nobody has rung it yet.
    pub fn begin(&self, vm: &Arc<Vm>) {
        let Some(member) = self.member() else { return };
        let mut life = member.life.lock();
        member.pending.store(0, Ordering::Relaxed);
        member.watched.store(false, Ordering::Relaxed);
        member.rang.store(0, Ordering::Relaxed);
        member.budget.renew();
        *life = Some(vm.clone());
    }

    /// The life of the guest is over: it is not held any more.
    pub fn end(&self) {
        if let Some(member) = self.member() {
            *member.life.lock() = None;
        }
    }

    /// Tells the other members where the guest is in its life, where that has changed.
    pub fn tell(&self, hw: &impl Hw, life: &Life) {
        self.group.tell(hw, self.index, || {
            let (starts, state, phase) = life.standing();
            starts << LIVES_SHIFT | seen(state, phase) as u64
        });
    }

    /// Whether there is something that the guest has not asked for yet.
    pub fn is_pending(&self) -> bool {
        self.member().is_some_and(|member| member.pending.load(Ordering::Relaxed) != 0)
    }

    /// Whether the guest's GPIO is to be told when that changes. Who has it so and then finds nothing pending misses nothing:
    /// both look at `pending`, one after the other.
    pub fn watch(&self, watched: bool) {
        if let Some(member) = self.member() {
            member.watched.store(watched, Ordering::Relaxed);
        }
    }

    /// Whether a load has left nothing pending, of which the guest's GPIO is to be told.
    #[inline]
    pub fn is_line_to_fall(&self) -> bool {
        self.member().is_some_and(|member| member.watched.load(Ordering::SeqCst))
            && !self.is_pending()
    }

    /// Takes who rang, a bit each, and whether the membership page has changed.
    pub fn take_all(&self) -> (u32, bool) {
        let taken = self.member().map_or(0, |member| member.take(RINGS | CHANGED));
        ((taken & RINGS) as u32, taken & CHANGED != 0)
    }

    /// A load from the doorbell page; `None` where nothing answers.
    pub fn read(&self, offset: u64, size: u8) -> Option<u32> {
        let member = self.member()?;
        match (offset, size) {
            (doorbell::RING, 4) => Some(0),
            (doorbell::PENDING, 4) => Some(member.take(RINGS) as u32),
            (doorbell::CHANGED, 4) => Some(u32::from(member.take(CHANGED) != 0)),
            (doorbell::INDEX, 4) => Some(self.index.into()),
            (doorbell::MEMBERS, 4) => Some(self.group.count() as u32),
            (doorbell::WRITABLE, 4) => Some((member.access == Access::ReadWrite).into()),
            _ => None,
        }
    }

    /// Rings `whom`: a member by its index, or all others.
    #[inline(always)]
    pub fn ring(&self, hw: &impl Hw, whom: u32) -> Rung {
        let (group, Some(me)) = (&*self.group, self.member()) else { return Rung::Done };
        if whom == u32::from(self.index) {
            return Rung::Done;
        }
        let Some(member) = group.members.get(whom as usize) else {
            return if whom == doorbell::ALL { self.ring_all(hw, me) } else { Rung::Done };
        };
        let (by, now) = (self.bit(), hw.now());
        if member.is_spared(now, by) && !me.budget.insists(now, member.cost(group.price)) {
            return Rung::Held;
        }
        // Before the ring, whose answer may be quick.
        let bit = 1 << (whom % MAX_MEMBERS as u32);
        if me.rang.load(Ordering::Relaxed) & bit == 0 {
            me.rang.fetch_or(bit, Ordering::Relaxed);
        }
        group.ring(hw, member, by, now);
        Rung::Done
    }

    /// All or none: who is held rings nobody twice.
    #[inline(never)]
    fn ring_all(&self, hw: &impl Hw, me: &Member) -> Rung {
        let (group, by, now) = (&*self.group, self.bit(), hw.now());
        let spared = || group.others(self.index).filter(|member| member.is_spared(now, by));
        let cost = spared().map(|member| member.cost(group.price)).max();
        if cost.is_some_and(|cost| !me.budget.insists(now, cost)) {
            return Rung::Held;
        }
        me.rang.store(u32::MAX, Ordering::Relaxed);
        group.others(self.index).for_each(|member| group.ring(hw, member, by, now));
        Rung::Done
    }

    /// Its own, where members have a bit each.
    fn bit(&self) -> u32 {
        1 << (self.index % MAX_MEMBERS as u8)
    }
}

/// Where a guest is in its life, for the others: what matters to them is whether it can still write.
fn seen(state: life::State, phase: Phase) -> State {
    match phase {
        Phase::Building | Phase::Clearing | Phase::Loading => State::Starting,
        Phase::Running if state == life::State::Paused => State::Paused,
        Phase::Running => State::Up,
        Phase::Leaving => State::Leaving,
        Phase::Down => match state {
            life::State::Crashed => State::Crashed,
            life::State::Restarting => State::Restarting,
            _ => State::Down,
        },
    }
}

#[cfg(test)]
mod tests;
