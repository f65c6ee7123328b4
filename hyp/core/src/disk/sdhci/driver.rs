//! The card as a disk: requests in, completions out.

use super::{EVENTS, Sdhci};
use crate::disk::{
    Accepted, DiskDriver, DiskError, DiskOp, DiskRequest, Registers, SubmitError, Tag,
};
use crate::hw::Hw;

// Cold, so that the way to a virtio disk, which is short, is not spoilt where either can be meant.
impl<R: Registers> DiskDriver for Sdhci<R> {
    fn sectors(&self) -> u64 {
        self.card.sectors
    }

    fn read_only(&self) -> bool {
        self.card.read_only
    }

    #[cold]
    fn submit(&mut self, hw: &impl Hw, request: &DiskRequest) -> Result<Accepted, SubmitError> {
        self.check_patience(hw);
        if self.dead {
            return Err(SubmitError::Lost);
        }
        if matches!(request.op, DiskOp::Flush | DiskOp::Discard) || request.sectors == 0 {
            return Ok(Accepted::Done);
        }
        if self.active {
            return Err(SubmitError::Full);
        }
        if request.op.modifies() && self.card.read_only {
            return Err(SubmitError::Refused);
        }
        self.active = true;
        (self.retries, self.silences) = (0, 0);
        self.work.begin(request);
        self.start_part(hw);
        if self.dead {
            self.active = false;
            return Err(SubmitError::Lost);
        }
        Ok(Accepted::Queued)
    }

    #[cold]
    fn acknowledge(&mut self) {
        self.pending |= self.host.take_status();
    }

    #[cold]
    fn complete(&mut self, hw: &impl Hw) -> Option<(Tag, Result<(), DiskError>)> {
        let mut result = None;
        for _ in 0..EVENTS {
            if !self.active || self.dead || result.is_some() {
                break;
            }
            self.acknowledge();
            let now = core::mem::take(&mut self.pending);
            if now == 0 {
                self.check_patience(hw);
                break;
            }
            result = self.advance(hw, now);
        }
        if self.active && self.dead {
            result = Some(Err(DiskError::Lost));
        }
        let result = result?;
        self.active = false;
        Some((self.work.tag(), result))
    }

    #[cold]
    fn progress(&self) -> Option<u32> {
        self.active.then_some(self.events)
    }

    #[cold]
    fn stop(&mut self) {
        if !core::mem::replace(&mut self.dead, true) {
            self.host.stop();
        }
    }
}
