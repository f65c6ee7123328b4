//! Exits as they come from the vector, through [`handle`], to what the guest, the devices and the machine see of them.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;

use crate::lock::Mutex;
use tessera_abi::layout::*;

use super::*;
use crate::addr::{CpuId, Ipa, Pa, VcpuId, VmId};
use crate::attention::Attention;
use crate::control::Control;
use crate::counters::{Cause, GuestCounters};
use crate::disk::model::{AVAIL, Board, DATA, DESC, Guest, MODERN, Random, USED};
use crate::disk::{Accepted, DiskError, DiskOp, DiskRequest, SubmitError, Tag, Window};
use crate::exit::{INTERRUPT, MmioAccess, Syndrome, SysReg, ec, iss};
use crate::guest_mem::{Extent, GuestRam};
use crate::hw::fake::{Event, FakeHw};
use crate::id_regs::{self, IdRegs};
use crate::inject::inject;
use crate::psci::{Power, PowerStates, Psci, function};
use crate::smccc::{Mitigation, Mitigations, Services, function as smccc};
use crate::stage2::Stage2;
use crate::trng::Stream;
use crate::vgic::{Model, Vgic, hcr, vmcr};
use crate::virtio::blk::request::kind;
use crate::virtio::blk::{Status, VirtioBlk};
use crate::virtio::input::PowerButton;
use crate::virtio::{interrupt, reg, status};
use crate::vtimer::Clock;
use crate::vuart::Vuart;
use crate::watchdog::Watchdog;

const GICR_SGI: u64 = GICR_BASE + 0x1_0000;
const UART_IMSC: u64 = UART_BASE + 0x38;
/// The cores of the guest's vCPUs.
const CORES: [CpuId; 2] = [CpuId(5), CpuId(7)];
/// Where the guest's RAM is on the board of [`Exits`].
const RAM_PA: u64 = 0x8001_0000;
const RAM_BYTES: u64 = 0x1_0000;

/// A virtual CPU interface that only remembers.
struct Lrs {
    lr: [u64; 4],
    hcr: u64,
}

impl ListRegisters for Lrs {
    fn count(&self) -> usize {
        self.lr.len()
    }
    fn read(&self, index: usize) -> u64 {
        self.lr[index]
    }
    fn write(&mut self, index: usize, value: u64) {
        self.lr[index] = value;
    }
    fn empty(&self) -> u32 {
        (0..self.lr.len()).filter(|&i| self.lr[i] >> 62 == 0).fold(0, |set, i| set | 1 << i)
    }
    fn machine_control(&self) -> u64 {
        vmcr::VENG0 | vmcr::VENG1
    }
    fn control(&self) -> u64 {
        self.hcr
    }
    fn set_control(&mut self, value: u64) {
        self.hcr = value;
    }
}

impl Lrs {
    /// The interrupts that are pending for the guest.
    fn pending(&self) -> Vec<u32> {
        let mut all: Vec<u32> =
            self.lr.iter().filter(|lr| *lr >> 62 & 1 != 0).map(|lr| *lr as u32).collect();
        all.sort_unstable();
        all
    }

    /// The guest takes and ends all of them.
    fn end_all(&mut self) {
        self.lr.iter_mut().for_each(|lr| *lr &= !(3 << 62));
    }
}

/// A guest with two vCPUs on [`CORES`], of which the first makes the exits.
struct Exits<H: Hw> {
    hw: H,
    vm: Vm,
    vcpu: Vcpu,
    lrs: Lrs,
}

fn guest(hw: &FakeHw, ram: GuestRam, disk: VirtioBlk) -> Vm {
    let psci = Psci { power: PowerStates::new(2), ram: RAM_BASE..RAM_BASE + ram.size() };
    let start = Start { entry: Ipa(RAM_BASE), context: 0 };
    psci.power.switch_on(VcpuId(0), start).unwrap();
    psci.power.take_start(VcpuId(0)).unwrap();
    let mitigations = Mitigations { branch_target: Mitigation::Call, ..Mitigations::default() };
    let stage2 = Stage2::new(hw, VmId(3), 0b0010, [].into()).unwrap();
    hw.events();
    Vm {
        id: VmId(3),
        name: String::from("web"),
        cpus: CORES.into(),
        ram,
        stage2,
        attention: Attention::default(),
        services: Services { psci, mitigations, random: true },
        ids: IdRegs::from_hw(|reg| match reg {
            // AArch64 at EL0 to EL3 without AArch32; SVE (bits 35:32), RAS (31:28) and GICv3's registers are there.
            id_regs::reg::ID_AA64PFR0_EL1 => 0x1_1100_1111,
            _ => 0,
        }),
        clock: Mutex::new(Clock::starting(0)),
        random: Mutex::new(Stream::from_seed(b"a seed of enough bytes")),
        disks: vec![Mutex::new(disk)],
        disk_news: crate::vm::DiskNews::new(),
        power_button: Mutex::new(PowerButton::new()),
        control: Some(Control::new()),
        watchdog: Some(Mutex::new(Watchdog::new(StopReason::WatchdogStop))),
        uart: Some(Mutex::new(Vuart::new())),
        vgic: Vgic::new(2, Model::V3),
        counters: Arc::new(GuestCounters::new(2)),
    }
}

