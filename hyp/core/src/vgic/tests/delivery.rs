//! Single cases of delivery.

use std::vec;
use std::vec::Vec;

use crate::addr::{IntId, VcpuId, VcpuSet};
use crate::vgic::fake::{GICR_STRIDE, Guest, INTID, SGI, SPURIOUS};
use crate::vgic::lr::{ACTIVE, EOI, HW, PENDING};
use crate::vgic::{Model, VgicCpu, vmcr};

#[test]
fn an_sgi_to_self_goes_into_one_list_register() {
    let mut g = Guest::new(2);
    let before = g.cpus[0].1.writes;
    assert!(g.sgi(0, 3 << 24 | 1).is_empty());
    assert_eq!(g.cpus[0].1.writes, before + 1);
    assert_eq!(g.ack(0), 3);
    assert_eq!(g.ack(0), SPURIOUS);
    g.end(0, 3);
    assert_eq!(g.ack(0), SPURIOUS);
}

#[test]
fn a_doorbell_that_rings_again_is_one_write_of_the_list_register_that_it_had() {
    let mut g = Guest::new(2);
    let _ = g.pulse(41);
    assert_eq!(g.ack(0), 41);
    g.end(0, 41);
    for _ in 0..3 {
        let before = g.cpus[0].1.writes;
        assert_eq!(g.pulse(41), VcpuSet(1));
        assert_eq!(g.ack(0), 41);
        assert_eq!(g.cpus[0].1.writes, before + 1);
        // Once more while it is active.
        let _ = g.pulse(41);
        g.end(0, 41);
        assert_eq!(g.ack(0), 41);
        g.end(0, 41);
        assert_eq!(g.ack(0), SPURIOUS);
    }
}

#[test]
fn a_doorbell_rings_where_it_is_routed_to_also_while_another_has_it_or_none_may() {
    let mut g = Guest::new(2);
    let _ = g.pulse(40);
    assert_eq!(g.ack(0), 40);
    // To vCPU 1 from now on; vCPU 0 still has it active.
    let _ = g.gicd_sized(0x6000 + 8 * 40, 8, 1);
    let _ = g.pulse(40);
    assert_eq!(g.ack(1), SPURIOUS);
    g.end(0, 40);
    assert_eq!((g.ack(0), g.ack(1)), (SPURIOUS, 40));
    g.end(1, 40);
    // Disabled, it waits.
    let _ = g.gicd(0x184, 1 << 8);
    g.settle();
    assert!(g.pulse(40).is_empty());
    assert_eq!(g.ack(1), SPURIOUS);
    let _ = g.gicd(0x104, 1 << 8);
    assert_eq!(g.ack(1), 40);
}

/// A guest whose doorbell 40 rang before, for vCPU 0, which has ended that.
fn rung_before() -> Guest {
    let mut g = Guest::new(2);
    let _ = g.pulse(40);
    assert_eq!(g.ack(0), 40);
    g.end(0, 40);
    g
}

#[test]
fn a_ring_that_comes_behind_a_clear_of_the_pending_state_is_not_cleared_with_it() {
    let mut g = rung_before();
    // vCPU 1 clears what vCPU 0 may have; before that one looks, the doorbell rings.
    let (me, cpu) = &mut g.cpus[1];
    let _ = g.vgic.gicd_write(me, cpu, 0x284, 4, 1 << 8).unwrap();
    let _ = g.pulse(40);
    assert_eq!(g.ack(0), 40);
}

#[test]
fn a_ring_that_its_vcpu_has_not_found_is_pending_for_all_who_ask_and_can_be_cleared() {
    for off in [false, true] {
        let mut g = rung_before();
        if off {
            let (me, cpu) = &mut g.cpus[0];
            let _ = g.vgic.park(me, cpu, true);
        }
        let _ = g.pulse(40);
        let _ = g.pulse(41);
        let pending = |g: &mut Guest| (g.gicd_read(1, 0x204), g.vgic.states(None).pending);
        assert_eq!(pending(&mut g), (3 << 8, 3 << 8));
        let _ = g.gicd_by(1, 0x284, 4, 1 << 8);
        assert_eq!(pending(&mut g), (1 << 9, 1 << 9));
        assert_eq!(g.ack(0), 41);
        g.end(0, 41);
        assert_eq!(g.ack(0), SPURIOUS, "off before: {off}");
    }
}

