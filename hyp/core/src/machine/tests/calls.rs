//! Calls by HVC and SMC.

use super::*;
use crate::psci::Power;

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
fn each_vcpu_is_told_where_its_own_record_of_stolen_time_is() {
    let mut guest = exits();
    let ask = u64::from(smccc::PV_TIME_ST);
    assert_eq!(guest.hvc(&[ask]), Next::Resume);
    assert_eq!(*guest.x(0), u64::MAX, "nothing is stolen from who owns its cores");
    guest.vm.services.steal = true;
    for id in 0..2 {
        guest.vcpu = vcpu(id);
        assert_eq!(guest.smc(&[ask]), Next::Advance);
        assert_eq!(*guest.x(0), STEAL_TIME_BASE + 64 * u64::from(id));
    }
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