fn exits() -> Exits<FakeHw> {
    let hw = FakeHw::new(Pa(0x8000_0000), 1 << 18);
    let extent = Extent { ipa: Ipa(RAM_BASE), pa: Pa(RAM_PA), len: RAM_BYTES };
    let ram = GuestRam::new(vec![extent]).unwrap();
    let window = Window { first: 100, sectors: 1000, read_only: false };
    let vm = guest(&hw, ram, VirtioBlk::new(0, window, [0; 20]));
    Exits::new(hw, vm)
}

/// As [`exits`], on a board with a GICv2.
fn exits_v2() -> Exits<FakeHw> {
    let mut guest = exits();
    guest.vm.vgic = Vgic::new(2, Model::V2);
    guest.vm.ids = IdRegs::from_hw(|_| 0);
    guest
}

/// vCPU `id`, with its counters for as long as the test program runs.
fn vcpu(id: u8) -> Vcpu {
    Vcpu::new(VcpuId(id), Box::leak(Box::default()))
}

impl<H: Hw> Exits<H> {
    fn new(hw: H, vm: Vm) -> Self {
        Self { hw, vm, vcpu: vcpu(0), lrs: Lrs { lr: [0; 4], hcr: 0 } }
    }

    fn handle(&mut self, exit: Exit) -> Next {
        let mut next = Next::Resume;
        match handle(&self.vm, &mut self.vcpu, exit, &self.hw, &mut self.lrs, &mut next) {
            Step::Resume => Next::Resume,
            Step::Advance => Next::Advance,
            Step::Other => next,
        }
    }

    /// As [`Exits::handle`], from the syndrome on.
    fn take(&mut self, esr: u64, far: u64, hpfar: u64) -> Next {
        self.handle(Exit::decode(esr, || Syndrome { esr, far, hpfar }))
    }

    fn x(&mut self, n: usize) -> &mut u64 {
        &mut self.vcpu.registers.x[n]
    }

    fn hvc(&mut self, arguments: &[u64]) -> Next {
        self.vcpu.registers.x[..arguments.len()].copy_from_slice(arguments);
        self.take(ec::HVC64 << 26 | iss::IL, 0, 0)
    }

    fn smc(&mut self, arguments: &[u64]) -> Next {
        self.vcpu.registers.x[..arguments.len()].copy_from_slice(arguments);
        self.take(ec::SMC64 << 26 | iss::IL, 0, 0)
    }

    fn mrs(&mut self, reg: SysReg) -> Next {
        self.handle(Exit::SysReg(SysRegAccess::new(reg, 2, false)))
    }

    fn msr(&mut self, reg: SysReg, value: u64) -> Next {
        *self.x(2) = value;
        self.handle(Exit::SysReg(SysRegAccess::new(reg, 2, true)))
    }

    fn load(&mut self, ipa: u64, size: u8) -> u64 {
        assert_eq!(self.handle(Exit::Mmio(access(ipa, size, false))), Next::Advance);
        *self.x(2)
    }

    fn store(&mut self, ipa: u64, size: u8, value: u64) -> Next {
        *self.x(2) = value;
        self.handle(Exit::Mmio(access(ipa, size, true)))
    }

    fn store_ok(&mut self, ipa: u64, value: u64) {
        assert_eq!(self.store(ipa, 4, value), Next::Advance, "{ipa:#x}");
    }

