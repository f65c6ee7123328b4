//! A guest's disk: a virtio block device (VIRTIO 1.3 5.2) on a window of the board's disk.
//!
//! A notification makes the device take request after request from its queue, judge each (`request`) and hand it to
//! the board's disk with the guest's own pages as the target. The disk's completion comes back through
//! [`VirtioBlk::finish`]. Nothing is copied and nobody waits.
//!
//! **When the disk has no room** the request stays where it is, in the guest's ring, and the device goes on at
//! [`VirtioBlk::resume`]. A list of waiting requests would only repeat what the ring holds, in memory that a guest
//! could make us spend.
//!
//! **Reset.** Pages that the disk still writes to must not be taken for free. So a reset (and likewise the stop of a
//! queue) happens when the last request has come back: until then the status reads as before, nothing new begins,
//! nothing is written to the rings, and the guest's store is answered with [`Effect::retry`], that is, it is to be
//! executed again. A driver that does not wait for the status to read 0 (Linux over MMIO does not) is safe that way,
//! and its core still takes interrupts between one try and the next.

use alloc::boxed::Box;
use alloc::vec;

use crate::addr::Ipa;
use crate::disk::{Accepted, DiskError, DiskRequest, SubmitError, Tag, Window};
use crate::guest_mem::GuestRam;
use crate::hw::Hw;
use crate::virtio::mmio::{Transport, Written};
use crate::virtio::queue::QueueError;
use crate::virtio::reg;

pub(crate) mod config;
pub(crate) mod request;
#[cfg(test)]
mod tests;

use config::blk_feature;
pub use config::{DEVICE_ID, MAX_DISCARD, MAX_WRITE_ZEROES, QUEUE_MAX, SEG_MAX};
use request::{Ask, Chain};
pub use request::{ID_SIZE, Status};

/// What the caller has to do after an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct Effect {
    /// Pulse the device's (edge) interrupt.
    pub interrupt: bool,
    /// Leave the guest's program counter at the store, so that it is executed again.
    pub retry: bool,
}

/// What waits for the requests under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Draining {
    No,
    Queue,
    Device,
}

/// A request under way, by the head of its chain.
#[derive(Clone, Copy, Debug)]
struct Flight {
    busy: bool,
    status: Ipa,
    /// Bytes that the disk writes to the guest.
    data: u32,
}

/// How far one request came.
enum Step {
    /// There is none.
    Empty,
    /// The disk has no room.
    Stalled,
    /// It is under way.
    Begun,
    /// It has its status already.
    Answered,
}

/// A block device of a guest.
#[derive(Debug)]
pub struct VirtioBlk {
    transport: Transport<1>,
    window: Window,
    config: [u8; config::at::SIZE],
    id: [u8; ID_SIZE],
    in_flight: u16,
    draining: Draining,
    flights: Box<[Flight]>,
    chain: Chain,
    request: DiskRequest,
}

impl VirtioBlk {
    /// A disk that shows `window` of the board's disk. `owner` is its attachment there; `id` is what a guest reads as
    /// its serial number.
    pub fn new(owner: u8, window: Window, id: [u8; ID_SIZE]) -> Self {
        let idle = Flight { busy: false, status: Ipa(0), data: 0 };
        Self {
            transport: Transport::new(DEVICE_ID, config::features(&window), QUEUE_MAX),
            window,
            config: config::space(&window),
            id,
            in_flight: 0,
            draining: Draining::No,
            flights: vec![idle; usize::from(QUEUE_MAX)].into_boxed_slice(),
            chain: Chain::new(),
            request: DiskRequest::new(Tag { owner, request: 0 }),
        }
    }

    /// A load from the device's window.
    #[inline(always)]
    pub fn mmio_read(&self, offset: u64, size: u8) -> u64 {
        self.transport.load(&self.config, offset, size)
    }

