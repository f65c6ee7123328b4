//! The register frames of GICv3, one by one.

use std::vec::Vec;

use crate::addr::{VcpuId, VcpuSet};
use crate::vgic::BadAccess;
use crate::vgic::fake::{GICR_STRIDE, Guest, SGI};

fn gicd(g: &mut Guest, offset: u64, size: u8) -> Result<u64, BadAccess> {
    let (me, lrs) = &mut g.cpus[0];
    g.vgic.gicd_read(me, lrs, offset, size).map(|(value, _)| value)
}

fn gicr(g: &mut Guest, offset: u64, size: u8) -> Result<u64, BadAccess> {
    let (me, lrs) = &mut g.cpus[0];
    g.vgic.gicr_read(me, lrs, offset, size).map(|(value, _)| value)
}

#[test]
fn the_distributor_says_what_it_is() {
    let mut g = Guest::after_reset(2, 4);
    assert_eq!(gicd(&mut g, 0x0, 4), Ok(0x50), "ARE and DS, no group enabled");
    let typer = gicd(&mut g, 0x4, 4).unwrap();
    assert_eq!(typer & 31, 1, "64 INTIDs");
    assert_eq!(typer >> 16 & 3, 0, "neither message-based SPIs nor LPIs");
    assert_eq!(typer >> 19 & 31, 9, "10 bits of INTID");
    assert_eq!(typer >> 24 & 7, 0b011, "A3V, No1N, no range selector");
    assert_eq!(gicd(&mut g, 0x8, 4), Ok(0x5400_043b));
    assert_eq!((gicd(&mut g, 0xc, 4), gicd(&mut g, 0x10, 4)), (Ok(0), Ok(0)));
    assert_eq!(gicd(&mut g, 0xffe8, 4).unwrap() >> 4 & 15, 3, "architecture revision");
    let component: Vec<_> = (0..4).map(|n| gicd(&mut g, 0xfff0 + 4 * n, 4).unwrap()).collect();
    assert_eq!(component, [0x0d, 0xf0, 0x05, 0xb1]);
}

#[test]
fn only_the_group_enables_of_the_control_register_are_writable() {
    let mut g = Guest::after_reset(2, 4);
    assert_eq!(g.gicd(0, u64::MAX), VcpuSet(3), "everybody looks anew");
    assert_eq!(gicd(&mut g, 0, 4).unwrap() & 0x7fff_ffff, 0x53);
    assert!(g.gicd(0, 3).is_empty(), "nothing changed");
    let _ = g.gicd(0, 0);
    g.settle();
    assert_eq!(gicd(&mut g, 0, 4), Ok(0x50));
}

#[test]
fn register_write_pending_shows_until_the_holder_folded() {
    let mut g = Guest::new(2);
    let _ = g.gicd_sized(0x6000 + 8 * 40, 8, 1);
    let _ = g.pulse(40);
    g.settle();
    assert_eq!(g.gicd(0x184, 1 << 8), VcpuSet(2), "vCPU 1 has it in a list register");
    assert_ne!(gicd(&mut g, 0, 4).unwrap() & 1 << 31, 0);
    assert_eq!(gicr(&mut g, 0, 4), Ok(0), "vCPU 0 has nothing to fold");
    assert_eq!(gicr(&mut g, GICR_STRIDE, 4), Ok(1 << 3));
    g.settle();
    assert_eq!(gicd(&mut g, 0, 4).unwrap() & 1 << 31, 0);
    assert_eq!(gicr(&mut g, GICR_STRIDE, 4), Ok(0));
}

#[test]
fn words_of_private_interrupts_are_in_the_redistributor_only() {
    let mut g = Guest::after_reset(2, 4);
    for register in [0x80, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380] {
        assert!(g.gicd(register, 0xffff_ffff).is_empty());
        assert_eq!(gicd(&mut g, register, 4), Ok(0));
        let _ = g.gicr(SGI + register + 4, 0xffff_ffff);
        assert_eq!(gicr(&mut g, SGI + register + 4, 4), Ok(0));
    }
    assert_eq!(gicr(&mut g, SGI + 0x100, 4), Ok(0));
    assert_eq!(gicd(&mut g, 0x104, 4), Ok(0));
}

