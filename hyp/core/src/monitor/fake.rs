//! A board for those who try the monitor.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use super::{Command, DiskFacts, Event, Events, LineFacts, Memory, World};
use crate::addr::{CpuId, IntId, Ipa, Pa, VcpuId, VmId};
use crate::config::{ConsoleKind, DiskConfig, Lifecycle, VmConfig};
use crate::disk::Window;
use crate::disk::partitions::{PartUuid, Partition};
use crate::group::{Group, Member, Share};
use crate::guest::{DiskSeat, Guest};
use crate::guest_mem::{Extent, GuestRam};
use crate::hw::fake::FakeHw;
use crate::snapshot::{Registers, Snapshot};
use crate::stage2::Access;

/// A board with two guests, which are the first and the third member of a group, and which notes what it was asked to do.
pub(crate) struct Fake {
    pub(crate) guests: Vec<Guest>,
    pub(crate) clock: Cell<u64>,
    pub(crate) done: RefCell<Vec<Command>>,
    pub(crate) events: RefCell<Events>,
    /// Its log, line by line.
    pub(crate) log: Vec<String>,
    pub(crate) partitions: Vec<Partition>,
}

const HZ: u64 = 1000;

fn guest(id: u8, name: &str, cpus: &[u8]) -> Guest {
    let disk = DiskConfig { name: "disk".into(), partition: name.into(), read_only: false };
    let cpus: Vec<CpuId> = cpus.iter().map(|&core| CpuId(core)).collect();
    let config = VmConfig {
        name: name.into(),
        vcpus: cpus.len(),
        homes: cpus.clone(),
        cpus,
        sharing: None,
        memory: 256 << 20,
        kernel: "vmlinuz".into(),
        ramdisk: None,
        bootargs: "console=ttyAMA0 \x1b[2J\"quoted\"".into(),
        disks: Vec::from([disk]),
        console: ConsoleKind::Pl011,
        watchdog: None,
        control: false,
        life: Lifecycle::default(),
    };
    let window = Window { first: 100 * u64::from(id), sectors: 100, read_only: false };
    let seat = DiskSeat { owner: id, window, serial: [0; 20] };
    Guest::new(VmId(id), config, &[], &[], Vec::from([seat]), Vec::new(), None)
}

/// A group of three.
fn group() -> Arc<Group> {
    let hw = FakeHw::new(Pa(0), 1 << 13);
    let region = Vec::from([Extent { ipa: Ipa(0x40_0000_0000), pa: Pa(1 << 28), len: 4 << 20 }]);
    let access = [Access::ReadWrite, Access::ReadWrite, Access::ReadOnly];
    let members = access.map(|access| Member::new(0, access, Arc::default()));
    Arc::new(Group::new(&hw, "ring".into(), region, Pa(0), Vec::from(members)))
}

impl Default for Fake {
    fn default() -> Self {
        let partition = |number: u32| Partition {
            number,
            label: "é\x07".into(),
            partuuid: PartUuid::Mbr(0xeabc_21f0, number as u8),
            first: 100 * u64::from(number),
            sectors: 100,
        };
        let mut guests = [guest(0, "web", &[0, 1]), guest(1, "db", &[2])];
        let group = group();
        for (guest, index) in guests.iter_mut().zip([0, 2]) {
            guest.groups.push(Share { group: group.clone(), index });
        }
        Self {
            guests: Vec::from(guests),
            clock: Cell::new(5 * HZ),
            done: RefCell::default(),
            events: RefCell::default(),
            log: (1..=40).map(|n| format!("line \"{n}\"")).collect(),
            partitions: Vec::from([partition(1), partition(2)]),
        }
    }
}

impl World for Fake {
    fn now(&self) -> u64 {
        self.clock.get()
    }

    fn counter_hz(&self) -> u64 {
        HZ
    }

    fn guests(&self) -> &[Guest] {
        &self.guests
    }

    fn act(&self, command: Command) -> Result<(), String> {
        let guest = &self.guests[usize::from(command.guest.0)];
        if let Some(request) = command.request() {
            let asked = guest.life.ask(request, self.now(), HZ);
            let _ = asked.map_err(|refusal| refusal.to_string())?;
        }
        self.done.borrow_mut().push(command);
        Ok(())
    }

    fn sample(&self, ticks: u64) {
        for vcpu in self.guests.iter().flat_map(|guest| &guest.counters.vcpus) {
            vcpu.usage.sampled(Some(self.now()));
        }
        assert!(ticks >= HZ);
    }

    fn look(&self, guest: &Guest) {
        let hw = FakeHw::new(Pa(0), 1 << 20);
        let ram = GuestRam::new(Vec::new()).unwrap();
        let registers = Registers { pc: 0xffff_8000_1234_5678, ..Registers::default() };
        guest.keep_snapshot(VcpuId(0), Snapshot::take(&hw, &ram, registers));
    }

    fn log_line(&self, at: &mut u64) -> Option<String> {
        let line = self.log.get(*at as usize)?;
        *at += 1;
        Some(line.clone())
    }

    fn event(&self, from: u64) -> Option<(u64, Event)> {
        self.events.borrow().get(from)
    }

    fn next_event(&self) -> u64 {
        self.events.borrow().next()
    }

    fn memory(&self) -> Memory {
        Memory { total: 1 << 30, image: 300 << 10, free: 1 << 29, ..Memory::default() }
    }

    fn disk(&self) -> Option<DiskFacts> {
        Some(DiskFacts { driver: "virtio-blk", lost: false, read_only: false, size: 1 << 30 })
    }

    fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    fn line(&self, n: usize) -> Option<LineFacts> {
        let device = *["disk", "UART"].get(n)?;
        Some(LineFacts {
            intid: IntId(33 + n as u32),
            device,
            count: 7,
            for_nothing: 2,
            off: false,
        })
    }
}