#[test]
fn a_ring_that_its_vcpu_has_not_found_goes_where_the_doorbell_is_routed_to() {
    for off in [false, true] {
        let mut g = rung_before();
        if off {
            let (me, cpu) = &mut g.cpus[0];
            let _ = g.vgic.park(me, cpu, true);
        }
        // An SGI that came before stays.
        let (me, cpu) = &mut g.cpus[1];
        let _ = g.vgic.sgi1r(me, cpu, 5 << 24 | 1);
        let _ = g.pulse(40);
        // Where vCPU 0 is off, it does not look.
        let (me, cpu) = &mut g.cpus[1];
        let _ = g.vgic.gicd_write(me, cpu, 0x6000 + 8 * 40, 8, 1).unwrap();
        if off {
            let _ = g.vgic.deliver(me, cpu);
            assert_eq!(cpu.acknowledge(), 40);
            cpu.end(40);
        } else {
            assert_eq!(g.ack(1), 40, "whoever has it in a list register gives it up first");
            g.end(1, 40);
        }
        assert_eq!(g.ack(0), 5);
        g.end(0, 5);
        assert_eq!((g.ack(0), g.ack(1)), (SPURIOUS, SPURIOUS));
    }
}

#[test]
fn sgis_that_come_together_with_a_ring_are_taken_as_well() {
    for mut g in [Guest::new(2), Guest::v2(2)] {
        let _ = g.pulse(40);
        let taken = g.ack(0);
        assert_eq!(taken, 40);
        g.end(0, 40);
        let v2 = g.vgic.model() == Model::V2;
        let (me, cpu) = &mut g.cpus[1];
        let _ = if v2 {
            g.vgic.gicd_write(me, cpu, 0xf00, 4, 1 << 16 | 5).unwrap()
        } else {
            g.vgic.sgi1r(me, cpu, 5 << 24 | 1)
        };
        let _ = g.pulse(40);
        let first = g.ack(0);
        g.end(0, first);
        let second = g.ack(0);
        let mut both = [first & INTID, second & INTID];
        both.sort_unstable();
        assert_eq!(both, [5, 40]);
    }
}

#[test]
fn an_sgi_reaches_exactly_the_listed_vcpus_of_affinity_zero() {
    let mut g = Guest::new(3);
    assert_eq!(g.sgi(0, 5 << 24 | 0b1110), VcpuSet(0b110));
    assert_eq!((g.ack(0), g.ack(1), g.ack(2)), (SPURIOUS, 5, 5));
    for elsewhere in [1 << 16, 1 << 32, 1 << 48, 1 << 44] {
        assert!(g.sgi(0, 6 << 24 | 0b111 | elsewhere).is_empty());
    }
    assert_eq!(g.ack(0), SPURIOUS);
    // To all but the sender, whatever the list says.
    assert_eq!(g.sgi(1, 1 << 40 | 7 << 24 | 0xff << 16), VcpuSet(0b101));
}

#[test]
fn an_sgi_that_comes_again_while_active_becomes_pending_again() {
    let mut g = Guest::new(1);
    let _ = g.sgi(0, 1 << 24 | 1);
    assert_eq!(g.ack(0), 1);
    let _ = g.sgi(0, 1 << 24 | 1);
    let _ = g.sgi(0, 1 << 24 | 1);
    assert_eq!(g.ack(0), SPURIOUS);
    g.end(0, 1);
    assert_eq!(g.ack(0), 1);
    g.end(0, 1);
    assert_eq!(g.ack(0), SPURIOUS);
}

