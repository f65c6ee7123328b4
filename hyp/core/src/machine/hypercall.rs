//! Calls by HVC with an immediate of Tessera's (`tessera_abi::hypercall`).

use tessera_abi::hypercall::{DONE, NO_GROUP, RING, TAKE, TOO_SOON};

use crate::counters::Cause;
use crate::group::Rung;
use crate::hw::Hw;
use crate::vcpu::Vcpu;
use crate::vm::Vm;

/// Answers the call with this immediate, which is not 0. One that is not known is answered as the calling convention has it.
#[inline(never)]
pub fn answer(vm: &Vm, vcpu: &mut Vcpu, immediate: u16, hw: &impl Hw) {
    let [slot, whom, ..] = vcpu.registers.x;
    let share = vm.groups.get(slot as usize);
    match (immediate, share) {
        (RING, Some(share)) => {
            vcpu.observed.exits.count(Cause::Doorbell);
            vcpu.registers.x[0] = match share.ring(hw, whom as u32) {
                Rung::Done => DONE,
                Rung::Held => TOO_SOON,
            };
        }
        (TAKE, Some(share)) => {
            vcpu.observed.exits.count(Cause::Doorbell);
            let (rings, changed) = share.take_all();
            if share.is_line_to_fall() {
                vm.gpio_edge(hw, slot as u8, false);
            }
            vcpu.registers.x[0] = rings.into();
            vcpu.registers.x[1] = changed.into();
        }
        _ => {
            let known = matches!(immediate, RING | TAKE);
            vcpu.observed.exits.count(if known { Cause::Doorbell } else { Cause::Hvc });
            vcpu.registers.x[0] = NO_GROUP;
        }
    }
}
