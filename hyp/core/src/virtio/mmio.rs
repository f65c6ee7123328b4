//! The register window of a virtio-mmio device (VIRTIO 1.3 4.2), for any kind of device.
//!
//! [`Transport`] holds what all devices have: features, status, queues and the interrupt's reasons. A store is a
//! request to it, answered by what the device has to do ([`Written`]); a store that is out of order changes nothing,
//! because the standard gives it no meaning. Two things the transport cannot do alone and therefore only reports: to
//! reset, and to stop a queue, both of which must wait until no DMA of the device is under way.

use super::queue::{Area, Queue, QueueError};
use super::{MAGIC, feature, interrupt, reg, status};
use crate::guest_mem::GuestRam;
use crate::hw::Hw;

/// What VendorID reads as.
const VENDOR: u32 = u32::from_le_bytes(*b"TESS");
/// The interface that this is (VIRTIO 1.3 4.2.2).
const VERSION: u32 = 2;

/// What a store asks of the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Written {
    /// Nothing further.
    Nothing,
    /// To look at this queue.
    Notify(u16),
    /// To call [`Transport::reset`] as soon as nothing is under way.
    Reset,
    /// To call [`Queue::stop`] for this queue as soon as nothing of it is under way.
    StopQueue(u16),
    /// To raise its interrupt: the device broke down and says so.
    Interrupt,
}

/// The transport's state of a device with `N` queues.
pub type Transport<const N: usize> = Registers<[Queue; N]>;

/// The same for `Q`, the queues: what is not in a hurry is there once, for any number of them.
#[derive(Debug)]
pub struct Registers<Q: ?Sized> {
    device_id: u32,
    offered: u64,
    accepted: u64,
    device_features_sel: u32,
    driver_features_sel: u32,
    queue_sel: u32,
    status: u32,
    interrupt: u32,
    generation: u32,
    fault: Option<QueueError>,
    queues: Q,
}

impl<const N: usize> Transport<N> {
    /// A device of kind `device_id` that offers `features` (VERSION_1 is added), with queues of at most `queue_max`
    /// descriptors, a power of two.
    pub fn new(device_id: u32, features: u64, queue_max: u16) -> Self {
        Self {
            device_id,
            offered: features | feature::VERSION_1,
            accepted: 0,
            device_features_sel: 0,
            driver_features_sel: 0,
            queue_sel: 0,
            status: 0,
            interrupt: 0,
            generation: 0,
            fault: None,
            queues: core::array::from_fn(|_| Queue::new(queue_max)),
        }
    }

    /// Back to the state after power-on (VIRTIO 1.3 2.4).
    pub fn reset(&mut self) {
        let Self { device_id, offered, generation, .. } = *self;
        let max = self.queues.first().map_or(0, Queue::max);
        *self = Self { generation, ..Self::new(device_id, offered, max) };
    }

    /// The features that the driver accepted.
    pub const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// A queue, if there is one with this number.
    #[inline]
    pub fn queue(&mut self, number: u16) -> Option<&mut Queue> {
        self.queues.get_mut(usize::from(number))
    }

    /// A queue that may be used now, if there is one with this number.
    pub fn ready_queue(&mut self, number: u16) -> Option<&mut Queue> {
        let live = self.live();
        self.queue(number).filter(|queue| live && queue.ready())
    }

    /// Whether the driver wants an interrupt for the buffers of a queue that were used since it was last asked: the
    /// device is to raise it then.
    pub fn tell(&mut self, number: u16, hw: &impl Hw, ram: &GuestRam) -> Result<bool, QueueError> {
        let Some(queue) = self.queue(number) else { return Ok(false) };
        let wanted = queue.wants_interrupt(hw, ram)?;
        if wanted {
            self.note_used();
        }
        Ok(wanted)
    }

    /// Notes that a buffer was used and the driver wants to know.
    #[inline]
    pub fn note_used(&mut self) {
        self.interrupt |= interrupt::USED;
    }

    /// Notes that the device's configuration changed; whether to raise the interrupt.
    pub fn note_config(&mut self) -> bool {
        self.generation = self.generation.wrapping_add(1);
        self.interrupt |= interrupt::CONFIG;
        self.live()
    }

