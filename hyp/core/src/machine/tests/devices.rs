//! The UART, the power button, the watchdog and the control port.

use super::*;

#[test]
fn what_the_guest_prints_reaches_the_console() {
    let mut guest = exits();
    for &byte in b"hello" {
        assert_eq!(guest.load(UART_BASE + 0x18, 4) & 1 << 5, 0, "there is room");
        assert_eq!(guest.store(UART_BASE, 1, 0xffff_ff00 | u64::from(byte)), Next::Advance);
    }
    assert_eq!(*guest.hw.printed.borrow(), b"hello");
}

#[test]
fn what_is_typed_raises_the_uarts_interrupt_and_is_read_a_fifo_at_a_time() {
    let mut guest = exits();
    guest.enable_interrupts();
    guest.store_ok(UART_BASE + 0x2c, 0x70);
    guest.store_ok(UART_IMSC, 1 << 4 | 1 << 6);
    guest.hw.events();
    let typed: Vec<u8> = (1..=100).collect();
    guest.hw.typed.borrow_mut().extend(&typed);
    guest.vm.feed_uart(&guest.hw);
    assert_eq!(guest.hw.typed.borrow().len(), 68, "what finds no room waits");
    assert_eq!(guest.hw.events(), [Event::Kick(CORES[0])]);
    guest.deliver();
    assert_eq!(guest.lrs.pending(), [UART_INTID]);

    let mut read = vec![];
    while guest.load(UART_BASE + 0x18, 4) & 1 << 4 == 0 {
        read.push(guest.load(UART_BASE, 4) as u8);
    }
    assert_eq!(read, typed);
    guest.deliver();
    assert_eq!(guest.lrs.pending(), [], "the line fell");
}

#[test]
fn a_core_does_not_kick_itself_for_an_interrupt_of_its_own_vcpu() {
    let mut guest = exits();
    guest.enable_interrupts();
    guest.store_ok(UART_BASE + 0x2c, 0x70);
    guest.store_ok(UART_IMSC, 1 << 4 | 1 << 6);
    guest.hw.events();
    guest.hw.cpu.set(CORES[0]);
    guest.hw.typed.borrow_mut().extend([1; 32]);
    guest.vm.feed_uart(&guest.hw);
    assert_eq!(guest.hw.events(), []);
    guest.deliver();
    assert_eq!(guest.lrs.pending(), [UART_INTID], "it looks before the vCPU runs on");
}

#[test]
fn a_guest_without_a_console_has_nothing_at_its_place() {
    let mut guest = exits();
    guest.vm.uart = None;
    for write in [false, true] {
        let next = guest.handle(Exit::Mmio(access(UART_BASE, 4, write)));
        assert!(matches!(next, Next::Inject(Fault::External(_))), "{next:?}");
    }
    guest.hw.typed.borrow_mut().push(b'x');
    guest.vm.feed_uart(&guest.hw);
    assert_eq!(guest.hw.typed.borrow().len(), 1);
}

/// Where a driver of the power button has its queue of events and its buffers.
const BUTTON_RINGS: [u64; 4] = [RAM_BASE, RAM_BASE + 0x1000, RAM_BASE + 0x2000, RAM_BASE + 0x3000];

impl Exits<FakeHw> {
    /// What a driver of the power button does, with four buffers for events.
    fn drive_the_button(&mut self) {
        let [table, avail, used, data] = BUTTON_RINGS;
        for n in 0..4u64 {
            let descriptor = u128::from(data + 8 * n) | u128::from(2u64 << 32 | 8) << 64;
            let at = Ipa(table + 16 * n);
            self.vm.ram.write(&self.hw, at, &descriptor.to_le_bytes()).unwrap();
        }
        let heads = [0u16, 4, 0, 1, 2, 3].map(u16::to_le_bytes);
        self.vm.ram.write(&self.hw, Ipa(avail), heads.as_flattened()).unwrap();
        for (offset, value) in [
            (reg::STATUS, 3),
            (reg::DRIVER_FEATURES_SEL, 1),
            (reg::DRIVER_FEATURES, 1),
            (reg::STATUS, 11),
            (reg::QUEUE_NUM, 4),
            (reg::QUEUE_DESC, table),
            (reg::QUEUE_DRIVER, avail),
            (reg::QUEUE_DEVICE, used),
            (reg::QUEUE_READY, 1),
            (reg::STATUS, 15),
            (reg::QUEUE_NOTIFY, 0),
        ] {
            self.store_ok(BUTTON + offset, value);
        }
    }
}