    /// What Linux does: groups on, all interrupts of the first vCPU on and in group 1.
    fn enable_interrupts(&mut self) {
        self.store_ok(GICD_BASE, 3);
        for base in [GICD_BASE + 4, GICR_SGI, GICR_SGI + GICR_STRIDE] {
            self.store_ok(base + 0x80, 0xffff_ffff);
            self.store_ok(base + 0x100, 0xffff_ffff);
        }
        self.deliver();
    }

    /// What the core does before it enters the guest.
    fn deliver(&mut self) {
        if self.vm.vgic.needs_delivery(&self.vcpu.vgic) {
            let _ = self.vm.vgic.deliver(&mut self.vcpu.vgic, &mut self.lrs);
        }
    }
}

fn access(ipa: u64, size: u8, write: bool) -> MmioAccess {
    MmioAccess::new(syndrome(ipa, size, write, 2, 0))
}

/// Of a load or store by register `rt`.
fn syndrome(ipa: u64, size: u8, write: bool, rt: u64, more: u64) -> Syndrome {
    let size = u64::from(size.trailing_zeros()) << iss::SAS_SHIFT;
    let write = if write { iss::WNR } else { 0 };
    let esr = iss::ISV | size | rt << iss::SRT_SHIFT | write | more;
    Syndrome { esr, far: ipa | 0xffff_0000_0000_0000, hpfar: ipa >> 8 & !0xf }
}

#[test]
fn a_call_by_hvc_goes_on_behind_itself_and_one_by_smc_must_be_stepped_over() {
    let mut guest = exits();
    for id in [function::VERSION, smccc::VERSION] {
        assert_eq!(guest.hvc(&[id.into()]), Next::Resume);
        assert_eq!(*guest.x(0), 0x1_0001);
        assert_eq!(guest.smc(&[id.into()]), Next::Advance);
        assert_eq!(*guest.x(0), 0x1_0001);
    }
}

#[test]
fn a_call_that_is_none_is_not_supported_and_changes_only_x0() {
    let mut guest = exits();
    for id in [0, 0x8400_00ff, 0x8600_0000, u64::MAX] {
        assert_eq!(guest.hvc(&[id, 1, 2, 3]), Next::Resume);
        assert_eq!(guest.vcpu.registers.x[..5], [u64::MAX, 1, 2, 3, 0]);
    }
    // HVC #1 is no call of the convention.
    guest.vcpu.registers.x[0] = function::VERSION.into();
    assert_eq!(guest.take(ec::HVC64 << 26 | iss::IL | 1, 0, 0), Next::Resume);
    assert_eq!(*guest.x(0), u64::MAX);
}

#[test]
fn switching_a_vcpu_on_kicks_its_core() {
    let mut guest = exits();
    let on = u64::from(function::CPU_ON | 1 << 30);
    assert_eq!(guest.smc(&[on, 1, RAM_BASE + 0x1000, 42]), Next::Advance);
    assert_eq!(*guest.x(0), 0);
    assert_eq!(guest.hw.events(), [Event::Kick(CORES[1])]);
    let power = &guest.vm.services.psci.power;
    let start = Start { entry: Ipa(RAM_BASE + 0x1000), context: 42 };
    assert_eq!(power.take_start(VcpuId(1)), Some(start));
    assert_eq!(power.state(VcpuId(1)), Some(Power::On));
    assert_eq!(guest.hvc(&[on, 1, RAM_BASE + 0x1000, 42]), Next::Resume);
    assert_eq!((*guest.x(0) as i64, guest.hw.events()), (-4, vec![]), "it is on already");
}

#[test]
fn calls_that_end_or_pause_a_vcpu_come_back_as_what_to_do() {
    let mut guest = exits();
    let call = |guest: &mut Exits<_>, id: u32| guest.hvc(&[id.into(), 0, 0, 0]);
    assert_eq!(call(&mut guest, function::CPU_OFF), Next::Off);
    assert_eq!(call(&mut guest, function::SYSTEM_OFF), Next::Stop(StopReason::Off));
    assert_eq!(call(&mut guest, function::SYSTEM_RESET), Next::Stop(StopReason::Reset));
    assert_eq!(call(&mut guest, function::SYSTEM_RESET2), Next::Stop(StopReason::WarmReset));
    let standby = Next::Suspend { advance: false, resume: None };
    assert_eq!(call(&mut guest, function::CPU_SUSPEND), standby);

    let suspend = u64::from(function::CPU_SUSPEND | 1 << 30);
    let start = Start { entry: Ipa(RAM_BASE + 4), context: 9 };
    let power_down = Next::Suspend { advance: true, resume: Some(start) };
    assert_eq!(guest.smc(&[suspend, 1 << 16, RAM_BASE + 4, 9]), power_down);
}

