// The way out of a guest, back behind src/enter.S. That is in two places, for cores that are owned by a vCPU and for cores
// that are shared, and each has a table of its own, so that neither looks for the way. SP_EL2 points at the vCPU's
// Registers, whose offsets are given by Rust (src/run.rs). Leaves why it came in x20, ESR_EL2 or INTERRUPT, and in x22 the
// end of the exit's record.
//
// In the ring: why, the guest's PC, the time, its x0 (core's trace::Record). It is RING_BYTES long and aligned to twice
// as much, so that a bit of the address is cleared to begin again.
.macro guest_exit back, why:vararg
    .balign 0x80
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    save_from_x4
    \why
    mrs     x2, elr_el2
    mrs     x4, cntpct_el0
    ldp     x22, x19, [sp, #{trace}]
    stp     x20, x2, [x22], #{record}
    stp     x4, x0, [x22, #-16]
    and     x4, x22, #~{ring}
    str     x4, [sp, #{trace}]
    ldp     x9, x29, [sp, #{host}]
    mov     sp, x9
    b       \back
.endm

// Stores X4 to X30 at their places in a frame at SP that begins with X0.
.macro save_from_x4
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

.macro table name, back
    .balign 0x800
    .global \name
\name:
    own_exception 0
    own_exception 1
    own_exception 2
    own_exception 3
    own_exception 4
    own_exception 5
    own_exception 6
    own_exception 7
    // From AArch64, then from AArch32 at EL0.
    guest_exit \back, mrs x20, esr_el2
    guest_exit \back, mov x20, #{interrupt}
    guest_exit \back, mov x20, #{interrupt}
    guest_exit \back, mrs x20, esr_el2
    guest_exit \back, mrs x20, esr_el2
    guest_exit \back, mov x20, #{interrupt}
    guest_exit \back, mov x20, #{interrupt}
    guest_exit \back, mrs x20, esr_el2
    .balign 0x80
.endm

.section .text.vectors, "ax"
table vectors, guest_exited
table vectors_of_shared, guest_exited_in_turn

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
    save_from_x4
    mrs     x0, tpidr_el1
    mrs     x1, tpidrro_el0
    stp     x0, x1, [sp]
    mov     x0, sp
    b       own_exception_taken
.ltorg