#[test]
fn the_power_button_reaches_a_guest_that_has_a_driver_and_waits_for_one_that_has_none() {
    let mut guest = exits();
    guest.enable_interrupts();
    assert_eq!(guest.load(BUTTON + reg::DEVICE_ID, 4), 18);
    assert!(!guest.vm.press_power_button(&guest.hw));
    guest.hw.cpu.set(CORES[0]);
    guest.drive_the_button();
    guest.deliver();
    assert_eq!(guest.lrs.pending(), [VIRTIO_INTID + POWER_BUTTON_SLOT as u32], "it waited");
    let mut event = [0; 8];
    guest.vm.ram.read(&guest.hw, Ipa(BUTTON_RINGS[3]), &mut event).unwrap();
    assert_eq!(event, [1, 0, 116, 0, 1, 0, 0, 0]);
    guest.lrs.end_all();
    guest.deliver();

    // From another core, with no buffers left, and then into some.
    guest.hw.cpu.set(CpuId(1));
    guest.hw.events();
    assert!(guest.vm.press_power_button(&guest.hw));
    assert_eq!(guest.hw.events(), []);
    guest.vm.ram.write(&guest.hw, Ipa(BUTTON_RINGS[1] + 2), &8u16.to_le_bytes()).unwrap();
    assert!(guest.vm.press_power_button(&guest.hw));
    assert_eq!(guest.hw.events(), [Event::Kick(CORES[0])]);
    guest.deliver();
    assert_eq!(guest.lrs.pending(), [VIRTIO_INTID + POWER_BUTTON_SLOT as u32]);
}

#[test]
fn a_watchdog_that_is_not_fed_first_interrupts_the_guest_and_then_ends_it() {
    let mut guest = exits();
    guest.enable_interrupts();
    guest.hw.events();
    guest.hw.cpu.set(CORES[0]);
    let control = WATCHDOG_BASE + WATCHDOG_FRAME_SIZE;
    guest.store_ok(control + 8, 1000);
    guest.store_ok(control, 1);
    assert_eq!(guest.hw.events(), [Event::Kick(CORES[0]); 2], "to have the time watched");
    assert!(guest.vm.attention.take_clock());
    assert_eq!(guest.vm.watchdog_deadline(), Some(1001));

    guest.hw.clock.set(1001);
    assert_eq!(guest.vm.look_at_watchdog(&guest.hw), None);
    guest.deliver();
    assert_eq!(guest.lrs.pending(), [WATCHDOG_INTID]);
    assert_eq!(guest.load(control, 4), 0b011);
    guest.store_ok(WATCHDOG_BASE, 0);
    guest.deliver();
    assert_eq!((guest.lrs.pending(), guest.load(control, 4)), (vec![], 1), "fed, it is quiet");

    // Paused, no time passes.
    guest.vm.clock.lock().pause(1500);
    guest.hw.clock.set(10_000);
    assert_eq!(guest.vm.watchdog_deadline(), None);
    assert_eq!(guest.vm.look_at_watchdog(&guest.hw), None);
    guest.vm.clock.lock().resume(10_000);
    assert_eq!(guest.vm.watchdog_deadline(), Some(10_502));

    guest.hw.clock.set(10_502);
    assert_eq!(guest.vm.look_at_watchdog(&guest.hw), None);
    guest.hw.clock.set(11_503);
    assert_eq!(guest.vm.look_at_watchdog(&guest.hw), Some(StopReason::WatchdogStop));
    // A store that comes too late sees it as well.
    guest.vcpu.clock = *guest.vm.clock.lock();
    assert_eq!(guest.store(WATCHDOG_BASE, 4, 0), Next::Stop(StopReason::WatchdogStop));
}

#[test]
fn a_store_to_the_control_port_lets_the_monitor_serve_it() {
    let mut guest = exits();
    let port = VIRTIO_BASE + CONTROL_SLOT * VIRTIO_STRIDE;
    assert_eq!(guest.load(port + reg::DEVICE_ID, 4), 3);
    for (offset, value) in [
        (reg::STATUS, 3),
        (reg::DRIVER_FEATURES_SEL, 1),
        (reg::DRIVER_FEATURES, 1),
        (reg::STATUS, 11),
        (reg::STATUS, 15),
    ] {
        guest.store_ok(port + offset, value);
    }
    assert_eq!(guest.hw.events(), []);
    guest.store_ok(port + reg::QUEUE_NOTIFY, 1);
    assert_eq!(guest.hw.events(), [Event::ServeControl]);
}

#[test]
fn a_guest_without_a_watchdog_a_gpio_or_a_control_port_has_nothing_at_its_place() {
    let mut guest = exits();
    guest.vm.watchdog = None;
    guest.vm.gpio = None;
    guest.vm.control = None;
    let control = VIRTIO_BASE + CONTROL_SLOT * VIRTIO_STRIDE;
    for ipa in [WATCHDOG_BASE, WATCHDOG_BASE + WATCHDOG_FRAME_SIZE, GPIO_BASE, control] {
        let next = guest.handle(Exit::Mmio(access(ipa, 4, true)));
        assert!(matches!(next, Next::Inject(Fault::External(_))), "{next:?}");
    }
    assert_eq!((guest.vm.look_at_watchdog(&guest.hw), guest.vm.watchdog_deadline()), (None, None));
}