#[test]
fn enable_bits_are_set_and_cleared_by_ones() {
    let mut g = Guest::after_reset(2, 4);
    let frame = GICR_STRIDE + SGI;
    let _ = g.gicr(frame + 0x100, 0b1110);
    let _ = g.gicr(frame + 0x180, 0b0100);
    assert_eq!(gicr(&mut g, frame + 0x100, 4), Ok(0b1010));
    assert_eq!(gicr(&mut g, frame + 0x180, 4), Ok(0b1010));
    assert_eq!(gicr(&mut g, SGI + 0x100, 4), Ok(0), "another vCPU's are its own");
    let _ = g.gicd(0x104, 0b11);
    let _ = g.gicd(0x184, 0b01);
    assert_eq!(gicd(&mut g, 0x184, 4), Ok(0b10));
    assert_eq!(gicd(&mut g, 0x108, 4), Ok(0), "there are 64 interrupts");
}

#[test]
fn pending_and_active_are_read_out_of_list_registers() {
    let mut g = Guest::new(2);
    let _ = g.gicr(GICR_STRIDE + SGI + 0x200, 1 << 9);
    g.settle();
    assert!(g.cpus[1].1.signalled());
    assert_eq!(gicr(&mut g, GICR_STRIDE + SGI + 0x200, 4), Ok(1 << 9));
    assert_eq!(g.ack(1), 9);
    // The first read by another vCPU asks for a fold; then it is exact.
    let _ = g.gicr_read(0, GICR_STRIDE + SGI + 0x300);
    g.settle();
    assert_eq!(gicr(&mut g, GICR_STRIDE + SGI + 0x200, 4), Ok(0));
    assert_eq!(gicr(&mut g, GICR_STRIDE + SGI + 0x300, 4), Ok(1 << 9));
    let _ = g.gicr(GICR_STRIDE + SGI + 0x380, 1 << 9);
    assert_eq!(gicr(&mut g, GICR_STRIDE + SGI + 0x300, 4), Ok(0), "at once, before the fold");
    g.settle();
    assert!(g.cpus[1].1.lr.iter().all(|lr| lr >> 62 == 0));
}

#[test]
fn clearing_the_pending_state_reaches_into_another_vcpus_list_register() {
    let mut g = Guest::new(2);
    let _ = g.gicd_sized(0x6000 + 8 * 60, 8, 1);
    let _ = g.pulse(60);
    g.settle();
    assert_eq!(g.gicd(0x284, 1 << 28), VcpuSet(2));
    assert_eq!(gicd(&mut g, 0x204, 4), Ok(0));
    let _ = g.pulse(60);
    g.settle();
    assert_eq!(g.ack(1), 60, "a pulse after the clearing counts");
    g.end(1, 60);
    assert!(!g.cpus[1].1.signalled(), "and the one before it does not");
}

#[test]
fn a_level_that_is_high_cannot_be_cleared_away() {
    let mut g = Guest::new(1);
    let _ = g.spi(33, true);
    let _ = g.gicd(0x284, 1 << 1);
    assert_eq!(g.ack(0), 33);
}

#[test]
fn priorities_have_five_bits_and_are_read_and_written_by_byte_or_word() {
    let mut g = Guest::after_reset(2, 4);
    let _ = g.gicd(0x424, 0x1234_56ff);
    assert_eq!(gicd(&mut g, 0x424, 4), Ok(0x1030_50f8));
    let _ = g.gicd_sized(0x426, 1, 0xff);
    assert_eq!(gicd(&mut g, 0x424, 4), Ok(0x10f8_50f8));
    assert_eq!(gicd(&mut g, 0x427, 1), Ok(0x10));
    let _ = g.gicr_sized(GICR_STRIDE + SGI + 0x41b, 1, 0x80);
    assert_eq!(gicr(&mut g, GICR_STRIDE + SGI + 0x418, 4), Ok(0x8000_0000));
    assert_eq!(gicd(&mut g, 0x400, 4), Ok(0), "private ones are in the redistributors");
    assert_eq!(gicd(&mut g, 0x424, 2), Err(BadAccess));
    assert_eq!(gicd(&mut g, 0x425, 4), Err(BadAccess));
}