    /// Why the device broke down, once each time: for a person to read.
    pub fn take_fault(&mut self) -> Option<QueueError> {
        self.fault.take()
    }

    /// A load from the device's window, whose configuration space is `config`. Control registers are 32 bits wide and
    /// aligned; others read as 0 there.
    #[inline(always)]
    pub fn load(&self, config: &[u8], offset: u64, size: u8) -> u64 {
        // What drivers are in a hurry with.
        if offset == reg::INTERRUPT_STATUS && size == 4 {
            return self.interrupt.into();
        }
        let any: &Registers<[Queue]> = self;
        any.load_more(config, offset, size)
    }

    /// The value of a control register, below [`reg::CONFIG`]. What is not there reads as 0.
    #[inline]
    pub fn read(&self, offset: u64) -> u32 {
        let any: &Registers<[Queue]> = self;
        any.control(offset)
    }

    /// Stores to a control register.
    #[inline(always)]
    pub fn write(&mut self, offset: u64, value: u32, ram: &GuestRam) -> Written {
        // What drivers are in a hurry with.
        match offset {
            reg::QUEUE_NOTIFY if self.live() => {
                u16::try_from(value).map_or(Written::Nothing, Written::Notify)
            }
            reg::INTERRUPT_ACK => {
                self.interrupt &= !value;
                Written::Nothing
            }
            _ => {
                let any: &mut Registers<[Queue]> = self;
                any.write_more(offset, value, ram)
            }
        }
    }
}

impl<Q: ?Sized> Registers<Q> {
    /// Whether buffers may be used and interrupts sent (VIRTIO 1.3 2.1.2).
    #[inline]
    pub const fn live(&self) -> bool {
        self.status & (status::DRIVER_OK | status::NEEDS_RESET) == status::DRIVER_OK
    }

    /// The device cannot go on, because of `fault` (VIRTIO 1.3 2.1.2); whether to raise the interrupt.
    #[cold]
    pub fn break_down(&mut self, fault: QueueError) -> bool {
        let tell = self.live();
        self.fault = Some(fault);
        self.status |= status::NEEDS_RESET;
        if tell {
            self.interrupt |= interrupt::CONFIG;
        }
        tell
    }
}

impl Registers<[Queue]> {
    #[inline(never)]
    fn load_more(&self, config: &[u8], offset: u64, size: u8) -> u64 {
        if offset >= reg::CONFIG {
            return read_config(config, offset - reg::CONFIG, size);
        }
        if size != 4 { 0 } else { u64::from(self.control(offset)) }
    }

    fn control(&self, offset: u64) -> u32 {
        match offset {
            reg::INTERRUPT_STATUS => self.interrupt,
            reg::MAGIC => MAGIC,
            reg::VERSION => VERSION,
            reg::DEVICE_ID => self.device_id,
            reg::VENDOR_ID => VENDOR,
            reg::DEVICE_FEATURES => half(self.offered, self.device_features_sel),
            reg::QUEUE_NUM_MAX => self.selected().map_or(0, |q| u32::from(q.max())),
            reg::QUEUE_READY => self.selected().map_or(0, |q| u32::from(q.ready())),
            reg::STATUS => self.status,
            // There are no shared memory regions: all ones for length and address (VIRTIO 1.3 4.2.2).
            reg::SHM_LEN..=reg::SHM_BASE_HIGH => u32::MAX,
            reg::CONFIG_GENERATION => self.generation,
            _ => 0,
        }
    }

    #[inline(never)]
    fn write_more(&mut self, offset: u64, value: u32, ram: &GuestRam) -> Written {
        match offset {
            reg::DEVICE_FEATURES_SEL => self.device_features_sel = value,
            reg::DRIVER_FEATURES_SEL => self.driver_features_sel = value,
            reg::DRIVER_FEATURES => self.accept(value),
            reg::QUEUE_SEL => self.queue_sel = value,
            reg::STATUS if value == 0 => return Written::Reset,
            reg::STATUS => self.advance(value),
            reg::QUEUE_READY => return self.set_ready(value, ram),
            _ => self.set_up_queue(offset, value),
        }
        Written::Nothing
    }

