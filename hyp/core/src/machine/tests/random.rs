//! Exits at random.

use tessera_abi::hypercall;

use super::*;
use crate::disk::DiskError;
use crate::disk::model::Random;
use crate::exit::INTERRUPT;

#[test]
fn no_sequence_of_exits_panics_or_touches_what_is_not_the_guests() {
    exit_at_random(exits(), &CORES);
}

/// A syndrome of a kind that a guest can make, aimed at its devices as often as not.
fn random_exit(random: &mut Random) -> (u64, u64, u64) {
    let mut esr = random.next();
    let classes = [ec::HVC64, ec::SMC64, ec::SYSREG, ec::SYSREG, 0x20, 0x24, 0x24, 0x24];
    if random.below(16) != 0 {
        esr = esr & 0x1ff_ffff | classes[random.below(8) as usize] << 26;
    }
    let bases = [
        GICD_BASE,
        GICR_BASE,
        GICR_SGI,
        UART_BASE,
        VIRTIO_BASE,
        BUTTON,
        BUTTON + VIRTIO_STRIDE,
        GICC_DIR_BASE,
        WATCHDOG_BASE,
        GPIO_BASE,
        DOORBELL_BASE,
        DOORBELL_BASE + DOORBELL_SIZE,
        RAM_BASE,
    ];
    let mut ipa = random.next() & 0xf_ffff_ffff_ffff;
    if random.below(8) != 0 {
        ipa = bases[random.below(bases.len() as u64) as usize]
            + (random.below(0x1000) & !(random.below(2) * 3));
        // A translation fault of four bytes with a valid syndrome.
        esr = esr & !0x3f | 0x06 | iss::ISV;
        if random.below(4) != 0 {
            esr = esr & !(iss::S1PTW | iss::CM | 3 << 22) | 2 << 22;
        }
    }
    if matches!(esr >> 26, ec::HVC64 | ec::SMC64) && random.below(4) != 0 {
        // The immediates that mean something.
        let immediates = [0, hypercall::RING, hypercall::TAKE];
        esr = esr & !0xffff | u64::from(immediates[random.below(3) as usize]);
    }
    match random.below(200) {
        0 => esr = ec::SERROR << 26,
        1 => esr = INTERRUPT,
        _ => {}
    }
    (esr, ipa | random.next() << 52, ipa >> 8 & !0xf)
}

#[test]
fn no_sequence_of_exits_of_a_guest_in_groups_does_either() {
    let (guest, _other, _life) = groups::member();
    exit_at_random(guest, &[CORES[0], CORES[1], groups::OTHER]);
}

#[test]
fn no_sequence_of_exits_of_a_guest_with_a_gicv2_does_either() {
    exit_at_random(exits_v2(), &CORES);
}

/// Makes exits, which kick no cores but those that `may` be.
fn exit_at_random(mut guest: Exits<FakeHw>, may: &[CpuId]) {
    let before = guest.hw.memory.borrow().clone();
    let mut random = Random(0x7e55_e4a0);
    guest.hw.cpu.set(CORES[0]);
    let mut seen = [0u32; 7];
    for round in 0..60_000 {
        for x in &mut guest.vcpu.registers.x {
            // Small numbers and addresses of RAM, which devices take for something, among random ones.
            *x = match random.below(4) {
                0 => random.below(4) << (16 * random.below(2)),
                1 => RAM_BASE + random.below(RAM_BYTES + 0x1000),
                2 => 0x8400_0000 | random.below(2) << 30 | random.below(0x14),
                _ => random.next(),
            };
        }
        let (esr, far, hpfar) = random_exit(&mut random);
        let next = guest.take(esr, far, hpfar);
        seen[match next {
            Next::Resume => 0,
            Next::Advance => 1,
            Next::Inject(_) => 2,
            Next::Refuse(_) => 3,
            Next::Suspend { .. } | Next::Yield => 4,
            Next::Stop(_) | Next::Off => 5,
            Next::Interrupt => 6,
        }] += 1;
        if let Next::Refuse(abort) = next {
            let stage1 = Stage1 { tcr: random.next(), ttbr0: far, ttbr1: RAM_BASE, sctlr: esr };
            let Fault::External(access) = refused(&guest.vm, &abort, &stage1, &guest.hw) else {
                panic!("a refused access is no undefined instruction")
            };
            assert_eq!((access.va, access.fetch), (far, abort.fetch));
        }
        if let Next::Suspend { resume: Some(start), .. } = next {
            assert!(guest.vm.services.psci.ram.contains(&start.entry.0));
        }
        if next == Next::Off {
            guest.vm.services.psci.power.switch_off(VcpuId(1));
        }
        match random.below(8) {
            0 => update_timer(&guest.vm, &mut guest.vcpu, &guest.hw),
            1 if round & 1 == 0 => _ = guest.vm.look_at_watchdog(&guest.hw),
            1 => guest.vm.feed_uart(&guest.hw),
            2 => {
                let result = if round & 1 == 0 { Ok(()) } else { Err(DiskError::Failed) };
                let done = (random.below(130) as u16, result);
                guest.vm.disk_event(&guest.hw, random.below(2) as u8, Some(done));
            }
            3 => guest.vm.disk_event(&guest.hw, 0, None),
            4 if round & 1 == 0 => _ = guest.vm.press_power_button(&guest.hw),
            4 => guest.hw.typed.borrow_mut().push(b'x'),
            5 => guest.lrs.end_all(),
            _ => {}
        }
        guest.hw.clock.set(guest.hw.clock.get() + random.below(1000));
        guest.deliver();
        assert!(guest.hw.events().iter().all(|event| match event {
            Event::Kick(core) => may.contains(core),
            Event::ServeControl => true,
            Event::Firmware(id, _) => *id == smccc::WORKAROUND_1,
            _ => false,
        }));
        guest.hw.printed.borrow_mut().clear();
    }
    assert!(seen.iter().all(|&count| count > 10), "each way out was taken: {seen:?}");
    assert!(!guest.vm.attention.stops(), "an exit alone does not change it");
    let memory = guest.hw.memory.borrow();
    let (from, to) = ((RAM_PA - guest.hw.base.0) as usize, RAM_BYTES as usize);
    assert!(memory[..from] == before[..from] && memory[from + to..] == before[from + to..]);
}
