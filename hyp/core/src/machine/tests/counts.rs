//! What is counted of all this.

use tessera_abi::hypercall;

use super::*;
use crate::counters::Cause;
use crate::disk::{DiskError, DiskOp, DiskRequest, Tag};

#[test]
fn each_exit_is_counted_once_under_the_cause_that_the_ring_tells() {
    let class = |class: u64| class << 26 | iss::IL;
    let sysreg = |reg: SysReg, read| class(ec::SYSREG) | u64::from(reg.0) | 2 << 5 | read;
    let access = |write| class(ec::DATA_ABORT_LOWER) | iss::ISV | 2 << 22 | 2 << 16 | 0x07 | write;
    let devices = [GICD_BASE, GICR_BASE, UART_IMSC, VIRTIO_BASE, GICC_DIR_BASE, 0x1000, RAM_BASE];
    let mut exits_made: Vec<(u64, u64)> = vec![
        (class(ec::HVC64), 0),
        (class(ec::HVC64) | 1, 0),
        (class(ec::HVC64) | u64::from(hypercall::RING), 0),
        (class(ec::HVC64) | u64::from(hypercall::TAKE), 0),
        (class(ec::SMC64), 0),
        (sysreg(SGI1R, 0), 0),
        (sysreg(SGI1R, iss::READ), 0),
        (sysreg(id_regs::reg::ID_AA64PFR0_EL1, iss::READ), 0),
        (sysreg(SysReg::new(3, 0, 12, 11, 7), 0), 0),
        (class(ec::INSTR_ABORT_LOWER) | 0x07, 0x5000),
        (access(0) & !iss::ISV, GICD_BASE),
        (class(ec::WFX), 0),
        (class(ec::SVE), 0),
        (class(ec::SERROR), 0),
        (class(0x3f), 0),
    ];
    exits_made.extend(devices.iter().flat_map(|&ipa| [(access(0), ipa), (access(iss::WNR), ipa)]));
    for (why, ipa) in exits_made {
        let mut guest = exits();
        let _ = guest.take(why, ipa & 0xfff, ipa >> 8 & !0xf);
        let event = crate::trace::Record { why, detail: ipa, pc: 0, time: 1 }.event();
        let counted: Vec<Cause> = guest
            .vcpu
            .observed
            .exits
            .iter()
            .filter(|(_, n)| *n != 0)
            .map(|(cause, _)| cause)
            .collect();
        assert_eq!(counted, [event.cause()], "{event}");
        assert_eq!(guest.vcpu.observed.exits.total(), 1, "{event}");
    }
}

#[test]
fn the_version_query_is_counted_as_a_call() {
    let mut guest = exits();
    guest.vcpu.registers.x[0] = u64::from(function::VERSION);
    assert!(answered_at_once(&mut guest.vcpu, &Exit::Hvc(0)));
    assert!(!answered_at_once(&mut guest.vcpu, &Exit::Hvc(1)));
    assert_eq!(guest.vcpu.observed.exits.get(Cause::Hvc), 1);
}

#[test]
fn an_interrupt_is_counted_when_the_guest_is_given_it_and_not_again_while_it_waits() {
    let mut guest = exits();
    guest.enable_interrupts();
    let given = |guest: &Exits<FakeHw>| guest.vm.vgic.injected(VcpuId(0));
    assert_eq!(given(&guest), 0);
    assert_eq!(guest.msr(SGI1R, 3 << 24 | 1), Next::Advance);
    assert_eq!(guest.lrs.pending(), [3]);
    assert_eq!(given(&guest), 1);
    // A change of its priority folds the list registers and fills them anew.
    let filled = guest.lrs.lr;
    guest.store_ok(GICR_SGI + 0x400, 0x1010_1010);
    guest.deliver();
    assert_ne!(guest.lrs.lr, filled);
    assert_eq!((guest.lrs.pending(), given(&guest)), (vec![3], 1));
    guest.lrs.end_all();
    assert_eq!(guest.msr(SGI1R, 3 << 24 | 1), Next::Advance);
    assert_eq!(given(&guest), 2);
    assert_eq!(guest.vm.vgic.take_injected(VcpuId(0)), 2);
    assert_eq!(given(&guest), 0);
}

#[test]
fn a_disks_requests_bytes_and_errors_are_counted_and_so_are_the_consoles_bytes() {
    let guest = exits();
    let disk = &guest.vm.counters.disks[0];
    let mut request = DiskRequest::new(Tag { owner: 0, request: 0 });
    request.op = DiskOp::Write;
    request.sectors = 8;
    disk.submitted(&request);
    request.op = DiskOp::Flush;
    request.sectors = 0;
    disk.submitted(&request);
    assert_eq!(
        (disk.requests.get(), disk.bytes_written.get(), disk.bytes_read.get()),
        (2, 4096, 0)
    );
    guest.vm.disk_event(&guest.hw, 0, Some((5, Err(DiskError::Failed))));
    assert_eq!(disk.errors.get(), 1);
    let mut guest = exits();
    guest.hw.typed.borrow_mut().extend(b"a");
    guest.vm.feed_uart(&guest.hw);
    guest.store_ok(UART_BASE, u64::from(b'x'));
    assert_eq!((guest.vm.counters.console_in.get(), guest.vm.counters.console_out.get()), (1, 1));
}
