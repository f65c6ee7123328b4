//! What an onlooker is told of a guest's interrupts.

use core::sync::atomic::Ordering::Relaxed;

use super::Vgic;
use super::bank::Field;
use crate::addr::VcpuId;

/// States of 32 interrupts, a bit each. What is in a list register is as of its vCPU's last look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct States {
    /// The guest has them enabled.
    pub enabled: u32,
    /// They wait to be taken.
    pub pending: u32,
    /// They were taken and not ended yet.
    pub active: u32,
}

impl Vgic {
    /// The states of a vCPU's SGIs and PPIs, or of the SPIs.
    pub fn states(&self, vcpu: Option<VcpuId>) -> States {
        let (bank, listed, rung) = match vcpu {
            Some(vcpu) => {
                let cpu = self.shared(vcpu);
                (&cpu.bank, cpu.pending.load(Relaxed) as u32, 0)
            }
            None => {
                let listed = self.cpus.iter().map(|cpu| cpu.pending.load(Relaxed));
                (&self.spis, listed.fold(0, |all, one| all | (one >> 32) as u32), self.rung())
            }
        };
        let read = |field| bank.read(field, listed);
        States {
            enabled: read(Field::SetEnable),
            pending: read(Field::SetPending) | rung,
            active: read(Field::SetActive),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::IntId;
    use crate::vgic::Model;

    #[test]
    fn an_onlooker_sees_what_waits_for_a_guest() {
        let vgic = Vgic::new(2, Model::V3);
        let _ = vgic.set_spi_level(IntId(33), true);
        let _ = vgic.set_ppi_level(VcpuId(1), IntId(30), true);
        assert_eq!(vgic.states(None), States { enabled: 0, pending: 1 << 1, active: 0 });
        assert_eq!(vgic.states(Some(VcpuId(0))).pending, 0);
        assert_eq!(vgic.states(Some(VcpuId(1))).pending, 1 << 30);
    }
}