#[test]
fn a_workaround_that_the_firmware_has_is_called_for_the_guest() {
    let mut guest = exits();
    let id = smccc::WORKAROUND_1;
    assert_eq!(guest.smc(&[id.into(), 77]), Next::Advance);
    assert_eq!(guest.hw.events(), [Event::Firmware(id, 77)]);
    assert_eq!(guest.smc(&[smccc::WORKAROUND_3.into(), 77]), Next::Advance);
    assert_eq!((*guest.x(0), guest.hw.events()), (u64::MAX, vec![]), "which it has not");
}

#[test]
fn random_numbers_come_from_the_guests_own_stream() {
    let mut guest = exits();
    let mut last = 0;
    for _ in 0..3 {
        assert_eq!(guest.hvc(&[u64::from(smccc::TRNG_RND | 1 << 30), 64]), Next::Resume);
        assert_eq!((*guest.x(0), *guest.x(1), *guest.x(2)), (0, 0, 0));
        assert_ne!(*guest.x(3), last);
        last = *guest.x(3);
    }
}

#[test]
fn exits_of_the_other_kinds_become_what_they_mean() {
    let mut guest = exits();
    let class = |ec: u64| ec << 26 | iss::IL;
    assert_eq!(guest.take(INTERRUPT, 0, 0), Next::Interrupt);
    assert_eq!(guest.take(class(ec::SERROR), 0, 0), Next::Stop(StopReason::SystemError));
    let unexpected = Next::Stop(StopReason::UnexpectedExit);
    assert_eq!(guest.take(class(0x3f), 0, 0), unexpected);
    let waits = Next::Suspend { advance: true, resume: None };
    assert_eq!(guest.take(class(ec::WFX), 0, 0), waits);
    assert_eq!(guest.take(class(ec::WFX) | 1, 0, 0), Next::Advance);
    let undefined = Next::Inject(Fault::Undefined);
    for ec in [ec::UNKNOWN, ec::SVE, ec::SME, ec::PAUTH, ec::FP_SIMD, ec::OTHER_TRAP, ec::CP15] {
        assert_eq!(guest.take(class(ec), 0, 0), undefined, "{ec:#x}");
    }
}

#[test]
fn id_registers_are_read_filtered_and_every_other_register_is_undefined() {
    let mut guest = exits();
    assert_eq!(guest.mrs(id_regs::reg::ID_AA64PFR0_EL1), Next::Advance);
    assert_eq!(*guest.x(2), 0x100_0011, "EL0, EL1 and GIC, neither SVE nor RAS");
    assert_eq!(guest.msr(id_regs::reg::ID_AA64PFR0_EL1, 0), Next::Inject(Fault::Undefined));
    // ZCR_EL1, HCR_EL2, ERRSELR_EL1, and CNTPCT_EL0 written.
    for reg in [SysReg::new(3, 0, 1, 2, 0), SysReg::new(3, 4, 1, 1, 0), SysReg::new(3, 0, 5, 3, 1)]
    {
        assert_eq!(guest.mrs(reg), Next::Inject(Fault::Undefined), "{reg:?}");
    }
    assert_eq!(guest.msr(SysReg::new(3, 3, 14, 0, 1), 0), Next::Inject(Fault::Undefined));
}

#[test]
fn a_register_that_is_read_into_xzr_is_lost_and_x31_is_written_as_zero() {
    let mut guest = exits();
    let xzr = |reg, write| Exit::SysReg(SysRegAccess::new(reg, 31, write));
    guest.vcpu.registers.x = [9; 31];
    assert_eq!(guest.handle(xzr(id_regs::reg::ID_AA64PFR0_EL1, false)), Next::Advance);
    assert_eq!(guest.vcpu.registers.x, [9; 31]);
    let store = MmioAccess::new(syndrome(UART_IMSC, 4, true, 31, 0));
    guest.store_ok(UART_IMSC, 0x7ff);
    assert_eq!(guest.handle(Exit::Mmio(store)), Next::Advance);
    assert_eq!(guest.load(UART_IMSC, 4), 0);
}

/// ICC_SGI1R_EL1.
const SGI1R: SysReg = SysReg::new(3, 0, 12, 11, 5);

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