    /// A store to the device's window. `submit` gives a request to the board's disk.
    #[inline(always)]
    pub fn mmio_write(
        &mut self,
        offset: u64,
        size: u8,
        value: u64,
        hw: &impl Hw,
        ram: &GuestRam,
        submit: &mut impl FnMut(&DiskRequest) -> Result<Accepted, SubmitError>,
    ) -> Effect {
        // The configuration space has no field to write: the cache mode is not offered.
        if size != 4 || offset >= reg::CONFIG {
            return Effect::default();
        }
        if self.draining != Draining::No && offset < reg::STATUS && offset != reg::INTERRUPT_ACK {
            return Effect { interrupt: false, retry: offset == reg::QUEUE_READY };
        }
        match self.transport.write(offset, value as u32, ram) {
            Written::Nothing => Effect::default(),
            Written::Notify(0) => self.serve(hw, ram, submit),
            Written::Notify(_) => Effect::default(),
            Written::Interrupt => Effect { interrupt: true, retry: false },
            Written::Reset => Effect { interrupt: false, retry: !self.reset() },
            Written::StopQueue(_) => {
                self.drain(Draining::Queue);
                Effect { interrupt: false, retry: self.draining != Draining::No }
            }
        }
    }

    /// Resets the device, as a guest or the end of a guest demands; whether that is done. If not, requests are under
    /// way: it will be done when the last of them has gone through [`Self::finish`].
    pub fn reset(&mut self) -> bool {
        self.drain(Draining::Device);
        self.draining == Draining::No
    }

    /// Requests that the board's disk still has of this device.
    pub fn in_flight(&self) -> u16 {
        self.in_flight
    }

    /// Why the device broke down, once each time: for a person to read.
    pub fn take_fault(&mut self) -> Option<QueueError> {
        self.transport.take_fault()
    }

    /// Goes on where the board's disk had no room, when it has some. Never asks for a retry: there is no store.
    pub fn resume(
        &mut self,
        hw: &impl Hw,
        ram: &GuestRam,
        submit: &mut impl FnMut(&DiskRequest) -> Result<Accepted, SubmitError>,
    ) -> Effect {
        /// Queues' worth of requests that are answered at once, all of them new since the first.
        const ROUNDS: u32 = 16;
        let mut interrupt = false;
        for _ in 0..ROUNDS {
            let effect = self.serve(hw, ram, submit);
            interrupt |= effect.interrupt;
            if !effect.retry {
                return Effect { interrupt, retry: false };
            }
        }
        Effect { interrupt: self.transport.break_down(QueueError::Endless), retry: false }
    }

    /// Takes what is in the queue. At most a queue's worth; then [`Effect::retry`] asks to come back after what is
    /// pending elsewhere.
    #[inline]
    fn serve(
        &mut self,
        hw: &impl Hw,
        ram: &GuestRam,
        submit: &mut impl FnMut(&DiskRequest) -> Result<Accepted, SubmitError>,
    ) -> Effect {
        let mut effect = Effect { interrupt: false, retry: true };
        let mut answered = false;
        for _ in 0..=QUEUE_MAX {
            match self.step(hw, ram, submit) {
                Ok(Step::Begun) => {}
                Ok(Step::Answered) => answered = true,
                Ok(Step::Empty | Step::Stalled) => {
                    effect.retry = false;
                    break;
                }
                Err(fault) => {
                    return Effect { interrupt: self.transport.break_down(fault), retry: false };
                }
            }
        }
        effect.interrupt = answered && self.tell_guest(hw, ram);
        effect
    }

    /// Takes the result of a request, by [`Tag::request`]; whether to pulse the interrupt. A request that is not
    /// under way is ignored.
    #[inline]
    pub fn finish(
        &mut self,
        request: u16,
        result: Result<(), DiskError>,
        hw: &impl Hw,
        ram: &GuestRam,
    ) -> bool {
        let Some(flight) = self.flights.get_mut(usize::from(request)).filter(|f| f.busy) else {
            return false;
        };
        flight.busy = false;
        let data = flight.data;
        let at = flight.status;
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.draining != Draining::No {
            self.drain(self.draining);
            return false;
        }
        if !self.transport.live() {
            return false;
        }
        let status = match result {
            Ok(()) => Status::Ok,
            Err(DiskError::Unsupported) => Status::Unsupported,
            Err(DiskError::Failed | DiskError::Lost) => Status::IoError,
        };
        match self.answer(hw, ram, request, at, data, status) {
            Ok(()) => self.tell_guest(hw, ram),
            Err(fault) => self.transport.break_down(fault),
        }
    }

