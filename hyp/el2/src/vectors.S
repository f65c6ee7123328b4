// The way into a guest and back: `enter_guest` is a function call, and the vectors are its return.
//
// While a guest runs, SP_EL2 points at its vCPU's Registers, so an exit stores the guest's registers without looking
// for a place. The host's stack pointer waits in the frame. Of the registers only X19 and X29 are kept, on the host's stack: all
// others are the caller's to save (src/run.rs), and it has next to nothing in them.
// ELR_EL2 and SPSR_EL2 stay in the hardware: EL2 takes no exceptions of its own, so they keep the guest's PC and
// PSTATE until EL2 changes them on purpose. Offsets in Registers are given by Rust (src/run.rs).

// x0 = frame; leaves which vector it was in x0 and ESR_EL2 in x1. Changes all registers but x19 and x29.
.section .text.enter_guest, "ax"
.global enter_guest
enter_guest:
    stp     x29, x30, [sp, #-32]!
    str     x19, [sp, #16]
    mov     x9, sp
    str     x9, [x0, #{host_sp}]
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

.macro guest_exit vector
    .balign 0x80
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    str     x30, [sp, #240]
    ldr     x9, [sp, #{host_sp}]
    mov     x0, #\vector
    mrs     x1, esr_el2
    mov     sp, x9
    ldr     x19, [sp, #16]
    ldp     x29, x30, [sp], #32
    ret
.endm

// An exception of the hypervisor itself: never returns. The stack may be what failed, so the panic stack takes over;
// the guest's TPIDR_EL1 and TPIDRRO_EL0 are lost, as is the board. A second one on the way ends on the spot.
.macro own_exception kind
    .balign 0x80
    msr     tpidr_el1, x0
    msr     tpidrro_el0, x1
    mov     x0, #\kind
    b       own_exception_common
.endm

.section .text.vectors, "ax"
.balign 0x800
.global vectors
vectors:
    own_exception 0
    own_exception 1
    own_exception 2
    own_exception 3
    own_exception 4
    own_exception 5
    own_exception 6
    own_exception 7
    guest_exit 0                    // from AArch64
    guest_exit 1
    guest_exit 2
    guest_exit 3
    guest_exit 0                    // from AArch32 at EL0
    guest_exit 1
    guest_exit 2
    guest_exit 3
    .balign 0x80

own_exception_common:
    // TPIDR_EL2 points at this core's PerCpu, whose second word is its panic stack's end; 0 before there is one.
    mrs     x1, tpidr_el2
    cbz     x1, 1f
    ldr     x1, [x1, #8]
    b       2f
1:  ldr     x1, =__panic_stack_end
2:  sub     x1, x1, #272
    stp     x2, x3, [x1, #16]
    mov     x2, sp
    mov     sp, x1
    stp     x2, x0, [sp, #248]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    str     x30, [sp, #240]
    mrs     x0, tpidr_el1
    mrs     x1, tpidrro_el0
    stp     x0, x1, [sp]
    mov     x0, sp
    b       own_exception_taken
.ltorg
