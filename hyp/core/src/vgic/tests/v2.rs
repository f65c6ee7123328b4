//! GICv2: its registers one by one, and what is different about SGIs, targets and the end of an interrupt.

use std::vec;
use std::vec::Vec;

use crate::addr::{VcpuId, VcpuSet};
use crate::fuzz::Random;
use crate::vgic::fake::Guest;
use crate::vgic::fake::SPURIOUS;
use crate::vgic::lr::{ACTIVE, EOI, HW, PENDING};
use crate::vgic::{BadAccess, VgicCpu, gich, vmcr};

/// `GICD_SGIR` to the vCPUs of a list.
fn list(vcpus: u64, sgi: u64) -> u64 {
    vcpus << 16 | sgi
}

/// What the acknowledge register says of an SGI.
const fn from(source: u32, sgi: u32) -> u32 {
    source << 10 | sgi
}

fn read(g: &mut Guest, by: usize, offset: u64, size: u8) -> Result<u64, BadAccess> {
    let (me, lrs) = &mut g.cpus[by];
    g.vgic.gicd_read(me, lrs, offset, size).map(|(value, _)| value)
}

fn write(g: &mut Guest, by: usize, offset: u64, size: u8, value: u64) -> Result<(), BadAccess> {
    let (me, lrs) = &mut g.cpus[by];
    g.vgic.gicd_write(me, lrs, offset, size, value).map(|_| ())
}

#[test]
fn the_distributor_says_what_it_is() {
    for vcpus in 1..=8 {
        let mut g = Guest::v2_after_reset(vcpus, 4);
        let typer = read(&mut g, 0, 0x4, 4).unwrap();
        assert_eq!((typer & 31, typer >> 5 & 7, typer >> 8), (1, vcpus as u64 - 1, 0));
    }
    let mut g = Guest::v2_after_reset(2, 4);
    assert_eq!((read(&mut g, 0, 0x0, 4), read(&mut g, 0, 0x8, 4)), (Ok(0), Ok(0x5400_043b)));
    let ids: Vec<_> = (0..12).map(|n| read(&mut g, 1, 0xfd0 + 4 * n, 4).unwrap()).collect();
    assert_eq!(ids, [0x04, 0, 0, 0, 0x90, 0xb4, 0x2b, 0, 0x0d, 0xf0, 0x05, 0xb1]);
    assert_eq!(g.gicd(0, u64::MAX), VcpuSet(3), "everybody looks anew");
    assert_eq!(
        read(&mut g, 1, 0, 4),
        Ok(3),
        "the two groups, and no sign that somebody has yet to look"
    );
}

#[test]
fn there_is_neither_a_redistributor_nor_anything_behind_four_kibibytes() {
    let mut g = Guest::v2_after_reset(2, 4);
    for offset in [0x1000, 0x6100, 0xffe8, u64::MAX - 3] {
        assert_eq!(read(&mut g, 0, offset, 4), Err(BadAccess));
        assert_eq!(write(&mut g, 0, offset, 4, 0), Err(BadAccess));
    }
    let (me, lrs) = &mut g.cpus[0];
    assert_eq!(g.vgic.gicr_read(me, lrs, 8, 8), Err(BadAccess));
    assert_eq!(g.vgic.gicr_write(0x14, 4, 0), Err(BadAccess));
    let g3 = Guest::after_reset(1, 4);
    let (me, lrs) = &mut g.cpus[0];
    assert_eq!(g3.vgic.gicc_write(me, lrs, 0, 4, 0), Err(BadAccess), "nor has a GICv3 a GICC");
    assert_eq!(g3.vgic.gicc_read(0, 4), Err(BadAccess));
}