#[test]
fn triggers_are_two_bits_an_interrupt_and_fixed_for_sgis() {
    let mut g = Guest::after_reset(1, 4);
    assert_eq!(gicr(&mut g, SGI + 0xc00, 4), Ok(0xaaaa_aaaa));
    let _ = g.gicr(SGI + 0xc00, 0);
    assert_eq!(gicr(&mut g, SGI + 0xc00, 4), Ok(0xaaaa_aaaa));
    let _ = g.gicr(SGI + 0xc04, 0xffff_0003);
    assert_eq!(gicr(&mut g, SGI + 0xc04, 4), Ok(0xaaaa_0002));
    let _ = g.gicd(0xc0c, 0x8000_0002);
    assert_eq!((gicd(&mut g, 0xc08, 4), gicd(&mut g, 0xc0c, 4)), (Ok(0), Ok(0x8000_0002)));
    let _ = g.gicd(0xc00, 0xaaaa_aaaa);
    assert_eq!(gicd(&mut g, 0xc00, 4), Ok(0));
}

#[test]
fn routes_are_read_and_written_whole_or_by_half() {
    let mut g = Guest::after_reset(2, 4);
    let at = 0x6000 + 8 * 40;
    let _ = g.gicd_sized(at, 8, 0xffff_ffff_ffff_ffff);
    assert_eq!(gicd(&mut g, at, 8), Ok(0x00ff_00ff_ffff), "no 1-of-N mode");
    let _ = g.gicd(at, 1);
    assert_eq!(gicd(&mut g, at, 8), Ok(0x00ff_0000_0001));
    let _ = g.gicd(at + 4, 0);
    assert_eq!((gicd(&mut g, at, 4), gicd(&mut g, at + 4, 4)), (Ok(1), Ok(0)));
    // Private interrupts and those beyond 63 have none.
    for other in [0x6000, 0x6000 + 8 * 64, 0x6000 + 8 * 1019] {
        let _ = g.gicd_sized(other, 8, 1);
        assert_eq!(gicd(&mut g, other, 8), Ok(0));
    }
}

#[test]
fn legacy_and_message_registers_do_nothing() {
    let mut g = Guest::new(2);
    let nothing = [(0x40, 4), (0x48, 2), (0x800, 1), (0x820, 4), (0xd00, 4), (0xe00, 4)];
    for (offset, size) in nothing.into_iter().chain([(0xf00, 4), (0xf10, 1), (0xf20, 4)]) {
        assert!(g.gicd_sized(offset, size, 0xffff_ffff).is_empty());
        assert_eq!(gicd(&mut g, offset, size), Ok(0), "{offset:#x}");
    }
}

#[test]
fn accesses_of_other_sizes_or_unaligned_abort() {
    let mut g = Guest::new(2);
    for (offset, size) in [(0x104, 1), (0x104, 2), (0x104, 8), (0x102, 4), (0x0, 8), (0x6144, 8)] {
        assert_eq!(gicd(&mut g, offset, size), Err(BadAccess), "{offset:#x} {size}");
        let (me, lrs) = &mut g.cpus[0];
        let write = g.vgic.gicd_write(me, lrs, offset, size, 0);
        assert_eq!(write, Err(BadAccess), "{offset:#x} {size}");
    }
    for (offset, size) in [(0x0, 1), (0x14, 8), (0xc, 8), (SGI + 0x100, 8), (SGI + 0x402, 2)] {
        assert_eq!(gicr(&mut g, offset, size), Err(BadAccess), "{offset:#x} {size}");
        assert_eq!(g.vgic.gicr_write(offset, size, 0), Err(BadAccess), "{offset:#x} {size}");
    }
    assert_eq!(gicr(&mut g, 2 * GICR_STRIDE, 4), Err(BadAccess), "there are two vCPUs");
}

