//! Accesses of any kind to any place of the interrupt controller, whatever comes of them: nothing panics, and no list
//! register gets into a state that is unpredictable.

use crate::addr::{IntId, VcpuSet};
use crate::fuzz::Choices;
use crate::vgic::fake::{Guest, SGI};

/// A program of accesses; its first byte says of which controller. Returns how many were none that abort.
pub fn any_accesses(bytes: &[u8]) -> usize {
    let mut choices = Choices::new(bytes);
    let how = choices.byte();
    let (vcpus, count) = (1 + choices.below(8) as usize, 1 + choices.below(6) as usize);
    let v2 = how & 1 != 0;
    let new = if v2 { Guest::v2_after_reset } else { Guest::after_reset };
    let mut guest = new(vcpus, count);
    let mut good = 0;
    while !choices.is_over() {
        let by = choices.below(vcpus as u64) as usize;
        good += usize::from(access(&mut choices, &mut guest, by));
        if choices.byte() & 3 == 0 {
            guest.settle();
            let cpu = &mut guest.cpus[by].1;
            cpu.acknowledge();
            if choices.byte() & 1 == 0 {
                // An end of anything at all.
                cpu.end(choices.word() & 0x1c3f);
            }
        }
        guest.cpus[by].1.check();
    }
    guest.settle();
    good
}

fn access(choices: &mut Choices<'_>, guest: &mut Guest, by: usize) -> bool {
    let what = choices.byte();
    // Mostly where registers are, mostly aligned.
    let offset = match choices.below(8) {
        0 => choices.next(),
        1 => 0xf00 + choices.below(0x40),
        2 | 3 => SGI * choices.below(20) + choices.below(0x1000),
        4 => 0x6000 + choices.below(0x2000),
        _ => choices.below(0x1100),
    };
    let offset = if what >> 5 == 0 { offset } else { offset & !3 };
    let size = if what >> 5 == 1 { 1 << choices.below(5) } else { 4 };
    let value = if what & 8 == 0 { choices.next() } else { choices.byte().into() };
    let (me, lrs) = &mut guest.cpus[by];
    let vgic = &guest.vgic;
    let kick = match what & 7 {
        0 => vgic.gicd_read(me, lrs, offset, size).map(|(_, kick)| kick),
        1 => vgic.gicr_read(me, lrs, offset, size).map(|(_, kick)| kick),
        2 | 3 => vgic.gicd_write(me, lrs, offset, size, value),
        4 => vgic.gicr_write(offset, size, value),
        5 => vgic.gicc_write(me, lrs, offset & 0xc, size, value),
        6 => Ok(vgic.inject_hw_ppi(me, lrs, IntId(16 + value as u32 % 16))),
        _ => Ok(vgic.sgi1r(me, lrs, value)),
    };
    guest.kicked = guest.kicked.union(kick.unwrap_or(VcpuSet::EMPTY));
    kick.is_ok()
}