#[test]
fn private_interrupts_are_those_of_the_vcpu_that_asks() {
    let mut g = Guest::v2_after_reset(2, 4);
    let _ = g.gicd_by(1, 0x100, 4, 1 << 27);
    let _ = g.gicd_by(1, 0x80, 4, 1 << 27);
    let _ = g.gicd_by(1, 0x41b, 1, 0x80);
    let _ = g.gicd_by(1, 0xc04, 4, 0xffff_ffff);
    let seen =
        [(0x100, 1 << 27 | 0xffff), (0x80, 1 << 27), (0x418, 0x8000_0000), (0xc04, 0xaaaa_aaaa)];
    for (offset, value) in seen {
        assert_eq!(read(&mut g, 1, offset, 4), Ok(value), "{offset:#x}");
    }
    for (offset, value) in [(0x100, 0xffff), (0x80, 0), (0x418, 0), (0xc04, 0)] {
        assert_eq!(read(&mut g, 0, offset, 4), Ok(value), "{offset:#x}");
    }
    let _ = g.gicd_by(0, 0x104, 4, 0b10);
    assert_eq!(read(&mut g, 1, 0x104, 4), Ok(0b10), "SPIs are everybody's");
    assert_eq!(read(&mut g, 1, 0x108, 4), Ok(0), "there are 64 interrupts");
}

#[test]
fn sgis_are_always_enabled_and_edges_and_not_pending_by_register() {
    let mut g = Guest::v2_after_reset(1, 4);
    let _ = g.gicd(0x180, 0xffff_ffff);
    assert_eq!(read(&mut g, 0, 0x100, 4), Ok(0xffff));
    let _ = g.gicd(0x200, 1 << 3);
    assert_eq!(read(&mut g, 0, 0x200, 4), Ok(0));
    let _ = g.gicd(0xc00, 0);
    assert_eq!(read(&mut g, 0, 0xc00, 4), Ok(0xaaaa_aaaa));
}

#[test]
fn an_sgi_goes_where_the_filter_says_whatever_its_group() {
    let mut g = Guest::v2(3);
    let _ = g.gicd_by(2, 0x80, 4, 0xffff);
    let _ = g.gicd(0, 3);
    g.cpus[2].1.vmcr = vmcr::VENG1;
    assert_eq!(g.sgir(1, list(0b1111_0101, 5) | 1 << 15), VcpuSet(0b101), "two of those there are");
    assert_eq!((g.ack(0), g.ack(1), g.ack(2)), (from(1, 5), SPURIOUS, from(1, 5)));
    assert_eq!(g.sgir(1, list(0, 6) | 1 << 24), VcpuSet(0b101), "all but the sender");
    assert!(g.sgir(1, list(0xff, 7) | 2 << 24).is_empty(), "the sender");
    assert_eq!(g.ack(1), from(1, 7));
    assert!(g.sgir(1, list(0xff, 8) | 3 << 24).is_empty(), "nobody");
    assert_eq!(g.gicd_read(0, 0xf00), 0);
}

#[test]
fn an_sgi_of_several_sources_is_taken_once_for_each_with_its_number() {
    let mut g = Guest::v2(4);
    for source in [3, 1, 2, 1] {
        let _ = g.sgir(source, list(1, 9));
    }
    let mut taken = vec![];
    for _ in 0..3 {
        let id = g.ack(0);
        taken.push(id);
        assert_eq!(g.ack(0), SPURIOUS, "one at a time");
        g.end(0, id);
    }
    assert_eq!(taken, [from(1, 9), from(2, 9), from(3, 9)]);
    assert_eq!(g.ack(0), SPURIOUS, "twice from one source is once");
}