    fn selected(&self) -> Option<&Queue> {
        self.queues.get(self.queue_sel as usize)
    }

    /// Features can be chosen until both sides have agreed on them (VIRTIO 1.3 3.1.1).
    fn accept(&mut self, value: u32) {
        if self.status & status::FEATURES_OK != 0 {
            return;
        }
        let (value, low) = (u64::from(value), u64::from(u32::MAX));
        match self.driver_features_sel {
            0 => self.accepted = self.accepted & !low | value,
            1 => self.accepted = self.accepted & low | value << 32,
            // Features beyond 63 do not exist: remember only that the choice is bad.
            _ if value != 0 => self.accepted |= !self.offered,
            _ => {}
        }
    }

    /// Sets status bits, each if the one before it is set (VIRTIO 1.3 3.1.1); none is ever cleared but by a reset.
    fn advance(&mut self, value: u32) {
        let good = self.accepted & !self.offered == 0 && self.accepted & feature::VERSION_1 != 0;
        let steps = [
            (status::ACKNOWLEDGE, 0, true),
            (status::DRIVER, status::ACKNOWLEDGE, true),
            (status::FEATURES_OK, status::DRIVER, good),
            (status::DRIVER_OK, status::FEATURES_OK, true),
            (status::FAILED, 0, true),
        ];
        for (bit, after, allowed) in steps {
            if value & bit != 0 && self.status & after == after && allowed {
                self.status |= bit;
            }
        }
    }

    fn set_ready(&mut self, value: u32, ram: &GuestRam) -> Written {
        let agreed = self.status & status::FEATURES_OK != 0;
        let event_idx = self.accepted & feature::EVENT_IDX != 0;
        let indirect = self.accepted & feature::INDIRECT_DESC != 0;
        let Some(queue) = self.queues.get_mut(self.queue_sel as usize) else {
            return Written::Nothing;
        };
        match (value & 1 != 0, queue.ready()) {
            (true, false) if agreed => match queue.start(ram, event_idx, indirect) {
                Err(fault) if self.break_down(fault) => Written::Interrupt,
                _ => Written::Nothing,
            },
            (false, true) => Written::StopQueue(self.queue_sel as u16),
            _ => Written::Nothing,
        }
    }

    /// Size and addresses of the selected queue, while it is not in use (VIRTIO 1.3 4.2.2.2).
    fn set_up_queue(&mut self, offset: u64, value: u32) {
        let Some(queue) = self.queues.get_mut(self.queue_sel as usize) else { return };
        if queue.ready() {
            return;
        }
        if offset == reg::QUEUE_NUM {
            // Beyond 16 bits is as wrong as 0, which the start of the queue refuses.
            return queue.set_size(u16::try_from(value).unwrap_or(0));
        }
        let area = match offset & !4 {
            reg::QUEUE_DESC => Area::Desc,
            reg::QUEUE_DRIVER => Area::Driver,
            reg::QUEUE_DEVICE => Area::Device,
            _ => return,
        };
        let (address, value) = (&mut queue.area(area).0, u64::from(value));
        *address = match offset & 4 {
            0 => *address & !u64::from(u32::MAX) | value,
            _ => *address & u64::from(u32::MAX) | value << 32,
        };
    }
}

