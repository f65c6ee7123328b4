//! Stolen time: how long a vCPU was ready and others had its core, told to the guest (Arm DEN 0057A, Paravirtualized Time).
//!
//! A guest that shares cores sees its clock go on while it does not run, and takes that for work of whoever it interrupted.
//! Linux asks for this record and then knows better: `top` has it as `st`. The records lie in a page of their own that the
//! guest may read; each is written before its vCPU runs on, by one store, so it needs no lock and is never read torn.
//! A guest that owns its cores has none: nothing is stolen from it.

use tessera_abi::layout::{MAX_VCPUS, STEAL_TIME_BASE};

use crate::addr::{Ipa, Pa, VcpuId};
use crate::counters::GuestCounters;
use crate::hw::Hw;

/// Bytes of a record: revision and attributes, both 0, and the time; aligned to as many (DEN 0057A 3.3).
const RECORD: u64 = 64;
/// Where in a record the nanoseconds are.
const TIME: u64 = 8;
/// Binary digits behind the point of [`StealTime::nanoseconds`].
const FRACTION: u32 = 32;
const NANOSECONDS_A_SECOND: u64 = 1_000_000_000;

const _: () = assert!(MAX_VCPUS as u64 * RECORD <= crate::addr::PAGE_SIZE);

/// The records of one life of a guest.
#[derive(Debug)]
pub struct StealTime {
    page: Pa,
    /// Nanoseconds a tick of the board's counter, times 2^32.
    nanoseconds: u64,
    /// Ticks that each vCPU had waited in earlier lives.
    before: [u64; MAX_VCPUS],
}

impl StealTime {
    /// Records in `page`, a zeroed frame, of the guest that `counters` are of, on a board with `hz` ticks a second.
    pub fn new(page: Pa, hz: u64, counters: &GuestCounters) -> Self {
        let mut before = [0; MAX_VCPUS];
        for (before, vcpu) in before.iter_mut().zip(&counters.vcpus) {
            *before = vcpu.usage.waited();
        }
        Self { page, nanoseconds: (NANOSECONDS_A_SECOND << FRACTION) / hz.max(1), before }
    }

    /// Where the guest finds the record of `vcpu`: what PV_TIME_ST answers.
    pub const fn address(vcpu: VcpuId) -> Ipa {
        Ipa(STEAL_TIME_BASE + vcpu.0 as u64 * RECORD)
    }

    /// The frame of the records.
    pub const fn page(&self) -> Pa {
        self.page
    }

    /// Tells the guest that `vcpu` has waited for `waited` ticks, over all its lives ([`crate::usage::Usage::waited`]).
    #[inline]
    pub fn publish(&self, hw: &impl Hw, vcpu: VcpuId, waited: u64) {
        let n = usize::from(vcpu.0) % MAX_VCPUS;
        let ticks = waited.wrapping_sub(self.before[n]);
        let time = (u128::from(ticks) * u128::from(self.nanoseconds)) >> FRACTION;
        hw.write(self.page.offset(n as u64 * RECORD + TIME), &(time as u64).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{PAGE_SIZE, VmId};
    use crate::counters::Cause;
    use crate::hw::fake::FakeHw;
    use crate::machine::device_at;
    use crate::stage2::{Access, Stage2};

    fn read(hw: &FakeHw, at: Pa) -> [u64; 2] {
        let mut bytes = [0; 16];
        hw.read(at, &mut bytes);
        let both = u128::from_le_bytes(bytes);
        [both as u64, (both >> 64) as u64]
    }

    #[test]
    fn a_record_has_the_nanoseconds_that_its_vcpu_waited_in_this_life() {
        let hw = FakeHw::new(Pa(0), 1 << 20);
        let counters = GuestCounters::new(2);
        // An earlier life waited for 100 ticks.
        counters.vcpus[1].usage.begin_shared(1000);
        counters.vcpus[1].usage.runs(1100);
        counters.vcpus[1].usage.end_shared(1200);
        let page = hw.take_frames(0).unwrap();
        let steal = StealTime::new(page, hw.counter_hz(), &counters);
        counters.vcpus[1].usage.begin_shared(2000);
        // A second, at 62.5 MHz.
        let waited = counters.vcpus[1].usage.runs(2000 + 62_500_000);
        steal.publish(&hw, VcpuId(1), waited);
        assert_eq!(read(&hw, page.offset(64)), [0, 1_000_000_000]);
        steal.publish(&hw, VcpuId(1), waited + 1);
        assert_eq!(read(&hw, page.offset(64)), [0, 1_000_000_016]);
        assert_eq!(read(&hw, page), [0, 0], "the other waited for nothing");
    }

    #[test]
    fn a_year_of_waiting_is_told_to_ten_milliseconds_at_any_frequency() {
        let hw = FakeHw::new(Pa(0), 1 << 20);
        let seconds = 365 * 86_400;
        for hz in [1_000_000, 19_200_000, 54_000_000, 62_500_000, 1_000_000_000] {
            let page = hw.take_frames(0).unwrap();
            let steal = StealTime::new(page, hz, &GuestCounters::new(1));
            steal.publish(&hw, VcpuId(0), seconds * hz);
            let [_, told] = read(&hw, page);
            let error = (seconds * NANOSECONDS_A_SECOND).abs_diff(told);
            assert!(error < 1_000_000_000 / 100, "{hz}: {error} ns");
        }
    }

    #[test]
    fn the_page_is_where_nothing_else_of_a_guest_is_and_can_only_be_read() {
        for at in (0..PAGE_SIZE).step_by(4) {
            assert_eq!(device_at(Ipa(STEAL_TIME_BASE + at)), Cause::NoDevice);
        }
        let hw = FakeHw::new(Pa(0), 1 << 20);
        let mut stage2 = Stage2::new(&hw, VmId(0), 4, [].into()).unwrap();
        let page = hw.take_frames(0).unwrap();
        let last = StealTime::address(VcpuId(MAX_VCPUS as u8 - 1));
        stage2.map_data_page(&hw, Ipa(STEAL_TIME_BASE), page).unwrap();
        let found = stage2.translate(&hw, last).unwrap();
        assert_eq!((found.pa, found.access), (page.offset(7 * 64), Access::ReadOnly));
        assert_eq!(stage2.translate(&hw, Ipa(STEAL_TIME_BASE + PAGE_SIZE)), None);
        assert_eq!(stage2.translate(&hw, Ipa(STEAL_TIME_BASE - 1)), None);
    }
}