#[test]
fn sources_that_come_while_the_sgi_is_active_wait_for_its_end() {
    let mut g = Guest::v2(4);
    let _ = g.sgir(2, list(1, 4));
    assert_eq!(g.ack(0), from(2, 4));
    for source in [3, 2, 0] {
        let _ = g.sgir(source, list(1, 4));
    }
    assert_eq!(g.ack(0), SPURIOUS);
    assert_eq!(g.gicd_read(0, 0x300), 1 << 4);
    assert_eq!(g.gicd_read(0, 0xf24), 0b1101);
    // The guest ends it with the number that it took it by: a list register of another source would not know it.
    g.end(0, from(2, 4));
    assert_eq!(g.gicd_read(0, 0x300), 0);
    for source in [0, 2, 3] {
        assert_eq!(g.ack(0), from(source, 4));
        g.end(0, from(source, 4));
    }
    assert_eq!(g.ack(0), SPURIOUS);
}

#[test]
fn an_sgi_that_comes_again_from_its_source_while_active_needs_no_maintenance() {
    let mut g = Guest::v2(2);
    let _ = g.sgir(1, list(1, 4));
    assert_eq!(g.ack(0), from(1, 4));
    let _ = g.sgir(1, list(1, 4));
    g.settle();
    let waits = |lr: &u64| lr & (PENDING | ACTIVE | EOI) == PENDING | ACTIVE;
    assert!(g.cpus[0].1.lr.iter().any(waits), "{:x?}", g.cpus[0].1.lr);
    g.cpus[0].1.end(from(1, 4));
    assert_eq!(g.cpus[0].1.acknowledge(), from(1, 4));
}

#[test]
fn one_source_is_cleared_out_of_a_list_register_and_the_others_stay() {
    let mut g = Guest::v2(4);
    for source in [1, 2, 3] {
        let _ = g.sgir(source, list(1, 6));
    }
    g.settle();
    assert!(g.cpus[0].1.signalled());
    let _ = g.gicd_sized(0xf16, 1, 0b0010);
    assert_eq!(g.gicd_read(0, 0xf24), 0b1100 << 16);
    assert_eq!(g.gicd_read(0, 0x200), 1 << 6);
    for source in [2, 3] {
        assert_eq!(g.ack(0), from(source, 6));
        g.end(0, from(source, 6));
    }
    assert_eq!(g.ack(0), SPURIOUS);
}

#[test]
fn an_sgi_is_made_pending_from_any_vcpu_that_there_is_by_byte_or_word() {
    let mut g = Guest::v2(2);
    let _ = g.gicd_by(1, 0xf2d, 1, 0xff);
    assert_eq!(read(&mut g, 1, 0xf2c, 4), Ok(0b11 << 8));
    assert_eq!(read(&mut g, 1, 0xf1d, 1), Ok(0b11), "the other register reads the same");
    assert_eq!(read(&mut g, 0, 0xf2c, 4), Ok(0), "each vCPU has its own");
    for source in [0, 1] {
        assert_eq!(g.ack(1), from(source, 13));
        g.end(1, from(source, 13));
    }
    let _ = g.gicd_by(1, 0xf20, 4, 0x0100_0200);
    assert_eq!(g.ack(1), from(1, 1));
    g.end(1, from(1, 1));
    assert_eq!(g.ack(1), from(0, 3));
}

#[test]
fn an_sgi_cleared_before_its_target_looked_is_gone() {
    let mut g = Guest::v2(2);
    let _ = g.sgir(1, list(1, 5));
    let _ = g.gicd_by(0, 0xf15, 1, 0b10);
    assert_eq!(g.gicd_read(0, 0x200), 0);
    // With other news, so that all is looked at.
    let _ = g.pulse(40);
    let taken = g.ack(0);
    g.end(0, taken);
    assert_eq!((taken, g.ack(0)), (40, SPURIOUS));
    // And while it is active.
    let _ = g.sgir(1, list(1, 5));
    assert_eq!(g.ack(0), from(1, 5));
    let _ = g.sgir(1, list(1, 5));
    let _ = g.gicd_by(0, 0xf15, 1, 0b10);
    g.end(0, from(1, 5));
    assert_eq!(g.ack(0), SPURIOUS);
}

