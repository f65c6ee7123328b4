//! Exits as they come from the vector, through [`handle`], to what the guest, the devices and the machine see of them.

mod accesses;
mod calls;
mod counts;
mod devices;
mod disk;
mod groups;
mod interrupts;
mod random;
mod traps;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use tessera_abi::layout::*;

use super::*;
use crate::addr::{CpuId, Ipa, Pa, VcpuId, VmId};
use crate::attention::Attention;
use crate::control::Control;
use crate::counters::GuestCounters;
use crate::disk::Window;
use crate::exit::{MmioAccess, Syndrome, SysReg, ec, iss};
use crate::guest_mem::{Extent, GuestRam};
use crate::hw::fake::{Event, FakeHw};
use crate::id_regs::{self, IdRegs};
use crate::lock::Mutex;
use crate::pl061::Pl061;
use crate::psci::{PowerStates, Psci, function};
use crate::smccc::{Mitigation, Mitigations, function as smccc};
use crate::stage2::Stage2;
use crate::trng::Stream;
use crate::vgic::{Model, Vgic, hcr, vmcr};
use crate::virtio::blk::VirtioBlk;
use crate::virtio::input::PowerButton;
use crate::virtio::reg;
use crate::vtimer::Clock;
use crate::vuart::Vuart;
use crate::watchdog::Watchdog;

const GICR_SGI: u64 = GICR_BASE + 0x1_0000;
const BUTTON: u64 = VIRTIO_BASE + POWER_BUTTON_SLOT * VIRTIO_STRIDE;
const UART_IMSC: u64 = UART_BASE + 0x38;
/// ICC_SGI1R_EL1.
const SGI1R: SysReg = SysReg::new(3, 0, 12, 11, 5);
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
        steal: None,
        attention: Attention::default(),
        services: Services { psci, mitigations, random: true, steal: false },
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
        gpio: Some(Mutex::new(Pl061::new())),
        groups: Vec::new(),
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

/// A life of a guest, for tests of what is done with one.
pub(crate) fn vm() -> Vm {
    exits().vm
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
