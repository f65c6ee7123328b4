//! Loads and stores to devices, and to where nothing is.

use super::*;
use crate::inject::inject;

#[test]
fn where_nothing_is_an_access_ends_in_an_external_abort_that_names_it() {
    let mut guest = exits();
    let nowhere = [
        0,
        GICD_BASE - 4,
        GICD_BASE + GICD_SIZE,
        GICR_BASE + 2 * GICR_STRIDE,
        UART_BASE + UART_SIZE,
        VIRTIO_BASE + VIRTIO_STRIDE,
        VIRTIO_BASE + VIRTIO_SLOTS * VIRTIO_STRIDE,
        RAM_BASE - 4,
        RAM_BASE + RAM_BYTES,
        0xf_ffff_ffff_fffc,
    ];
    for ipa in nowhere {
        for write in [false, true] {
            let access = access(ipa, 4, write);
            let fault = Access { va: access.va(), write, ..Access::default() };
            assert_eq!(guest.handle(Exit::Mmio(access)), Next::Inject(Fault::External(fault)));
        }
    }
    let state = crate::inject::El1State { pstate: 5, ..Default::default() };
    let fault = Access { va: 0xabc, write: true, ..Access::default() };
    let entry = inject(&state, Fault::External(fault));
    assert_eq!(
        (entry.esr_el1, entry.far_el1),
        (0x25 << 26 | iss::IL | iss::WNR | 0x10, Some(0xabc))
    );
}

#[test]
fn an_abort_that_is_no_plain_access_is_refused_as_it_came() {
    let mut guest = exits();
    // A fetch from 0x9000000; a store pair (no valid syndrome) to the same place.
    let fetch = guest.take(0x20 << 26 | iss::IL | 0x06, 0x900_0000, 0x9_0000);
    let Next::Refuse(abort) = fetch else { panic!("{fetch:?}") };
    assert!(abort.fetch && abort.ipa == Ipa(0x900_0000));
    let pair = guest.take(0x24 << 26 | iss::IL | iss::WNR | 0x06, 0x900_0008, 0x9_0000);
    let Next::Refuse(abort) = pair else { panic!("{pair:?}") };
    let fault = refused(&guest.vm, &abort, &Stage1::default(), &guest.hw);
    let want = Access { va: 0x900_0008, write: true, ..Access::default() };
    assert_eq!(fault, Fault::External(want));
}

#[test]
fn a_store_to_a_page_that_can_only_be_read_is_answered_as_where_nothing_is() {
    let mut guest = exits();
    let s = syndrome(STEAL_TIME_BASE + 8, 8, true, 2, 0);
    // A permission fault at level 3.
    let next = guest.take(0x24 << 26 | iss::IL | s.esr | 0x0f, s.far, s.hpfar);
    let Next::Refuse(abort) = next else { panic!("{next:?}") };
    assert!(abort.permission && abort.write);
    let fault = refused(&guest.vm, &abort, &Stage1::default(), &guest.hw);
    let want = Access { va: s.far, write: true, ..Access::default() };
    assert_eq!(fault, Fault::External(want));
}

#[test]
fn an_access_of_a_size_that_a_register_does_not_have_is_refused() {
    let mut guest = exits();
    for (ipa, size) in [(GICD_BASE, 1), (GICD_BASE + 2, 4), (GICR_BASE, 8), (GICD_BASE + 0x100, 2)]
    {
        for write in [false, true] {
            let next = guest.handle(Exit::Mmio(access(ipa, size, write)));
            assert!(matches!(next, Next::Inject(Fault::External(_))), "{ipa:#x} {size} {next:?}");
        }
    }
    assert_eq!(guest.load(GICR_BASE + 8, 8), 0);
    assert_eq!(guest.load(GICR_BASE + GICR_STRIDE + 8, 8), 1 << 32 | 1 << 8 | 1 << 4);
    assert_eq!(guest.store(GICD_BASE + 0x420, 1, 0xf8), Next::Advance);
    assert_eq!(guest.load(GICD_BASE + 0x420, 4) & 0xff, 0xf8);
}

#[test]
fn a_store_writes_the_low_bytes_of_its_register_and_a_load_all_of_it() {
    let mut guest = exits();
    assert_eq!(guest.store(UART_IMSC, 4, 0xffff_ffff_0000_0010), Next::Advance);
    *guest.x(2) = u64::MAX;
    assert_eq!(guest.load(UART_IMSC, 4), 0x10);
    assert_eq!(guest.store(GICD_BASE + 0x424, 1, 0xffff_ff08), Next::Advance);
    assert_eq!(guest.load(GICD_BASE + 0x424, 4), 8);
    assert_eq!(guest.store(GICD_BASE + 0x6100, 8, 0xff_00ff_ffff), Next::Advance);
    assert_eq!(guest.load(GICD_BASE + 0x6100, 8), 0xff_00ff_ffff);
}

#[test]
fn a_load_extends_the_sign_to_the_width_of_its_register() {
    let mut guest = exits();
    guest.store_ok(GICD_BASE + 0x420, 0x8088_8088);
    for (size, sixty_four, want) in [
        (1, true, 0xffff_ffff_ffff_ff88),
        (1, false, 0xffff_ff88),
        (4, true, 0xffff_ffff_8088_8088),
        (4, false, 0x8088_8088),
    ] {
        let more = iss::SSE | if sixty_four { iss::SF } else { 0 };
        let access = MmioAccess::new(syndrome(GICD_BASE + 0x420, size, false, 2, more));
        assert_eq!(guest.handle(Exit::Mmio(access)), Next::Advance);
        assert_eq!(*guest.x(2), want, "{size} {sixty_four}");
    }
}