#[test]
fn an_sgi_that_waited_for_its_group_is_taken_once() {
    let mut g = Guest::v2(1);
    let _ = g.gicd(0x80, 1 << 3);
    g.settle();
    let _ = g.sgir(0, list(1, 3));
    assert_eq!(g.ack(0), SPURIOUS);
    // Of the enabled group now, and sent again before anybody looked.
    let _ = g.gicd(0x80, 0);
    let _ = g.sgir(0, list(1, 3));
    assert_eq!(g.ack(0), from(0, 3));
    g.end(0, from(0, 3));
    assert_eq!(g.ack(0), SPURIOUS);
}

#[test]
fn sgis_of_all_sources_at_once_overflow_and_none_is_lost() {
    let mut g = Guest::v2(8);
    for source in 0..8 {
        for sgi in 0..16 {
            let _ = g.sgir(source, list(1 << 3, sgi));
        }
    }
    let mut taken = vec![];
    loop {
        let id = g.ack(3);
        if id == SPURIOUS {
            break;
        }
        taken.push(id);
        g.end(3, id);
    }
    taken.sort_unstable();
    let all = (0..8).flat_map(|source| (0..16).map(move |sgi| from(source, sgi)));
    assert_eq!(taken, all.collect::<Vec<_>>());
}

#[test]
fn an_sgi_that_is_active_and_pushed_out_of_its_list_register_keeps_its_source() {
    let mut g = Guest::v2(3);
    for n in 0..6 {
        let _ = g.gicd_by(0, 0x400 + n, 1, 0xf0 - 8 * n);
    }
    for n in 0..6 {
        let _ = g.sgir(1 + n % 2, list(1, n as u64));
        assert_eq!(g.ack(0), from(1 + n as u32 % 2, n as u32));
    }
    for n in (0..6).rev() {
        g.end(0, from(1 + n % 2, n));
        assert_eq!(g.gicd_read(0, 0x300), (1 << n) - 1);
    }
}

#[test]
fn private_interrupts_have_their_own_vcpu_as_target_and_spis_those_that_there_are() {
    let mut g = Guest::v2_after_reset(3, 4);
    assert_eq!(read(&mut g, 1, 0x800, 4), Ok(0x0202_0202));
    assert_eq!(read(&mut g, 2, 0x81f, 1), Ok(0b100));
    let _ = g.gicd(0x800, 0);
    assert_eq!(read(&mut g, 0, 0x800, 4), Ok(0x0101_0101));
    assert_eq!(read(&mut g, 0, 0x820, 4), Ok(0), "a reset leaves SPIs without a target");
    let _ = g.gicd(0x820, 0x01ff_0204);
    let _ = g.gicd_sized(0x83f, 1, 0b10);
    assert_eq!((read(&mut g, 2, 0x820, 4), read(&mut g, 2, 0x83f, 1)), (Ok(0x0107_0204), Ok(0b10)));
    assert_eq!(read(&mut g, 0, 0x840, 4), Ok(0), "there are 64 interrupts");
}

#[test]
fn where_there_is_one_vcpu_targets_are_neither_read_nor_written() {
    let mut g = Guest::v2_after_reset(1, 4);
    for offset in [0x800, 0x820] {
        let _ = g.gicd(offset, 0x0101_0101);
        assert_eq!(read(&mut g, 0, offset, 4), Ok(0));
    }
    let _ = g.gicd(0, 1);
    let _ = g.gicd(0x104, !0);
    let _ = g.pulse(50);
    assert_eq!(g.ack(0), 50);
}

#[test]
fn an_spi_with_several_targets_is_taken_once_by_the_lowest() {
    let mut g = Guest::v2(3);
    let _ = g.gicd_sized(0x800 + 50, 1, 0b110);
    assert_eq!(g.pulse(50), VcpuSet(0b010));
    assert_eq!((g.ack(0), g.ack(1), g.ack(2)), (SPURIOUS, 50, SPURIOUS));
}