#[test]
fn the_most_urgent_of_many_pending_interrupts_is_always_taken_first() {
    let mut g = Guest::new(1);
    for n in 0..16u64 {
        // SGI 0 is the least urgent.
        let _ = g.gicr_sized(SGI + 0x400 + n, 1, 0xf8 - 8 * n);
    }
    for n in 0..16 {
        let _ = g.sgi(0, n << 24 | 1);
    }
    for n in (0..16).rev() {
        assert_eq!(g.ack(0), n);
        g.end(0, n);
    }
    assert_eq!(g.ack(0), SPURIOUS);
}

#[test]
fn sixteen_nested_interrupts_are_all_ended() {
    let mut g = Guest::new(1);
    for n in 0..16u64 {
        let _ = g.gicr_sized(SGI + 0x400 + n, 1, 0xf8 - 8 * n);
    }
    for n in 0..16 {
        let _ = g.sgi(0, u64::from(n) << 24 | 1);
        assert_eq!(g.ack(0), n);
    }
    assert_eq!(g.gicr_read(0, SGI + 0x300), 0xffff);
    for n in (0..16).rev() {
        g.end(0, n);
        assert_eq!(g.gicr_read(0, SGI + 0x300), (1 << n) - 1);
    }
}

#[test]
fn a_level_interrupt_comes_again_while_its_line_is_high() {
    let mut g = Guest::new(2);
    assert_eq!(g.spi(33, true), VcpuSet(1));
    assert!(g.spi(33, true).is_empty());
    assert_eq!(g.ack(0), 33);
    g.end(0, 33);
    assert_eq!(g.ack(0), 33);
    let _ = g.spi(33, false);
    g.end(0, 33);
    assert_eq!(g.ack(0), SPURIOUS);
}

#[test]
fn a_line_that_falls_before_the_guest_looks_leaves_nothing() {
    let mut g = Guest::new(1);
    let _ = g.spi(33, true);
    g.enter(0);
    assert!(g.cpus[0].1.signalled());
    assert_eq!(g.spi(33, false), VcpuSet(1));
    assert_eq!(g.ack(0), SPURIOUS);
}

#[test]
fn an_edge_interrupt_comes_once_a_pulse() {
    let mut g = Guest::new(2);
    let _ = g.gicd(0xc0c, 0xaaaa_aaaa);
    let _ = g.gicd_sized(0x6000 + 8 * 48, 8, 1);
    assert_eq!(g.pulse(48), VcpuSet(2));
    assert_eq!((g.ack(0), g.ack(1)), (SPURIOUS, 48));
    assert_eq!(g.pulse(48), VcpuSet(2));
    g.end(1, 48);
    assert_eq!(g.ack(1), 48);
    g.end(1, 48);
    assert_eq!(g.ack(1), SPURIOUS);
}

#[test]
fn an_edge_that_comes_while_the_last_is_pending_is_one_interrupt_with_it() {
    let mut g = Guest::new(1);
    let _ = g.gicd(0xc0c, 0xaaaa_aaaa);
    let _ = g.pulse(48);
    g.settle();
    let (writes, injected) = (g.cpus[0].1.writes, g.vgic.injected(VcpuId(0)));
    let _ = g.pulse(48);
    g.settle();
    assert_eq!((g.cpus[0].1.writes, g.vgic.injected(VcpuId(0))), (writes, injected));
    assert_eq!(g.ack(0), 48);
    // Active now: the next edge comes behind its end.
    let _ = g.pulse(48);
    let _ = g.pulse(48);
    assert_eq!(g.ack(0), SPURIOUS);
    g.end(0, 48);
    assert_eq!(g.ack(0), 48);
    g.end(0, 48);
    assert_eq!(g.ack(0), SPURIOUS);
}

#[test]
fn an_spi_moves_to_its_new_target_out_of_the_list_register_of_the_old() {
    let mut g = Guest::new(2);
    let _ = g.pulse(50);
    g.enter(0);
    assert!(g.cpus[0].1.signalled());
    assert_eq!(g.gicd_sized(0x6000 + 8 * 50, 8, 1), VcpuSet(1));
    assert_ne!(g.gicd_read(1, 0) & 1 << 31, 0, "RWP until vCPU 0 folded");
    g.enter(0);
    assert_eq!(g.gicd_read(1, 0) & 1 << 31, 0);
    assert_eq!((g.ack(0), g.ack(1)), (SPURIOUS, 50));
}

