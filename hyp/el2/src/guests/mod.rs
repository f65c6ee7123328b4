//! The guests of this board: built from the bundle, cleared and loaded by their own cores, looked up by number.

mod build;
mod disk;
mod files;
mod load;

use alloc::sync::Arc;
use alloc::vec::Vec;

use spin::Once;
use tessera_core::addr::{CpuId, VcpuId, VmId};
use tessera_core::board::Board;
use tessera_core::config::VmConfig;
use tessera_core::counters::Observed;
use tessera_core::guest_dt::Pmu;
use tessera_core::stage2::Stage2;
use tessera_core::vm::Vm;

pub use disk::{check as check_disk, interrupt as disk_interrupt, submit as disk_submit};
pub use files::help as help_hashing;
pub use load::{clear, load};

use crate::hw::El2;
use crate::{accounts, console};

/// A guest with what the board keeps for it.
pub struct Guest {
    /// What its vCPUs share.
    pub vm: Arc<Vm>,
    /// What the configuration says of it.
    config: VmConfig,
    /// Its kernel, as the bundle has it.
    kernel: &'static [u8],
    /// Its performance monitors.
    pmu: Pmu,
    /// Its ramdisk.
    ramdisk: &'static [u8],
    /// Its physical address space. Nothing changes it while the guest runs.
    stage2: Stage2,
}

impl Guest {
    /// What is written down about `vcpu`, one of its own.
    pub fn observed(&self, vcpu: VcpuId) -> &Observed {
        &self.vm.counters.vcpus[usize::from(vcpu.0)]
    }

    /// VTTBR_EL2.
    pub fn vttbr(&self) -> u64 {
        self.stage2.vttbr()
    }
}

static GUESTS: Once<Vec<Guest>> = Once::new();

/// All guests, or `None` before they are built.
pub fn all() -> Option<&'static [Guest]> {
    GUESTS.get().map(Vec::as_slice)
}

/// Guest `id`.
pub fn get(id: VmId) -> Option<&'static Guest> {
    all()?.get(usize::from(id.0))
}

/// The guest and the vCPU that core `cpu` runs, if it runs any.
pub fn seat(cpu: CpuId) -> Option<(&'static Guest, VcpuId)> {
    all()?.iter().find_map(|guest| {
        let place = guest.vm.cpus.iter().position(|&core| core == cpu)?;
        Some((guest, VcpuId(place as u8)))
    })
}

/// Builds the guests of the board's bundle. Their own cores clear, load and run them (`main_loop`).
pub fn start(board: &Board<'_>, began: u64) {
    accounts::begin(board.bootargs, began);
    let guests = build::build(board);
    let names: Vec<&str> = guests.iter().map(Guest::console_name).collect();
    console::add_guests(&names);
    for guest in &guests {
        let (vm, config) = (&guest.vm, &guest.config);
        log::info!(
            "{}: {} vCPUs on cores {:?}, {} MiB",
            vm.name,
            config.vcpus(),
            config.cpus.iter().map(|core| core.0).collect::<Vec<_>>(),
            config.memory >> 20
        );
    }
    if guests.is_empty() {
        crate::boot::stop(format_args!("no guest can be started; mend the configuration above"));
    }
    log::info!("keys: Ctrl-] switches between guests, Ctrl-] ? helps");
    GUESTS.call_once(|| guests);
    for guest in all().into_iter().flatten() {
        guest.vm.kick_all(&El2);
    }
}

impl Guest {
    fn console_name(&self) -> &str {
        // The console leaves out who has no name.
        if self.vm.uart.is_some() { &self.vm.name } else { "" }
    }
}