#[test]
fn an_spi_moves_to_its_new_target_out_of_the_list_register_of_the_old() {
    let mut g = Guest::v2(2);
    let _ = g.pulse(50);
    g.enter(0);
    assert!(g.cpus[0].1.signalled());
    assert_eq!(g.gicd_sized(0x800 + 50, 1, 0b10), VcpuSet(1));
    assert_eq!((g.ack(0), g.ack(1)), (SPURIOUS, 50));
    g.end(1, 50);
    // To nobody, where it stays pending, and back.
    let _ = g.gicd_sized(0x800 + 50, 1, 0);
    let _ = g.pulse(50);
    assert_eq!((g.ack(0), g.ack(1)), (SPURIOUS, SPURIOUS));
    assert_eq!(g.gicd_read(0, 0x204), 1 << 18);
    assert_eq!(g.gicd_sized(0x800 + 50, 1, 0b01), VcpuSet(1));
    assert_eq!(g.ack(0), 50);
}

#[test]
fn interrupts_of_group_zero_wait_for_each_other_and_for_the_guest_that_masks_them() {
    let mut g = Guest::v2(1);
    for n in 32..48 {
        let _ = g.pulse(n);
    }
    for n in 32..40 {
        assert_eq!(g.ack(0), n);
        g.end(0, n);
    }
    g.cpus[0].1.vmcr = 0;
    assert_eq!(g.ack(0), SPURIOUS);
    g.cpus[0].1.vmcr = vmcr::VENG0;
    for n in 40..48 {
        assert_eq!(g.ack(0), n);
        g.end(0, n);
    }
    // With the other group enabled only here, what is of group 0 does not keep it out.
    let _ = g.gicd(0, 3);
    let _ = g.gicd(0x84, 1 << 31);
    g.cpus[0].1.vmcr = vmcr::VENG1;
    for n in (32..40).chain([63]) {
        let _ = g.pulse(n);
    }
    assert_eq!(g.ack(0), 63);
}

#[test]
fn deactivation_is_exact_in_any_order_and_ends_that_are_none_count_for_nothing() {
    let mut g = Guest::v2(2);
    g.cpus[0].1.vmcr |= vmcr::VEOIM;
    g.hw(0, 27);
    assert_eq!(g.ack(0), 27);
    g.end(0, 27);
    for n in 0..6 {
        let _ = g.sgir(1, list(1, n));
        assert_eq!(g.ack(0), from(1, n as u32));
        g.end(0, from(1, n as u32));
    }
    // Hardware may count what only dropped a priority.
    g.cpus[0].1.hcr |= 3 << 27;
    g.settle();
    assert_eq!(g.gicd_read(0, 0x300), 1 << 27 | 0b11_1111);
    for n in [3, 0, 5, 1, 4, 2] {
        let active = g.gicd_read(0, 0x300);
        g.dir(0, from(1, n));
        g.enter(0);
        assert_eq!(g.gicd_read(0, 0x300), active & !(1 << n));
    }
    g.dir(0, 27);
    g.enter(0);
    assert_eq!(g.ended(0), 1 << 27, "the physical twin with it");
    g.dir(0, 1020);
    g.dir(0, u32::MAX);
    g.cpus[0].1.vmcr &= !vmcr::VEOIM;
    g.hw(0, 27);
    assert_eq!(g.ack(0), 27);
    g.dir(0, 27);
    assert_eq!(g.gicd_read(0, 0x300), 1 << 27, "where the end deactivates, this does nothing");
}