#[test]
fn a_redistributor_says_whose_it_is_and_the_last_that_it_is_last() {
    let mut g = Guest::after_reset(3, 4);
    assert_eq!(gicr(&mut g, 0x8, 8), Ok(0));
    assert_eq!(gicr(&mut g, GICR_STRIDE + 0x8, 8), Ok(1 << 32 | 1 << 8));
    assert_eq!(gicr(&mut g, 2 * GICR_STRIDE + 0x8, 8), Ok(2 << 32 | 2 << 8 | 1 << 4));
    assert_eq!(gicr(&mut g, 2 * GICR_STRIDE + 0x8, 4), Ok(2 << 8 | 1 << 4));
    assert_eq!(gicr(&mut g, 2 * GICR_STRIDE + 0xc, 4), Ok(2));
    assert_eq!(gicr(&mut g, 0x4, 4), Ok(0x5400_043b));
    assert_eq!(gicr(&mut g, 0xffe8, 4).unwrap() >> 4 & 15, 3);
    for (lpi, size) in [(0x70, 8), (0x78, 8), (0x74, 4)] {
        let _ = g.gicr_sized(lpi, size, u64::MAX);
        assert_eq!(gicr(&mut g, lpi, size), Ok(0), "no LPIs");
    }
}

#[test]
fn waking_is_a_handshake() {
    let mut g = Guest::after_reset(1, 4);
    assert_eq!(gicr(&mut g, 0x14, 4), Ok(0b110));
    let _ = g.gicr(0x14, 0);
    assert_eq!(gicr(&mut g, 0x14, 4), Ok(0));
    let _ = g.gicr(0x14, 0b010);
    assert_eq!(gicr(&mut g, 0x14, 4), Ok(0b110));
}

#[test]
fn a_reset_leaves_nothing_behind() {
    let mut g = Guest::new(2);
    let _ = g.sgi(0, 3 << 24 | 0b11);
    let _ = g.spi(33, true);
    g.hw(0, 27);
    let _ = g.gicr(SGI + 0x180, 1 << 23);
    g.settle();
    g.hw(0, 23);
    assert_eq!(g.ack(0), 3);
    let mut ended = 0;
    for n in 0..2 {
        let (me, lrs) = &mut g.cpus[n];
        let _ = g.vgic.park(me, lrs, true);
        ended |= me.take_deactivations();
        *me = crate::vgic::VgicCpu::new(VcpuId(n as u8));
    }
    assert_eq!(ended, 1 << 27 | 1 << 23, "neither physical interrupt stays active");
    g.vgic.reset();
    for offset in [0x0, 0x84, 0x104, 0x204, 0x304, 0x424, 0xc08] {
        assert_eq!(gicd(&mut g, offset, 4), Ok(if offset == 0 { 0x50 } else { 0 }), "{offset:#x}");
    }
    for offset in [0x80, 0x100, 0x200, 0x300, 0x400, 0xc04] {
        assert_eq!(gicr(&mut g, SGI + offset, 4), Ok(0), "{offset:#x}");
    }
    assert!(g.cpus.iter().all(|(_, cpu)| !cpu.signalled()));
}

#[test]
fn a_vcpu_that_is_off_does_not_hold_up_register_writes() {
    let mut g = Guest::after_reset(2, 4);
    let (me, lrs) = &mut g.cpus[0];
    let _ = g.vgic.deliver(me, lrs);
    let _ = g.gicd(0, 3);
    let (me, lrs) = &mut g.cpus[0];
    let _ = g.vgic.deliver(me, lrs);
    assert_eq!(gicd(&mut g, 0, 4).unwrap() & 1 << 31, 0, "vCPU 1 was never on");
}
