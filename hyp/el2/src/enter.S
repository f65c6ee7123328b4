// The way into a guest, in the middle of run() (src/run.rs), and where the vectors (src/vectors.S) come back to.
//
// x0 = the vCPU's Registers, at which SP_EL2 points while the guest runs, so an exit stores the guest's registers without
// looking for a place. The host's SP, X29 and X19 wait in the frame; all other registers are the compiler's to save, and
// it has next to nothing in them.
// ELR_EL2 and SPSR_EL2 stay in the hardware: EL2 takes no exceptions of its own, so they keep the guest's PC and
// PSTATE until EL2 changes them on purpose.
    mov     x9, sp
    stp     x9, x29, [x0, #{host}]
    str     x19, [x0, #{x19}]
    mov     sp, x0
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldp     x28, x29, [sp, #224]
    ldr     x30, [sp, #240]
    ldp     x0, x1, [sp]
    eret
    // No speculation past the return (straight-line speculation, CVE-2020-13844).
    dsb     nsh
    isb