#[test]
fn the_guests_counter_is_the_boards_less_what_passed_before_it_started() {
    let mut guest = exits();
    guest.vcpu.clock = Clock::starting(1000);
    guest.hw.clock.set(1234);
    assert_eq!(guest.mrs(SysReg::new(3, 3, 14, 0, 1)), Next::Advance);
    assert_eq!(*guest.x(2), 234);
}

#[test]
fn the_physical_timer_sets_the_cores_deadline_and_raises_its_interrupt_when_that_has_come() {
    const CTL: SysReg = SysReg::new(3, 3, 14, 2, 1);
    const CVAL: SysReg = SysReg::new(3, 3, 14, 2, 2);
    let mut guest = exits();
    guest.enable_interrupts();
    guest.vcpu.clock = Clock::starting(1000);
    guest.hw.clock.set(2000);
    assert_eq!(guest.msr(CVAL, 1500), Next::Advance);
    assert_eq!(guest.hw.deadline.get(), None, "it is off");
    assert_eq!(guest.msr(CTL, 1), Next::Advance);
    assert_eq!(guest.hw.deadline.get(), Some(2500));
    guest.deliver();
    assert_eq!(guest.lrs.pending(), []);

    guest.hw.clock.set(2500);
    update_timer(&guest.vm, &mut guest.vcpu, &guest.hw);
    guest.deliver();
    assert_eq!(guest.lrs.pending(), [PTIMER_INTID]);
    assert_eq!(guest.hw.deadline.get(), None, "the line is up already");
    assert_eq!(guest.mrs(CTL), Next::Advance);
    assert_eq!(*guest.x(2), 5, "enabled, and its condition met");

    // Masked, the line falls and the interrupt with it.
    assert_eq!(guest.msr(CTL, 3), Next::Advance);
    guest.deliver();
    assert_eq!((guest.lrs.pending(), guest.hw.deadline.get()), (vec![], None));
}

#[test]
fn where_nothing_is_an_access_ends_in_an_external_abort_that_names_it() {
    let mut guest = exits();
    let nowhere = [
        0,
        GICD_BASE - 4,
        GICD_BASE + GICD_SIZE,
        GICR_BASE + 2 * GICR_STRIDE,
        UART_BASE + UART_SIZE,
        VIRTIO_BASE + VIRTIO_STRIDE,
        VIRTIO_BASE + VIRTIO_SLOTS * VIRTIO_STRIDE,
        RAM_BASE - 4,
        RAM_BASE + RAM_BYTES,
        0xf_ffff_ffff_fffc,
    ];
    for ipa in nowhere {
        for write in [false, true] {
            let access = access(ipa, 4, write);
            let fault = Access { va: access.va(), write, ..Access::default() };
            assert_eq!(guest.handle(Exit::Mmio(access)), Next::Inject(Fault::External(fault)));
        }
    }
    let state = crate::inject::El1State { pstate: 5, ..Default::default() };
    let fault = Access { va: 0xabc, write: true, ..Access::default() };
    let entry = inject(&state, Fault::External(fault));
    assert_eq!(
        (entry.esr_el1, entry.far_el1),
        (0x25 << 26 | iss::IL | iss::WNR | 0x10, Some(0xabc))
    );
}

#[test]
fn an_abort_that_is_no_plain_access_is_refused_as_it_came() {
    let mut guest = exits();
    // A fetch from 0x9000000; a store pair (no valid syndrome) to the same place.
    let fetch = guest.take(0x20 << 26 | iss::IL | 0x06, 0x900_0000, 0x9_0000);
    let Next::Refuse(abort) = fetch else { panic!("{fetch:?}") };
    assert!(abort.fetch && abort.ipa == Ipa(0x900_0000));
    let pair = guest.take(0x24 << 26 | iss::IL | iss::WNR | 0x06, 0x900_0008, 0x9_0000);
    let Next::Refuse(abort) = pair else { panic!("{pair:?}") };
    let fault = refused(&guest.vm, &abort, &Stage1::default(), &guest.hw);
    let want = Access { va: 0x900_0008, write: true, ..Access::default() };
    assert_eq!(fault, Fault::External(want));
}

