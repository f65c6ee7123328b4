//! How much a guest can make Tessera say.
//!
//! Problem: a guest that starts anew again and again has Tessera tell so each time, and what matters to a reader scrolls away
//! or is dropped from the back-log. Idea: what is said because of a guest is paid for from a bucket of that guest: a burst
//! passes, then a line every few seconds. The line that empties the bucket tells that more is left out, the next one that
//! passes tells how many were. What Tessera says of itself is not limited: no guest causes it.

use core::fmt;

use super::Console;
use crate::addr::VmId;
use crate::bucket::{Bucket, Rate};

/// Lines that pass.
const LINES: Rate = Rate { burst: 8, seconds: 4 };

/// What a guest may still have said.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Quota {
    bucket: Bucket,
    /// Lines left out since one passed.
    left_out: u32,
}

impl Console {
    /// Tessera prints `text` because of what guest `vm`, called `name`, did: as long as it does not do so too often. `now` is
    /// the counter, of `hz`.
    pub fn log_about(
        &mut self,
        (vm, name): (VmId, &str),
        now: u64,
        hz: u64,
        text: fmt::Arguments<'_>,
    ) {
        let Some(quota) = self.quotas.get_mut(usize::from(vm.0)) else { return self.log(text) };
        let Ok(last) = quota.bucket.take(now, hz, LINES) else {
            quota.left_out = quota.left_out.saturating_add(1);
            return;
        };
        let left_out = core::mem::take(&mut quota.left_out);
        if left_out > 0 {
            self.log(format_args!("{left_out} lines about {name} were left out"));
        }
        self.log(text);
        if last {
            self.log(format_args!("more about {name} is left out while it comes this fast"));
        }
    }
}