#[test]
fn the_page_of_the_deactivation_register_has_nothing_else() {
    let mut g = Guest::v2(1);
    let (me, lrs) = &mut g.cpus[0];
    assert_eq!((g.vgic.gicc_read(0, 4), g.vgic.gicc_read(0xffc, 4)), (Ok(0), Ok(0)));
    assert_eq!(g.vgic.gicc_write(me, lrs, 4, 4, u64::MAX), Ok(VcpuSet::EMPTY));
    for (offset, size) in [(0, 1), (0, 8), (2, 4), (0, 2)] {
        assert_eq!(g.vgic.gicc_read(offset, size), Err(BadAccess));
        assert_eq!(g.vgic.gicc_write(me, lrs, offset, size, 0), Err(BadAccess));
    }
}

#[test]
fn a_timer_is_linked_to_its_physical_interrupt() {
    let mut g = Guest::v2(1);
    g.hw(0, 27);
    assert!(g.cpus[0].1.lr.iter().any(|lr| lr & (HW | PENDING) == HW | PENDING));
    assert_eq!(g.ack(0), 27);
    g.end(0, 27);
    assert_eq!(g.cpus[0].1.deactivated, [27]);
}

#[test]
fn priorities_are_read_and_written_by_byte_or_word() {
    let mut g = Guest::v2_after_reset(2, 4);
    let _ = g.gicd_by(1, 0x404, 4, 0x1234_56ff);
    let _ = g.gicd_by(1, 0x406, 1, 0xff);
    assert_eq!((read(&mut g, 1, 0x404, 4), read(&mut g, 1, 0x405, 1)), (Ok(0x10f8_50f8), Ok(0x50)));
    assert_eq!((read(&mut g, 0, 0x404, 4), read(&mut g, 1, 0x440, 4)), (Ok(0), Ok(0)));
}

#[test]
fn accesses_of_other_sizes_or_unaligned_abort_and_registers_that_are_not_there_do_nothing() {
    let mut g = Guest::v2(2);
    let bad = [(0x0, 1), (0x0, 8), (0x104, 1), (0x104, 2), (0x102, 4), (0x401, 4), (0x822, 4)];
    for (offset, size) in
        bad.into_iter().chain([(0x820, 2), (0xf00, 1), (0xf12, 4), (0xf20, 8), (0xfe8, 1)])
    {
        assert_eq!(read(&mut g, 0, offset, size), Err(BadAccess), "{offset:#x} {size}");
        assert_eq!(write(&mut g, 0, offset, size, 0), Err(BadAccess), "{offset:#x} {size}");
    }
    for (offset, size) in
        [(0xc, 4), (0x40, 4), (0xbfc, 1), (0x7fc, 1), (0xd00, 4), (0xe00, 4), (0xfcc, 4)]
    {
        assert!(g.gicd_sized(offset, size, u64::MAX).is_empty());
        assert_eq!(read(&mut g, 0, offset, size), Ok(0), "{offset:#x}");
    }
}

#[test]
fn only_what_changes_an_interrupt_touches_the_virtual_interface() {
    let mut g = Guest::v2(2);
    let _ = g.sgir(1, list(1, 2));
    g.hw(0, 27);
    assert_ne!(g.ack(0), SPURIOUS);
    let touched = |g: &Guest| [0, 1].map(|n| g.cpus[n].1.touched.get());
    let before = touched(&g);
    for (offset, size) in
        [(0x8, 4), (0x4, 4), (0x0, 4), (0x100, 4), (0x104, 4), (0x424, 4), (0x421, 1)]
    {
        let _ = g.gicd_read_sized(0, offset, size);
    }
    for offset in [0x800, 0x820, 0xc04, 0xf00, 0xfe8] {
        let _ = g.gicd_read(0, offset);
    }
    for (offset, value) in [(0x0, 1), (0x104, !0), (0x100, !0), (0x104, 0), (0xf00, 3 << 24)] {
        let _ = g.gicd(offset, value);
    }
    // To another: the sender's interface is left alone, the receiver's is asked for room and given one interrupt.
    assert_eq!(g.sgir(0, list(0b10, 3)), VcpuSet(0b10));
    assert!(!g.vgic.needs_delivery(&g.cpus[0].0));
    assert_eq!(touched(&g), before);
    let (me, lrs) = &mut g.cpus[1];
    let _ = g.vgic.deliver(me, lrs);
    assert_eq!(touched(&g), [before[0], before[1] + 2]);
    assert_eq!(g.cpus[1].1.acknowledge(), from(0, 3));
    // To oneself likewise.
    let _ = g.sgir(0, list(0b01, 5));
    assert_eq!(touched(&g), [before[0] + 2, before[1] + 2]);
}