#[test]
fn an_access_of_a_size_that_a_register_does_not_have_is_refused() {
    let mut guest = exits();
    for (ipa, size) in [(GICD_BASE, 1), (GICD_BASE + 2, 4), (GICR_BASE, 8), (GICD_BASE + 0x100, 2)]
    {
        for write in [false, true] {
            let next = guest.handle(Exit::Mmio(access(ipa, size, write)));
            assert!(matches!(next, Next::Inject(Fault::External(_))), "{ipa:#x} {size} {next:?}");
        }
    }
    assert_eq!(guest.load(GICR_BASE + 8, 8), 0);
    assert_eq!(guest.load(GICR_BASE + GICR_STRIDE + 8, 8), 1 << 32 | 1 << 8 | 1 << 4);
    assert_eq!(guest.store(GICD_BASE + 0x420, 1, 0xf8), Next::Advance);
    assert_eq!(guest.load(GICD_BASE + 0x420, 4) & 0xff, 0xf8);
}

#[test]
fn a_store_writes_the_low_bytes_of_its_register_and_a_load_all_of_it() {
    let mut guest = exits();
    assert_eq!(guest.store(UART_IMSC, 4, 0xffff_ffff_0000_0010), Next::Advance);
    *guest.x(2) = u64::MAX;
    assert_eq!(guest.load(UART_IMSC, 4), 0x10);
    assert_eq!(guest.store(GICD_BASE + 0x424, 1, 0xffff_ff08), Next::Advance);
    assert_eq!(guest.load(GICD_BASE + 0x424, 4), 8);
    assert_eq!(guest.store(GICD_BASE + 0x6100, 8, 0xff_00ff_ffff), Next::Advance);
    assert_eq!(guest.load(GICD_BASE + 0x6100, 8), 0xff_00ff_ffff);
}

#[test]
fn a_load_extends_the_sign_to_the_width_of_its_register() {
    let mut guest = exits();
    guest.store_ok(GICD_BASE + 0x420, 0x8088_8088);
    for (size, sixty_four, want) in [
        (1, true, 0xffff_ffff_ffff_ff88),
        (1, false, 0xffff_ff88),
        (4, true, 0xffff_ffff_8088_8088),
        (4, false, 0x8088_8088),
    ] {
        let more = iss::SSE | if sixty_four { iss::SF } else { 0 };
        let access = MmioAccess::new(syndrome(GICD_BASE + 0x420, size, false, 2, more));
        assert_eq!(guest.handle(Exit::Mmio(access)), Next::Advance);
        assert_eq!(*guest.x(2), want, "{size} {sixty_four}");
    }
}

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

const BUTTON: u64 = VIRTIO_BASE + POWER_BUTTON_SLOT * VIRTIO_STRIDE;

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
fn a_guest_without_a_watchdog_or_a_control_port_has_nothing_at_its_place() {
    let mut guest = exits();
    guest.vm.watchdog = None;
    guest.vm.control = None;
    let control = VIRTIO_BASE + CONTROL_SLOT * VIRTIO_STRIDE;
    for ipa in [WATCHDOG_BASE, WATCHDOG_BASE + WATCHDOG_FRAME_SIZE, control] {
        let next = guest.handle(Exit::Mmio(access(ipa, 4, true)));
        assert!(matches!(next, Next::Inject(Fault::External(_))), "{next:?}");
    }
    assert_eq!((guest.vm.look_at_watchdog(&guest.hw), guest.vm.watchdog_deadline()), (None, None));
}

/// The fake machine with the disk of a model board behind it.
struct BoardHw {
    hw: &'static FakeHw,
    board: RefCell<Board<'static>>,
}

impl BoardHw {
    /// What a core does at the disk's interrupt.
    fn irq(&self, vm: &Vm) {
        self.board.borrow_mut().disk.acknowledge();
        loop {
            let done = self.board.borrow_mut().disk.complete(self.hw);
            let Some((who, request, result)) = done else { return };
            vm.disk_event(self, who.device, Some((request, result)));
        }
    }
}