#[test]
fn an_spi_without_a_target_stays_pending_until_it_has_one() {
    let mut g = Guest::new(2);
    let _ = g.gicd_sized(0x6000 + 8 * 50, 8, 7);
    assert!(g.pulse(50).is_empty());
    assert_eq!(g.gicd_read(0, 0x204), 1 << 18);
    assert_eq!(g.gicd_sized(0x6000 + 8 * 50, 4, 1), VcpuSet(2));
    assert_eq!(g.ack(1), 50);
}

#[test]
fn disabling_takes_a_pending_interrupt_back_and_enabling_brings_it_again() {
    let mut g = Guest::new(1);
    let _ = g.sgi(0, 2 << 24 | 1);
    let _ = g.gicr(SGI + 0x180, 1 << 2);
    assert_eq!(g.ack(0), SPURIOUS);
    assert_eq!(g.gicr_read(0, SGI + 0x200), 1 << 2);
    let _ = g.gicr(SGI + 0x100, 1 << 2);
    assert_eq!(g.ack(0), 2);
}

#[test]
fn a_timer_is_linked_to_its_physical_interrupt() {
    let mut g = Guest::new(1);
    g.hw(0, 27);
    assert!(g.cpus[0].1.lr.iter().any(|lr| lr & (HW | PENDING) == HW | PENDING));
    assert_eq!(g.ack(0), 27);
    g.end(0, 27);
    assert_eq!(g.cpus[0].1.deactivated, [27]);
    assert_eq!(g.ended(0), 0);
}

#[test]
fn a_guest_that_polls_a_disabled_timer_makes_us_look_whether_it_still_fires() {
    let mut g = Guest::new(1);
    let _ = g.gicr(SGI + 0x180, 1 << 27);
    g.enter(0);
    g.hw(0, 27);
    g.enter(0);
    assert!(!g.vgic.needs_delivery(&g.cpus[0].0));
    assert_eq!(g.gicr_read(0, SGI + 0x200), 1 << 27);
    assert!(g.vgic.needs_delivery(&g.cpus[0].0));
}

#[test]
fn a_timer_that_the_guest_disabled_waits_and_can_be_withdrawn() {
    let mut g = Guest::new(1);
    let _ = g.gicr(SGI + 0x180, 1 << 27);
    g.enter(0);
    g.hw(0, 27);
    assert_eq!(g.ack(0), SPURIOUS);
    assert_eq!(g.vgic.held_hw_ppis(&g.cpus[0].0), 1 << 27);
    assert_eq!(g.gicr_read(0, SGI + 0x200), 1 << 27);
    let (me, lrs) = &mut g.cpus[0];
    let _ = g.vgic.withdraw_hw_ppi(me, lrs, IntId(27));
    assert_eq!(g.ended(0), 1 << 27);
    let _ = g.gicr(SGI + 0x100, 1 << 27);
    assert_eq!(g.ack(0), SPURIOUS);
    g.hw(0, 27);
    assert_eq!(g.ack(0), 27);
}

#[test]
fn a_timer_deactivated_by_register_deactivates_the_physical_one() {
    let mut g = Guest::new(1);
    g.hw(0, 27);
    assert_eq!(g.ack(0), 27);
    let _ = g.gicr(SGI + 0x380, 1 << 27);
    g.enter(0);
    assert_eq!(g.ended(0), 1 << 27);
    assert!(g.cpus[0].1.lr.iter().all(|lr| lr & (ACTIVE | PENDING) == 0));
}

