//! Software-generated interrupts, and what a GICv2 has that a GICv3 has not.

use super::*;

#[test]
fn an_sgi_to_another_vcpu_kicks_its_core_and_one_to_oneself_nobodys() {
    let mut guest = exits();
    guest.enable_interrupts();
    guest.hw.events();
    assert_eq!(guest.msr(SGI1R, 3 << 24 | 0b10), Next::Advance);
    assert_eq!(guest.hw.events(), [Event::Kick(CORES[1])]);
    assert_eq!(guest.lrs.pending(), []);
    let (mut other, mut lrs) = (vcpu(1), Lrs { lr: [0; 4], hcr: hcr::EN });
    let _ = guest.vm.vgic.deliver(&mut other.vgic, &mut lrs);
    assert_eq!(lrs.pending(), [3]);

    assert_eq!(guest.msr(SGI1R, 4 << 24 | 0b01), Next::Advance);
    guest.deliver();
    assert_eq!((guest.lrs.pending(), guest.hw.events()), (vec![4], vec![]));
    // All but the sender.
    assert_eq!(guest.msr(SGI1R, 5 << 24 | 1 << 40), Next::Advance);
    assert_eq!((guest.lrs.pending(), guest.hw.events()), (vec![4], vec![Event::Kick(CORES[1])]));
}

#[test]
fn a_vcpu_without_a_core_of_its_own_is_woken_wherever_it_is_but_not_where_it_runs() {
    let mut guest = exits();
    guest.vm.cpus.clear();
    guest.enable_interrupts();
    guest.hw.events();
    let (me, other) = ((VmId(3), VcpuId(0)), VcpuId(1));
    guest.hw.running.set(Some(me));
    assert_eq!(guest.msr(SGI1R, 3 << 24 | 0b10), Next::Advance);
    assert_eq!(guest.hw.events(), [Event::Wake(VmId(3), other)]);
    // A device's interrupt for the vCPU that runs here: it looks before it runs on.
    let _ = guest.vm.press_power_button(&guest.hw);
    guest.vm.kick_first(&guest.hw);
    guest.vm.kick_all(&guest.hw);
    let calls = [VcpuId(0), other].map(|vcpu| Event::Call(VmId(3), vcpu));
    assert_eq!(guest.hw.events(), [Event::Wake(VmId(3), VcpuId(0)), calls[0], calls[1]]);
    assert!(guest.vm.is_here(&guest.hw));
    guest.hw.running.set(None);
    assert!(!guest.vm.is_here(&guest.hw));
}

/// `GICD_SGIR` of a GICv2.
const GICD_SGIR: u64 = GICD_BASE + 0xf00;

#[test]
fn an_sgi_of_a_gicv2_is_a_store_and_arrives_with_its_source() {
    let mut guest = exits_v2();
    guest.store_ok(GICD_BASE, 1);
    guest.deliver();
    guest.hw.events();
    guest.store_ok(GICD_SGIR, 0b11 << 16 | 3);
    assert_eq!(guest.hw.events(), [Event::Kick(CORES[1])]);
    guest.deliver();
    assert_eq!(guest.lrs.pending(), [3]);
    let (mut other, mut lrs) = (vcpu(1), Lrs { lr: [0; 4], hcr: 0 });
    let _ = guest.vm.vgic.deliver(&mut other.vgic, &mut lrs);
    assert_eq!(lrs.pending(), [3], "from vCPU 0");
    // Back from vCPU 1: its number is in bits 12:10.
    guest.lrs.end_all();
    let store = guest.vm.vgic.gicd_write(&mut other.vgic, &mut lrs, 0xf00, 4, 0b01 << 16 | 9);
    assert_eq!(store, Ok(VcpuSet::only(VcpuId(0))));
    guest.deliver();
    assert_eq!(guest.lrs.pending(), [1 << 10 | 9]);
}

#[test]
fn a_gicv2_has_a_short_distributor_no_redistributors_and_of_its_cpu_interface_one_page_here() {
    let mut guest = exits_v2();
    assert_eq!(guest.load(GICD_BASE + 4, 4), 1 << 5 | 1, "two CPUs, 64 interrupts");
    assert_eq!(guest.load(GICD_BASE + 0x801, 1), 1);
    assert_eq!(guest.load(GICC_DIR_BASE, 4), 0);
    guest.store_ok(GICC_DIR_BASE, 27);
    let nowhere = [GICD_BASE + GICD_V2_SIZE, GICR_BASE, GICR_SGI, GICC_BASE, GICC_BASE + GICC_SIZE];
    for ipa in nowhere {
        for write in [false, true] {
            let next = guest.handle(Exit::Mmio(access(ipa, 4, write)));
            assert!(matches!(next, Next::Inject(Fault::External(_))), "{ipa:#x}");
        }
    }
    let next = exits().handle(Exit::Mmio(access(GICC_DIR_BASE, 4, true)));
    assert!(matches!(next, Next::Inject(Fault::External(_))), "which a GICv3 has not");
}

#[test]
fn the_registers_of_a_gicv3_are_undefined_where_the_guest_has_a_gicv2() {
    let mut guest = exits_v2();
    // ICC_SGI1R_EL1, ICC_ASGI1R_EL1, ICC_SGI0R_EL1, ICC_DIR_EL1.
    for (crm, op2) in [(11, 5), (11, 6), (11, 7), (11, 1)] {
        let reg = SysReg::new(3, 0, 12, crm, op2);
        assert_eq!(guest.msr(reg, 1 << 40), Next::Inject(Fault::Undefined), "{reg:?}");
    }
    assert_eq!(guest.mrs(id_regs::reg::ID_AA64PFR0_EL1), Next::Advance);
    assert_eq!(*guest.x(2) >> 24 & 15, 0);
    assert_eq!(guest.hw.events(), []);
}
