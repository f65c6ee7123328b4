// What a bench measures to the instruction: the vectors that take the time, and the first instruction of a started CPU.

    .macro  OTHER offset
    .balign 0x80
    b       rt_vectors + \offset
    .endm

// The table with its IRQ at EL1: the time at the vector for timers, and for SGIs when a handler would begin: all
// registers saved, interrupt acknowledged.
    .macro  VECTORS name, irq
    .balign 0x800
    .global \name
\name:
    OTHER   0x000
    OTHER   0x080
    OTHER   0x100
    OTHER   0x180
    OTHER   0x200
    .balign 0x80
    sub     sp, sp, #272
    stp     x0, x1, [sp]
    isb
    mrs     x0, cntvct_el0
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    b       \irq
    OTHER   0x300
    OTHER   0x380
    .rept   8
    OTHER   0x400
    .endr
    .balign 0x80
    .endm

    .macro  SAVE
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    str     x30, [sp, #240]
    .endm

    .macro  TELL_AND_RETURN
    adrp    x3, bench_taken
    add     x3, x3, :lo12:bench_taken
    stp     x0, x2, [x3], #16
    mov     x4, #1
    stlr    x4, [x3]
    ldr     x30, [sp, #240]
    ldp     x28, x29, [sp, #224]
    ldp     x26, x27, [sp, #208]
    ldp     x24, x25, [sp, #192]
    ldp     x22, x23, [sp, #176]
    ldp     x20, x21, [sp, #160]
    ldp     x18, x19, [sp, #144]
    ldp     x16, x17, [sp, #128]
    ldp     x14, x15, [sp, #112]
    ldp     x12, x13, [sp, #96]
    ldp     x10, x11, [sp, #80]
    ldp     x8, x9, [sp, #64]
    ldp     x6, x7, [sp, #48]
    ldp     x4, x5, [sp, #32]
    ldp     x2, x3, [sp, #16]
    ldp     x0, x1, [sp]
    add     sp, sp, #272
    eret
    .endm

    .section .text.bench, "ax"
    VECTORS bench_vectors_v3, bench_irq_v3
    VECTORS bench_vectors_v2, bench_irq_v2

bench_irq_v3:
    SAVE
    mrs     x1, S3_0_C12_C12_0      // ICC_IAR1_EL1
    mrs     x2, cntvct_el0
    cmp     w1, #27
    b.ne    1f
    msr     cntv_ctl_el0, xzr
    isb
1:  msr     S3_0_C12_C12_1, x1      // ICC_EOIR1_EL1
    TELL_AND_RETURN

bench_irq_v2:
    SAVE
    mov     x4, #0x08010000         // GICC
    ldr     w1, [x4, #0xc]          // GICC_IAR
    mrs     x2, cntvct_el0
    cmp     w1, #27
    b.ne    1f
    msr     cntv_ctl_el0, xzr
    isb
1:  str     w1, [x4, #0x10]         // GICC_EOIR
    TELL_AND_RETURN

// Where the second CPU starts for the CPU_ON measurement: x0 = where the time goes.
    .global bench_first_instruction
bench_first_instruction:
    mrs     x1, cntvct_el0
    str     x1, [x0]
    dsb     sy
    movz    x0, #0x8400, lsl #16
    movk    x0, #2                  // CPU_OFF
    hvc     #0
2:  wfi
    b       2b

    .section .bss.bench, "aw", %nobits
    .balign 64
    .global bench_taken
bench_taken:                        // time at the vector, time at the handler, a flag
    .skip   64