#[test]
fn a_timer_that_ends_without_its_link_is_deactivated_at_the_next_delivery() {
    let mut g = Guest::new(1);
    g.hw(0, 27);
    assert_eq!(g.ack(0), 27);
    // Pending by software as well: a list register cannot be that and linked.
    let _ = g.gicr(SGI + 0x200, 1 << 27);
    g.settle();
    assert!(g.cpus[0].1.lr.iter().all(|lr| lr & HW == 0));
    g.cpus[0].1.end(27);
    let _ = g.gicr_read(0, SGI + 0x300);
    assert!(g.vgic.needs_delivery(&g.cpus[0].0));
    g.enter(0);
    assert_eq!(g.ended(0), 1 << 27);
    assert_eq!(g.ack(0), 27);
    g.end(0, 27);
    assert_eq!(g.ended(0), 0);
}

#[test]
fn an_interrupt_of_group_zero_goes_as_group_zero() {
    let mut g = Guest::new(1);
    let _ = g.gicr(SGI + 0x80, !(1 << 4));
    let _ = g.sgi(0, 4 << 24 | 1);
    assert_eq!(g.ack(0), SPURIOUS);
    let (me, lrs) = &mut g.cpus[0];
    let _ = g.vgic.sgi0r(me, lrs, 4 << 24 | 1);
    assert!(lrs.lr.iter().any(|lr| lr & (PENDING | 1 << 60) == PENDING));
    assert_eq!(g.ack(0), 4);
}

#[test]
fn interrupts_of_a_group_that_the_guest_masks_do_not_starve_the_other() {
    let mut g = Guest::new(1);
    let _ = g.gicr(SGI + 0x80, !0xff);
    g.cpus[0].1.vmcr = vmcr::VENG1;
    for n in 0..8 {
        let (me, lrs) = &mut g.cpus[0];
        let _ = g.vgic.sgi0r(me, lrs, n << 24 | 1);
    }
    let _ = g.sgi(0, 9 << 24 | 1);
    assert_eq!(g.ack(0), 9);
    g.end(0, 9);
    g.cpus[0].1.vmcr |= vmcr::VENG0;
    let mut seen = vec![];
    for _ in 0..8 {
        let n = g.ack(0);
        seen.push(n);
        g.end(0, n);
    }
    assert_eq!(seen, (0..8).collect::<Vec<_>>());
}

#[test]
fn deactivation_out_of_order_is_exact_where_it_traps() {
    let mut g = Guest::new(1);
    g.cpus[0].1.vmcr |= vmcr::VEOIM;
    for n in 0..6 {
        let _ = g.sgi(0, u64::from(n) << 24 | 1);
        assert_eq!(g.ack(0), n);
        g.end(0, n);
    }
    for n in [3, 0, 5, 1, 4, 2] {
        let active = g.gicr_read(0, SGI + 0x300);
        let (me, lrs) = &mut g.cpus[0];
        if lrs.hcr & crate::vgic::hcr::TDIR != 0 {
            let _ = g.vgic.write_dir(me, lrs, n);
        } else {
            lrs.deactivate(n as u32);
        }
        g.enter(0);
        assert_eq!(g.gicr_read(0, SGI + 0x300), active & !(1 << n));
    }
}

#[test]
fn the_line_of_a_timer_falls_with_its_vcpu() {
    let mut g = Guest::new(1);
    let _ = g.vgic.set_ppi_level(g.cpus[0].0.id(), IntId(30), true);
    g.enter(0);
    assert_eq!(g.ack(0), 30);
    let (me, lrs) = &mut g.cpus[0];
    let _ = g.vgic.park(me, lrs, true);
    *me = VgicCpu::new(me.id());
    lrs.running.clear();
    // Switched on again: the timer was reset with its core.
    g.enter(0);
    assert_eq!(g.ack(0), SPURIOUS);
}

#[test]
fn an_interrupt_ends_though_its_priority_or_group_was_changed_while_it_was_active() {
    for (register, size, value) in [(0x428, 1, 0x40), (0x84, 4, 0)] {
        let mut g = Guest::new(2);
        let _ = g.pulse(40);
        assert_eq!(g.ack(0), 40);
        let before = g.cpus[0].1.lr.clone();
        let _ = g.gicd_by(1, register, size, value);
        g.settle();
        assert_eq!(g.cpus[0].1.lr, before, "it is in the list register as it was taken");
        // Once more before its end: it comes as what it is now.
        let _ = g.pulse(40);
        g.settle();
        g.end(0, 40);
        assert_eq!(g.gicd_read(0, 0x304), 0, "it is active no more");
        assert_eq!(g.ack(0), 40);
        assert_eq!(g.cpus[0].1.running, [if size == 1 { 0x40 } else { 0xa0 }]);
    }
}