impl Hw for BoardHw {
    fn disk_submit(&self, request: &DiskRequest) -> Result<Accepted, SubmitError> {
        self.board.borrow_mut().disk.submit(self.hw, request)
    }
    fn now(&self) -> u64 {
        self.hw.now()
    }
    fn counter_hz(&self) -> u64 {
        self.hw.counter_hz()
    }
    fn read(&self, at: Pa, into: &mut [u8]) {
        self.hw.read(at, into);
    }
    fn write(&self, at: Pa, from: &[u8]) {
        self.hw.write(at, from);
    }
    fn load_u16_acquire(&self, at: Pa) -> u16 {
        self.hw.load_u16_acquire(at)
    }
    fn store_u16_release(&self, at: Pa, value: u16) {
        self.hw.store_u16_release(at, value);
    }
    fn fence(&self) {}
    fn load_descriptor(&self, at: Pa) -> u64 {
        self.hw.load_descriptor(at)
    }
    fn store_descriptor(&self, at: Pa, value: u64) {
        self.hw.store_descriptor(at, value);
    }
    fn dma_sync(&self, at: Pa, len: u64) {
        self.hw.dma_sync(at, len);
    }
    fn take_frames(&self, order: u8) -> Option<Pa> {
        self.hw.take_frames(order)
    }
    fn give_frames(&self, at: Pa, order: u8) {
        self.hw.give_frames(at, order);
    }
    fn tlb_invalidate_ipa(&self, vm: VmId, ipa: Ipa) {
        self.hw.tlb_invalidate_ipa(vm, ipa);
    }
    fn tlb_invalidate_vm(&self, vm: VmId) {
        self.hw.tlb_invalidate_vm(vm);
    }
    fn tlb_invalidate_el2(&self) {
        self.hw.tlb_invalidate_el2();
    }
    fn set_deadline(&self, slot: Slot, at: Option<u64>) {
        self.hw.set_deadline(slot, at);
    }
    fn console_output(&self, vm: VmId, byte: u8) {
        self.hw.console_output(vm, byte);
    }
    fn console_input(&self, vm: VmId) -> Option<u8> {
        self.hw.console_input(vm)
    }
    fn serve_control(&self, vm: &Vm) -> bool {
        self.hw.serve_control(vm)
    }
    fn firmware_call(&self, id: u32, x1: u64) {
        self.hw.firmware_call(id, x1);
    }
    fn this_cpu(&self) -> CpuId {
        self.hw.this_cpu()
    }
    fn kick(&self, cpu: CpuId) {
        self.hw.kick(cpu);
    }
}

/// A guest with the disk of a model board, and its driver's memory as [`Board`] keeps it.
fn exits_with_disk() -> Exits<BoardHw> {
    let window = Window { first: 100, sectors: 1000, read_only: false };
    let board = Board::new(MODERN, 2000, &[window]);
    let ram = GuestRam::new(board.guests[0].ram.extents().to_vec()).unwrap();
    let vm = guest(board.hw, ram, VirtioBlk::new(0, window, *b"tessera-test-disk\0\0\0"));
    let hw = BoardHw { hw: board.hw, board: RefCell::new(board) };
    let mut exits = Exits::new(hw, vm);
    exits.enable_interrupts();
    exits
}

impl Exits<BoardHw> {
    /// What a driver stores, from reset to DRIVER_OK.
    fn bring_up(&mut self) {
        let Guest { features, size, .. } = self.hw.board.borrow().guests[0];
        for (offset, value) in [
            (reg::STATUS, 0),
            (reg::STATUS, 1),
            (reg::STATUS, 3),
            (reg::DRIVER_FEATURES_SEL, 0),
            (reg::DRIVER_FEATURES, features),
            (reg::DRIVER_FEATURES_SEL, 1),
            (reg::DRIVER_FEATURES, features >> 32),
            (reg::STATUS, 11),
            (reg::QUEUE_SEL, 0),
            (reg::QUEUE_NUM, size.into()),
            (reg::QUEUE_DESC, DESC),
            (reg::QUEUE_DRIVER, AVAIL),
            (reg::QUEUE_DEVICE, USED),
            (reg::QUEUE_READY, 1),
            (reg::STATUS, 15),
        ] {
            self.store_ok(VIRTIO_BASE + offset, value);
        }
        let ok = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;
        assert_eq!(self.load(VIRTIO_BASE + reg::STATUS, 4), u64::from(ok));
    }
}