#[test]
fn a_list_register_of_gicv2_says_the_same_in_half_the_bits() {
    // IHI 0048 5.3.8: HW 31, Grp1 30, State 29:28, Priority 27:23, PhysicalID 19:10 or EOI 19 and CPUID 12:10.
    let cases = [
        (PENDING | 0xa0 << 48 | 27 | HW | 27 << 32, 1 << 31 | 1 << 28 | 0x14 << 23 | 27 << 10 | 27),
        (ACTIVE | 1 << 60 | 0xf8 << 48 | 63, 1 << 30 | 2 << 28 | 0x1f << 23 | 63),
        (ACTIVE | PENDING | 5 << 10 | 3, 3 << 28 | 5 << 10 | 3),
        (PENDING | EOI | 7 << 10 | 15, 1 << 28 | 1 << 19 | 7 << 10 | 15),
        (EOI | 33, 1 << 19 | 33),
        (0, 0),
    ];
    for (wide, narrow) in cases {
        assert_eq!((gich::from_lr(wide), gich::to_lr(narrow)), (narrow, wide), "{wide:#x}");
    }
    let mut random = Random(1);
    for _ in 0..20_000 {
        // Whatever hardware says, it comes back as it was but for bits that mean nothing there.
        let narrow = random.next() as u32;
        let kept =
            if narrow >> 31 != 0 { !0 << 23 | 0xf_ffff } else { !0 << 23 | 1 << 19 | 0x1fff };
        assert_eq!(gich::from_lr(gich::to_lr(narrow)), narrow & kept);
    }
}

#[test]
fn a_reset_leaves_nothing_behind() {
    let mut g = Guest::v2(3);
    for source in [0, 1, 2] {
        let _ = g.sgir(source, list(0b1, 3));
    }
    let _ = g.spi(33, true);
    g.hw(0, 27);
    assert_eq!(g.ack(0), from(0, 3));
    for n in 0..3 {
        let (me, lrs) = &mut g.cpus[n];
        let _ = g.vgic.park(me, lrs, true);
        *me = VgicCpu::new(VcpuId(n as u8));
    }
    g.vgic.reset();
    for offset in [
        0x0, 0x84, 0x104, 0x204, 0x304, 0x424, 0x820, 0xc08, 0xf20, 0x80, 0x200, 0x300, 0x400,
        0xc04,
    ] {
        assert_eq!(read(&mut g, 0, offset, 4), Ok(0), "{offset:#x}");
    }
    assert_eq!(read(&mut g, 0, 0x100, 4), Ok(0xffff));
    assert!(g.cpus.iter().all(|(_, cpu)| !cpu.signalled()));
}

#[test]
fn a_parked_vcpu_takes_its_sgis_up_again() {
    let mut g = Guest::v2(3);
    for source in [1, 2] {
        let _ = g.sgir(source, list(1, 7));
    }
    assert_eq!(g.ack(0), from(1, 7));
    let _ = g.sgir(1, list(1, 7));
    g.settle();
    let (me, lrs) = &mut g.cpus[0];
    let _ = g.vgic.park(me, lrs, false);
    assert!(lrs.lr.iter().all(|lr| lr & (ACTIVE | PENDING | EOI) == 0));
    g.enter(0);
    g.end(0, from(1, 7));
    for source in [1, 2] {
        assert_eq!(g.ack(0), from(source, 7));
        g.end(0, from(source, 7));
    }
}