#[test]
fn a_parked_vcpu_takes_its_interrupts_up_again() {
    let mut g = Guest::new(1);
    let _ = g.sgi(0, 1 << 24 | 1);
    let _ = g.spi(33, true);
    assert_eq!(g.ack(0), 1);
    let (me, lrs) = &mut g.cpus[0];
    let _ = g.vgic.park(me, lrs, false);
    assert!(lrs.lr.iter().all(|lr| lr & (ACTIVE | PENDING | EOI) == 0));
    g.enter(0);
    g.end(0, 1);
    assert_eq!(g.ack(0), 33);
}

#[test]
fn a_vcpu_that_is_set_aside_leaves_its_core_no_physical_interrupt_and_takes_its_own_up_again() {
    let mut g = Guest::new(2);
    let set_aside = |g: &mut Guest| {
        let (me, lrs) = &mut g.cpus[0];
        let _ = g.vgic.set_aside(me, lrs);
        assert!(lrs.lr.iter().all(|lr| lr & (ACTIVE | PENDING | EOI) == 0));
        g.ended(0)
    };
    // Pending: its line is still asserted, so it comes again, and nothing is kept of it.
    g.hw(0, 27);
    assert_eq!((set_aside(&mut g), g.cpus[0].0.twins()), (1 << 27, 0));
    g.enter(0);
    assert_eq!(g.cpus[0].1.acknowledge(), SPURIOUS);
    // Begun: the core has its twin active again when it is back, and the guest's end deactivates that.
    g.hw(0, 27);
    assert_eq!(g.ack(0), 27);
    let _ = g.sgi(1, 5 << 24 | 1);
    assert_eq!((set_aside(&mut g), g.cpus[0].0.twins()), (1 << 27, 1 << 27));
    g.enter(0);
    g.end(0, 27);
    assert_eq!((g.ended(0), g.cpus[0].0.twins()), (1 << 27, 0));
    // What came meanwhile from others is there.
    assert_eq!(g.ack(0), 5);
    // Nobody waits for it to fold while it has no core.
    let _ = set_aside(&mut g);
    let _ = g.gicr(SGI + 0x180, !0);
    assert_eq!(g.gicd_read(1, 0) >> 31, 0);
}

#[test]
fn a_newcomer_does_not_overtake_a_more_urgent_one_that_waits_outside() {
    let mut g = Guest::new(1);
    for (n, priority) in [0x10, 0x20, 0x30, 0x40, 0x80, 0x90].into_iter().enumerate() {
        let _ = g.gicr_sized(SGI + 0x400 + n as u64, 1, priority);
    }
    for n in 0..5 {
        let _ = g.sgi(0, n << 24 | 1);
    }
    assert_eq!(g.ack(0), 0);
    g.end(0, 0);
    // A list register is free now, but 4 waits for it.
    let _ = g.sgi(0, 5 << 24 | 1);
    for n in 1..6 {
        assert_eq!(g.ack(0), n);
        g.end(0, n);
    }
}

#[test]
fn an_active_interrupt_that_is_pending_again_does_not_keep_more_urgent_ones_out() {
    let mut g = Guest::with_list_registers(1, 2);
    for (n, priority) in [0x10, 0x20, 0x90].into_iter().enumerate() {
        let _ = g.gicr_sized(SGI + 0x400 + n as u64, 1, priority);
    }
    let _ = g.sgi(0, 2 << 24 | 1);
    assert_eq!(g.ack(0), 2);
    for n in [2, 0, 1] {
        let _ = g.sgi(0, n << 24 | 1);
    }
    g.end(0, 2);
    for n in [0, 1, 2] {
        assert_eq!(g.ack(0), n);
        g.end(0, n);
    }
    assert_eq!(g.ack(0), SPURIOUS);
}

