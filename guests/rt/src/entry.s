// Entry of the boot CPU (by the arm64 boot protocol) and of the others (by PSCI CPU_ON), the way into an attempt that
// may fault, and the exception vectors. Nothing here depends on the address at which it runs.

    .set STACK_SIZE, 0x8000

// ---- Image header (Linux Documentation/arch/arm64/booting.rst) ----
    .section .text.head, "ax"
    .global _start
_start:
    b       boot_cpu
    .long   0
    .quad   0                       // text_offset: any 2 MiB boundary
    .quad   __image_size
    .quad   0xa                     // little endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .long   0x644d5241              // "ARM\x64"
    .long   0

boot_cpu:
    mrs     x22, cntvct_el0         // when the machine was ours
    msr     daifset, #0xf
    mov     x19, x0                 // the device tree
    adrp    x20, _start
    // R_AARCH64_RELATIVE (1027): *(offset + base) = addend + base.
    adrp    x0, __rela_start
    add     x0, x0, :lo12:__rela_start
    adrp    x1, __rela_end
    add     x1, x1, :lo12:__rela_end
1:  cmp     x0, x1
    b.hs    2f
    ldp     x2, x3, [x0], #16
    ldr     x4, [x0], #8
    cmp     w3, #1027
    b.ne    1b
    add     x4, x4, x20
    str     x4, [x2, x20]
    b       1b
2:  adrp    x0, __bss_start
    add     x0, x0, :lo12:__bss_start
    adrp    x1, __bss_end
    add     x1, x1, :lo12:__bss_end
3:  cmp     x0, x1
    b.hs    4f
    stp     xzr, xzr, [x0], #16
    b       3b
    // What was written with the caches off must not be hidden by lines that a loader left behind.
4:  adrp    x0, _start
    adrp    x1, __end
5:  dc      ivac, x0
    add     x0, x0, #16
    cmp     x0, x1
    b.lo    5b
    dsb     sy
    mov     x21, #0
    b       cpu_on_its_feet

// x0 = the number this CPU has here, as smp::start passed it through CPU_ON.
    .global secondary_cpu
secondary_cpu:
    msr     daifset, #0xf
    mov     x21, x0
    mov     x19, #0

// x19 = device tree, x21 = CPU number, x22 = the time of the first instruction.
cpu_on_its_feet:
    ldr     x0, =0x0444ff           // MAIR: 0 = Normal write-back, 1 = Normal non-cacheable, 2 = Device-nGnRE
    msr     mair_el1, x0
    mrs     x1, id_aa64mmfr0_el1    // TCR.IPS = PARange, at most 48 bits
    and     x1, x1, #0xf
    cmp     x1, #5
    mov     x2, #5
    csel    x1, x1, x2, lo
    ldr     x0, =0x00803519         // 4 KiB granule, 39-bit addresses, write-back tables, no TTBR1
    orr     x0, x0, x1, lsl #32
    msr     tcr_el1, x0
    adrp    x0, rt_level1
    add     x0, x0, :lo12:rt_level1
    msr     ttbr0_el1, x0
    isb
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    ldr     x0, =0x30d0180d         // SCTLR_EL1: RES1 bits, I, SA, C, M
    msr     sctlr_el1, x0
    isb
    mov     x0, #(3 << 20)          // CPACR_EL1.FPEN: the probe tests the FP registers
    msr     cpacr_el1, x0
    adrp    x0, rt_vectors
    add     x0, x0, :lo12:rt_vectors
    msr     vbar_el1, x0
    adrp    x0, rt_stacks
    add     x0, x0, :lo12:rt_stacks
    mov     x1, #STACK_SIZE
    add     x2, x21, #1
    madd    x0, x1, x2, x0
    mov     sp, x0
    isb
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x21
    mov     x1, x19
    mov     x2, x22
    bl      rt_start
6:  wfi
    b       6b
    .ltorg

// fn rt_attempt(code: fn(*mut u8), data: *mut u8, slot: *mut u64) -> u64: calls code(data) and returns 0, or 1 where it
// took an exception. `slot` has the stack pointer to come back to while that is wanted, and 0 otherwise.
    .section .text.attempt, "ax"
    .global rt_attempt
rt_attempt:
    stp     x29, x30, [sp, #-128]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    mrs     x4, daif
    ldr     x5, [x2]
    stp     x4, x5, [sp, #96]
    str     x2, [sp, #112]
    mov     x3, sp
    str     x3, [x2]
    mov     x4, x0
    mov     x0, x1
    blr     x4
    mov     x0, #0
    mov     x1, sp
    .global rt_attempt_failed
rt_attempt_failed:                  // x0 = result, x1 = the stack pointer of the attempt
    mov     sp, x1
    ldp     x4, x5, [sp, #96]
    ldr     x2, [sp, #112]
    str     x5, [x2]
    msr     daif, x4
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #128
    ret

// ---- Vectors. The frame is trap::Frame. ----
    .macro  VECTOR kind
    .balign 0x80
    sub     sp, sp, #272
    stp     x0, x1, [sp]
    mov     x0, #\kind
    b       rt_exception
    .endm

    .section .text.vectors, "ax"
    .balign 0x800
    .global rt_vectors
rt_vectors:
    VECTOR 0                        // synchronous, from EL1 with SP_EL0, where only an attempt can be
    VECTOR 1                        // IRQ
    VECTOR 2                        // FIQ
    VECTOR 3                        // SError
    VECTOR 0                        // the same from EL1 with SP_EL1
    VECTOR 1
    VECTOR 2
    VECTOR 3
    VECTOR 0                        // and from EL0, where only an attempt can be
    VECTOR 1
    VECTOR 2
    VECTOR 3
    VECTOR 0                        // and from EL0 in AArch32
    VECTOR 1
    VECTOR 2
    VECTOR 3
    .balign 0x80

rt_exception:
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
    mrs     x1, elr_el1
    mrs     x2, spsr_el1
    stp     x30, x1, [sp, #240]
    str     x2, [sp, #256]
    mov     x1, sp
    bl      rt_trap
    ldr     x2, [sp, #256]
    ldp     x30, x1, [sp, #240]
    msr     spsr_el1, x2
    msr     elr_el1, x1
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

// ---- First translation table: 39-bit addresses start at level 1, a gigabyte an entry ----
    .section .data.tables, "aw"
    .balign 4096
    .global rt_level1
rt_level1:
    .quad   0x0060000000000409      // 0: devices (block, AF, Device-nGnRE, execute never)
    .quad   0x0040000040000701      // 1 GiB: RAM (block, AF, inner shareable, Normal write-back)
    .fill   510, 8, 0

    .section .bss.stacks, "aw", %nobits
    .balign 4096
    .global rt_stacks
rt_stacks:
    .skip   8 * STACK_SIZE