    #[inline]
    fn step(
        &mut self,
        hw: &impl Hw,
        ram: &GuestRam,
        submit: &mut impl FnMut(&DiskRequest) -> Result<Accepted, SubmitError>,
    ) -> Result<Step, QueueError> {
        if !self.transport.live() || self.draining != Draining::No {
            return Ok(Step::Empty);
        }
        let Some(queue) = self.transport.queue(0).filter(|q| q.ready()) else {
            return Ok(Step::Empty);
        };
        let Some(head) = queue.pop(hw, ram)? else { return Ok(Step::Empty) };
        if self.flights.get(usize::from(head)).is_none_or(|flight| flight.busy) {
            return Err(QueueError::Head);
        }
        self.chain.load(hw, ram, queue, head)?;
        let (status, written) = match self.chain.parse(hw, ram, &self.window, &mut self.request) {
            Ok(Ask::Disk) => match self.begin(head, submit) {
                Ok(step) => return Ok(step),
                Err(status) => (status, 0),
            },
            Ok(Ask::Identify) => match self.chain.identify(hw, ram, &self.id) {
                Ok(written) => (Status::Ok, written),
                Err(status) => (status, 0),
            },
            Err(status) => (status, 0),
        };
        self.answer(hw, ram, head, self.chain.status, written, status)?;
        Ok(Step::Answered)
    }

    /// Hands the request to the board's disk; a status where it is to be answered at once.
    #[inline]
    fn begin(
        &mut self,
        head: u16,
        submit: &mut impl FnMut(&DiskRequest) -> Result<Accepted, SubmitError>,
    ) -> Result<Step, Status> {
        self.request.tag.request = head;
        // Without FLUSH the driver cannot ask for durable data and may rely on it (VIRTIO 1.3 5.2.5).
        self.request.durable = self.transport.accepted() & blk_feature::FLUSH == 0;
        match submit(&self.request) {
            Ok(Accepted::Queued) => {}
            Ok(Accepted::Done) => return Err(Status::Ok),
            Err(SubmitError::Full) => {
                if let Some(queue) = self.transport.queue(0) {
                    queue.put_back();
                }
                return Ok(Step::Stalled);
            }
            Err(SubmitError::Refused | SubmitError::Lost) => return Err(Status::IoError),
        }
        if let Some(flight) = self.flights.get_mut(usize::from(head)) {
            let data = self.chain.data_written(self.request.op);
            *flight = Flight { busy: true, status: self.chain.status, data };
        }
        self.in_flight += 1;
        Ok(Step::Begun)
    }

    /// Writes the status byte and gives the chain back. The length counts from the first byte to write on (VIRTIO 1.3
    /// 2.7.8.2), so it includes the status only where all data before it was written.
    #[inline]
    fn answer(
        &mut self,
        hw: &impl Hw,
        ram: &GuestRam,
        head: u16,
        at: Ipa,
        data: u32,
        status: Status,
    ) -> Result<(), QueueError> {
        let queue = self.transport.queue(0).filter(|q| q.ready()).ok_or(QueueError::Outside)?;
        ram.write(hw, at, &[status as u8])?;
        let written = if status == Status::Ok { data.saturating_add(1) } else { 0 };
        queue.push(hw, ram, head, written)
    }

    #[inline]
    fn tell_guest(&mut self, hw: &impl Hw, ram: &GuestRam) -> bool {
        let Some(queue) = self.transport.queue(0) else { return false };
        match queue.wants_interrupt(hw, ram) {
            Ok(true) => {
                self.transport.note_used();
                true
            }
            Ok(false) => false,
            Err(fault) => self.transport.break_down(fault),
        }
    }

    /// Resets or stops now if nothing is under way, and remembers to do so otherwise.
    fn drain(&mut self, what: Draining) {
        if self.in_flight != 0 {
            // A reset also stops the queue, so it replaces a stop and is not replaced by one.
            self.draining = if self.draining == Draining::Device { Draining::Device } else { what };
            return;
        }
        match what {
            Draining::Device => self.transport.reset(),
            Draining::Queue => {
                if let Some(queue) = self.transport.queue(0) {
                    queue.stop();
                }
            }
            Draining::No => {}
        }
        self.draining = Draining::No;
    }
}