#[test]
fn an_spi_rerouted_while_active_goes_to_the_new_target_once_it_has_ended() {
    for pulse_before_the_end in [true, false] {
        let mut g = Guest::new(2);
        let _ = g.pulse(50);
        assert_eq!(g.ack(0), 50);
        let _ = g.gicd_sized(0x6000 + 8 * 50, 8, 1);
        g.settle();
        if pulse_before_the_end {
            let _ = g.pulse(50);
            assert_eq!(g.ack(1), SPURIOUS, "active is active, wherever");
        }
        g.end(0, 50);
        if !pulse_before_the_end {
            let _ = g.pulse(50);
        }
        assert_eq!((g.ack(0), g.ack(1)), (SPURIOUS, 50));
    }
}

#[test]
fn an_spi_that_is_active_on_a_vcpu_that_goes_off_stays_so_and_is_not_lost_with_it() {
    let mut g = Guest::new(2);
    let _ = g.gicd_sized(0x6000 + 8 * 50, 8, 1);
    let _ = g.pulse(50);
    assert_eq!(g.ack(1), 50);
    let (me, lrs) = &mut g.cpus[1];
    let _ = g.vgic.park(me, lrs, true);
    *me = VgicCpu::new(VcpuId(1));
    assert_eq!(g.gicd_read(0, 0x304), 1 << 18);
    // The guest gives it to a vCPU that is on. Nobody enters the other any more.
    let _ = g.gicd_sized(0x6000 + 8 * 50, 8, 0);
    let _ = g.pulse(50);
    g.enter(0);
    assert_eq!((g.cpus[0].1.acknowledge(), g.gicd_read(0, 0x304)), (SPURIOUS, 1 << 18));
    let _ = g.gicd(0x384, 1 << 18);
    g.enter(0);
    assert_eq!(g.cpus[0].1.acknowledge(), 50);
}

#[test]
fn an_spi_made_active_by_register_is_not_delivered_until_made_inactive() {
    let mut g = Guest::new(2);
    let _ = g.gicd(0x304, 1 << 8);
    g.settle();
    let _ = g.pulse(40);
    assert_eq!(g.ack(0), SPURIOUS);
    assert_eq!((g.gicd_read(1, 0x304), g.gicd_read(1, 0x204)), (1 << 8, 1 << 8));
    let _ = g.gicd(0x384, 1 << 8);
    assert_eq!(g.ack(0), 40);
    // Made active while it is active on a vCPU that it is not routed to any more: nothing new.
    let _ = g.gicd_sized(0x6000 + 8 * 40, 8, 1);
    g.settle();
    let _ = g.gicd(0x304, 1 << 8);
    g.settle();
    g.end(0, 40);
    assert_eq!(g.gicd_read(0, 0x304), 0);
    let _ = g.pulse(40);
    assert_eq!(g.ack(1), 40);
}

#[test]
fn of_requests_to_make_active_and_inactive_the_last_one_counts() {
    let mut g = Guest::new(2);
    let active = GICR_STRIDE + SGI + 0x300;
    let inactive = GICR_STRIDE + SGI + 0x380;
    for (last, want) in [(active, 1 << 5), (inactive, 0)] {
        let _ = g.gicr(if last == active { inactive } else { active }, 1 << 5);
        let _ = g.gicr(last, 1 << 5);
        assert_eq!(g.gicr_read(0, active), want);
        g.settle();
        assert_eq!(g.gicr_read(0, active), want);
    }
}

#[test]
fn an_sgi_cleared_before_its_target_looked_is_gone() {
    let mut g = Guest::new(2);
    let _ = g.sgi(0, 5 << 24 | 2);
    let pending = GICR_STRIDE + SGI + 0x200;
    assert_eq!(g.gicr_read(0, pending), 1 << 5);
    let _ = g.gicr(GICR_STRIDE + SGI + 0x280, 1 << 5);
    assert_eq!(g.gicr_read(0, pending), 0);
    assert_eq!(g.ack(1), SPURIOUS);
}