#[test]
fn a_disk_read_goes_from_the_guests_store_to_its_virtual_interrupt() {
    let mut guest = exits_with_disk();
    guest.bring_up();
    let model = {
        let mut board = guest.hw.board.borrow_mut();
        board.request(0, 5, kind::IN, 17, &[(DATA, 4096)]);
        board.model.state.borrow_mut().deferred = true;
        board.model
    };
    guest.store_ok(VIRTIO_BASE + reg::QUEUE_NOTIFY, 0);
    guest.deliver();
    assert_eq!(guest.lrs.pending(), [], "the guest runs on while the disk works");

    guest.hw.hw.events();
    model.run(1);
    guest.hw.irq(&guest.vm);
    assert_eq!(guest.hw.hw.events(), [Event::Kick(CORES[0])]);
    guest.deliver();
    assert_eq!(guest.lrs.pending(), [VIRTIO_INTID]);

    assert_eq!(guest.load(VIRTIO_BASE + reg::INTERRUPT_STATUS, 4), u64::from(interrupt::USED));
    guest.store_ok(VIRTIO_BASE + reg::INTERRUPT_ACK, interrupt::USED.into());
    assert_eq!(guest.load(VIRTIO_BASE + reg::INTERRUPT_STATUS, 4), 0);
    guest.lrs.end_all();
    let mut board = guest.hw.board.borrow_mut();
    assert_eq!((board.used(0), board.status(0, 5)), (vec![(5, 4097)], Status::Ok as u8));
    let want: Vec<u8> = (117..125).flat_map(|sector| model.sector(sector)).collect();
    assert_eq!(board.read(0, DATA, 4096), want);
    assert_eq!(model.state.borrow().log, [(kind::IN, 117, 8)]);
}

#[test]
fn a_reset_of_a_disk_that_still_works_is_executed_again_until_it_has_ended() {
    let mut guest = exits_with_disk();
    guest.bring_up();
    let model = {
        let mut board = guest.hw.board.borrow_mut();
        board.request(0, 0, kind::IN, 0, &[(DATA, 512)]);
        board.model.state.borrow_mut().deferred = true;
        board.model
    };
    guest.store_ok(VIRTIO_BASE + reg::QUEUE_NOTIFY, 0);
    for _ in 0..3 {
        assert_eq!(guest.store(VIRTIO_BASE + reg::STATUS, 4, 0), Next::Resume);
    }
    assert!(!guest.vm.reset_disks(), "nor does the guest's end come first");
    model.run(1);
    guest.hw.irq(&guest.vm);
    guest.store_ok(VIRTIO_BASE + reg::STATUS, 0);
    assert_eq!(guest.load(VIRTIO_BASE + reg::STATUS, 4), 0);
    assert!(guest.vm.reset_disks());
}

#[test]
fn no_sequence_of_exits_panics_or_touches_what_is_not_the_guests() {
    exit_at_random(exits());
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
        esr &= !0xffff; // the immediate that means something
    }
    match random.below(200) {
        0 => esr = ec::SERROR << 26,
        1 => esr = INTERRUPT,
        _ => {}
    }
    (esr, ipa | random.next() << 52, ipa >> 8 & !0xf)
}

#[test]
fn no_sequence_of_exits_of_a_guest_with_a_gicv2_does_either() {
    exit_at_random(exits_v2());
}

fn exit_at_random(mut guest: Exits<FakeHw>) {
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
            Next::Suspend { .. } => 4,
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
            Event::Kick(core) => CORES.contains(core),
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
    assert!(memory[..from].iter().chain(&memory[from + to..]).all(|&byte| byte == 0));
}

#[test]
fn each_exit_is_counted_once_under_the_cause_that_the_ring_tells() {
    let class = |class: u64| class << 26 | iss::IL;
    let sysreg = |reg: SysReg, read| class(ec::SYSREG) | u64::from(reg.0) | 2 << 5 | read;
    let access = |write| class(ec::DATA_ABORT_LOWER) | iss::ISV | 2 << 22 | 2 << 16 | 0x07 | write;
    let devices = [GICD_BASE, GICR_BASE, UART_IMSC, VIRTIO_BASE, GICC_DIR_BASE, 0x1000, RAM_BASE];
    let mut exits_made: Vec<(u64, u64)> = vec![
        (class(ec::HVC64), 0),
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
    guest.store_ok(GICR_SGI + 0x400, 0x1010_1010);
    guest.store_ok(GICR_SGI + 0x280, 1 << 3);
    guest.store_ok(GICR_SGI + 0x200, 1 << 3);
    guest.deliver();
    assert!(given(&guest) <= 2);
    guest.lrs.end_all();
    assert_eq!(guest.msr(SGI1R, 3 << 24 | 1), Next::Advance);
    let all = given(&guest);
    assert_eq!(guest.vm.vgic.take_injected(VcpuId(0)), all);
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