/// 32 bits of a feature set; there are none beyond the second half.
const fn half(features: u64, select: u32) -> u32 {
    match select {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}

/// Reads `size` bytes (1, 2, 4 or 8) of a configuration space, 0 beyond its end (VIRTIO 1.3 2.5).
#[inline]
fn read_config(config: &[u8], offset: u64, size: u8) -> u64 {
    let mut bytes = [0; 8];
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(config.len());
    let there = config.get(from..).unwrap_or(&[]);
    for (to, from) in bytes.iter_mut().zip(there).take(usize::from(size)) {
        *to = *from;
    }
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::addr::{Ipa, Pa};
    use crate::guest_mem::Extent;

    fn ram() -> GuestRam {
        GuestRam::new(vec![Extent { ipa: Ipa(0x4000_0000), pa: Pa(0), len: 0x10000 }]).unwrap()
    }

    fn device() -> Transport<1> {
        Transport::new(2, feature::EVENT_IDX | feature::INDIRECT_DESC, 128)
    }

    /// Takes a device to FEATURES_OK with these features.
    fn agree(t: &mut Transport<1>, features: u64) -> u32 {
        let ram = ram();
        for (offset, value) in [
            (reg::STATUS, 1),
            (reg::STATUS, 3),
            (reg::DRIVER_FEATURES_SEL, 0),
            (reg::DRIVER_FEATURES, features as u32),
            (reg::DRIVER_FEATURES_SEL, 1),
            (reg::DRIVER_FEATURES, (features >> 32) as u32),
            (reg::STATUS, 11),
        ] {
            assert_eq!(t.write(offset, value, &ram), Written::Nothing);
        }
        t.read(reg::STATUS)
    }

    fn set_queue(t: &mut Transport<1>, size: u32, desc: u64, avail: u64, used: u64) {
        let ram = ram();
        let halves =
            [(reg::QUEUE_DESC, desc), (reg::QUEUE_DRIVER, avail), (reg::QUEUE_DEVICE, used)];
        assert_eq!(t.write(reg::QUEUE_NUM, size, &ram), Written::Nothing);
        for (offset, address) in halves {
            assert_eq!(t.write(offset, address as u32, &ram), Written::Nothing);
            assert_eq!(t.write(offset + 4, (address >> 32) as u32, &ram), Written::Nothing);
        }
    }

    #[test]
    fn a_driver_finds_a_modern_block_device() {
        let t = device();
        assert_eq!(t.read(reg::MAGIC), 0x7472_6976);
        assert_eq!((t.read(reg::VERSION), t.read(reg::DEVICE_ID)), (2, 2));
        assert_eq!(t.read(reg::QUEUE_NUM_MAX), 128);
        assert_eq!(t.read(reg::SHM_LEN), u32::MAX);
        assert_eq!(t.read(0x0e0), 0);
    }

    #[test]
    fn features_are_agreed_only_when_all_were_offered_and_version_1_is_among_them() {
        assert_eq!(agree(&mut device(), feature::VERSION_1 | feature::EVENT_IDX), 11);
        assert_eq!(agree(&mut device(), feature::EVENT_IDX), 3);
        assert_eq!(agree(&mut device(), feature::VERSION_1 | 1 << 40), 3);
        assert_eq!(agree(&mut device(), feature::VERSION_1 | 1), 3);
    }

    #[test]
    fn features_beyond_the_second_word_spoil_the_choice() {
        let (mut t, ram) = (device(), ram());
        let _ = t.write(reg::STATUS, 3, &ram);
        let _ = t.write(reg::DRIVER_FEATURES_SEL, 2, &ram);
        let _ = t.write(reg::DRIVER_FEATURES, 1, &ram);
        let _ = t.write(reg::DRIVER_FEATURES_SEL, 1, &ram);
        let _ = t.write(reg::DRIVER_FEATURES, 1, &ram);
        let _ = t.write(reg::STATUS, 11, &ram);
        assert_eq!(t.read(reg::STATUS), 3);
        assert_eq!(t.read(reg::DEVICE_FEATURES), 0x3000_0000);
    }

    #[test]
    fn status_bits_are_set_in_order_and_cleared_only_together() {
        let (mut t, ram) = (device(), ram());
        let _ = t.write(reg::STATUS, status::DRIVER_OK, &ram);
        assert_eq!(t.read(reg::STATUS), 0);
        let _ = t.write(reg::STATUS, status::ACKNOWLEDGE | status::DRIVER_OK, &ram);
        assert_eq!(t.read(reg::STATUS), status::ACKNOWLEDGE);
        let _ = t.write(reg::STATUS, status::DRIVER, &ram);
        assert_eq!(t.read(reg::STATUS), 3);
        assert_eq!(t.write(reg::STATUS, 0, &ram), Written::Reset);
        t.reset();
        assert_eq!(t.read(reg::STATUS), 0);
    }

    #[test]
    fn a_queue_becomes_ready_only_when_all_of_it_is_aligned_ram() {
        let (base, ram) = (0x4000_0000, ram());
        let try_queue = |size, desc, avail, used| {
            let mut t = device();
            agree(&mut t, feature::VERSION_1);
            set_queue(&mut t, size, desc, avail, used);
            let _ = t.write(reg::QUEUE_READY, 1, &ram);
            (t.read(reg::QUEUE_READY), t.read(reg::STATUS) & status::NEEDS_RESET)
        };
        let (good, bad) = ((1, 0), (0, status::NEEDS_RESET));
        assert_eq!(try_queue(128, base, base + 0x1000, base + 0x2000), good);
        assert_eq!(try_queue(1, base, base + 0x1000, base + 0x2000), good);
        assert_eq!(try_queue(0, base, base + 0x1000, base + 0x2000), bad);
        assert_eq!(try_queue(100, base, base + 0x1000, base + 0x2000), bad);
        assert_eq!(try_queue(256, base, base + 0x1000, base + 0x2000), bad);
        assert_eq!(try_queue(0x1_0080, base, base + 0x1000, base + 0x2000), bad);
        assert_eq!(try_queue(128, base + 8, base + 0x1000, base + 0x2000), bad);
        assert_eq!(try_queue(128, base, base + 0x1001, base + 0x2000), bad);
        assert_eq!(try_queue(128, base, base + 0x1000, base + 0x2002), bad);
        assert_eq!(try_queue(128, base + 0xfff0, base + 0x1000, base + 0x2000), bad);
        assert_eq!(try_queue(128, base, base - 2, base + 0x2000), bad);
        assert_eq!(try_queue(128, base, base + 0x1000, u64::MAX - 3), bad);
    }

    #[test]
    fn a_ready_queue_cannot_be_moved_and_is_stopped_by_the_device() {
        let (mut t, base, ram) = (device(), 0x4000_0000, ram());
        agree(&mut t, feature::VERSION_1);
        set_queue(&mut t, 8, base, base + 0x1000, base + 0x2000);
        let _ = t.write(reg::QUEUE_READY, 1, &ram);
        set_queue(&mut t, 4, 0, 0, 0);
        let queue = t.queue(0).unwrap();
        assert_eq!((queue.size(), *queue.area(Area::Desc)), (8, Ipa(base)));
        assert_eq!(t.write(reg::QUEUE_READY, 0, &ram), Written::StopQueue(0));
    }

    #[test]
    fn a_notification_counts_only_while_the_device_is_live() {
        let (mut t, ram) = (device(), ram());
        assert_eq!(t.write(reg::QUEUE_NOTIFY, 0, &ram), Written::Nothing);
        agree(&mut t, feature::VERSION_1);
        let _ = t.write(reg::STATUS, 15, &ram);
        assert_eq!(t.write(reg::QUEUE_NOTIFY, 0, &ram), Written::Notify(0));
        assert_eq!(t.write(reg::QUEUE_NOTIFY, 0x1_0000, &ram), Written::Nothing);
        assert!(t.break_down(QueueError::Loop));
        assert_eq!((t.take_fault(), t.take_fault()), (Some(QueueError::Loop), None));
        assert_eq!(t.read(reg::INTERRUPT_STATUS), interrupt::CONFIG);
        assert_eq!(t.write(reg::QUEUE_NOTIFY, 0, &ram), Written::Nothing);
        assert!(!t.break_down(QueueError::Loop));
    }

    #[test]
    fn interrupt_reasons_are_acknowledged_one_by_one() {
        let (mut t, ram) = (device(), ram());
        t.note_used();
        let _ = t.note_config();
        assert_eq!(t.read(reg::INTERRUPT_STATUS), 3);
        let _ = t.write(reg::INTERRUPT_ACK, 1, &ram);
        assert_eq!(t.read(reg::INTERRUPT_STATUS), 2);
        assert_eq!(t.read(reg::CONFIG_GENERATION), 1);
    }

    #[test]
    fn configuration_is_read_in_any_size_and_is_zero_beyond_its_end() {
        let config = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(read_config(&config, 0, 8), 0x0807_0605_0403_0201);
        assert_eq!(read_config(&config, 4, 4), 0x0807_0605);
        assert_eq!(read_config(&config, 8, 2), 9);
        assert_eq!(read_config(&config, 1, 1), 2);
        assert_eq!(read_config(&config, u64::MAX, 8), 0);
    }
}
