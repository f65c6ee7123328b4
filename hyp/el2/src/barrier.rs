//! Barriers and sleeping (DDI 0487 B2.3.12, C6.2).

macro_rules! barrier {
    ($(#[$doc:meta])* $name:ident, $instruction:literal) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name() {
            // SAFETY: a barrier or hint changes no register and no memory. No `nomem`: the compiler must not move
            // accesses across it.
            unsafe { core::arch::asm!($instruction, options(nostack, preserves_flags)) };
        }
    };
}

barrier!(
    /// Context synchronisation: later instructions see earlier register writes.
    isb,
    "isb"
);
barrier!(
    /// Completes all earlier accesses and maintenance, for all cores.
    dsb_ish,
    "dsb ish"
);
barrier!(
    /// Completes all earlier accesses and maintenance, for this core.
    dsb_nsh,
    "dsb nsh"
);
barrier!(
    /// Completes earlier stores, for all cores.
    dsb_ishst,
    "dsb ishst"
);
barrier!(
    /// Completes all earlier accesses, for everything on the board.
    dsb_sy,
    "dsb sy"
);
barrier!(
    /// Orders earlier accesses before later ones, for all cores.
    dmb_ish,
    "dmb ish"
);
barrier!(
    /// Sleeps until an interrupt is pending, masked or not.
    wfi,
    "wfi"
);
barrier!(
    /// Wakes the cores that wait for an event, after all earlier stores.
    sev,
    "dsb sy\n\tsev"
);
