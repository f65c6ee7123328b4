// From the boot loader to Rust: the arm64 Image header, the first page tables, the MMU.
//
// The image may be anywhere (4 KiB aligned at least); it is linked at IMAGE_VA. Nothing here uses an absolute address
// before the MMU is on. The first tables map the image at IMAGE_VA by section (W^X), the device tree read-only at
// DTB_VA, and the page of this code at its own physical address, for the switch (no more: what is writable at
// IMAGE_VA must not be executable anywhere). The same tables serve EL1,
// where Rust only says that EL2 is missing: there AP[1] gives EL0 the same access, which nobody uses.
//
// Boot protocol: Linux Documentation/arch/arm64/booting.rst. MMU and D-cache off, x0 = device tree, image cleaned to
// the point of coherency. Tables are written with the D-cache off, so stale lines over them are invalidated before
// (they must not be evicted on top of what is written) and after (nor be hit once the cache is on).

.equ MPIDR_AFFINITY, 0xff00ffffff  // MPIDR_EL1 (DDI 0487 D24.2.119)
.equ B_INSTRUCTION, 5 << 26         // B, with no offset (DDI 0487 C6.2.25)
.equ IMAGE_FLAGS, 0b1010            // little-endian, 4 KiB pages, anywhere in memory

// Descriptors, DDI 0487 D8.3: AttrIndx 1 is Normal write-back in MAIR below.
.equ DESC_TABLE, 0x3
.equ DESC_AF_SH_NORMAL, (1 << 10) | (3 << 8) | (1 << 6) | (1 << 2)
.equ DESC_RO, 1 << 7
.equ DESC_XN_SHIFT, 54
.equ DESC_PAGE, 0x3
.equ DESC_BLOCK, 0x1
.equ PAGE_TEXT, DESC_AF_SH_NORMAL | DESC_RO | DESC_PAGE
.equ PAGE_DATA, DESC_AF_SH_NORMAL | DESC_PAGE
.equ BLOCK_RO, DESC_AF_SH_NORMAL | DESC_RO | DESC_BLOCK

// Tables, in order, a page each.
.equ T_L0, 0
.equ T_IDENT_L1, 4096
.equ T_IDENT_L2, 2 * 4096
.equ T_IMAGE_L1, 3 * 4096
.equ T_IMAGE_L2, 4 * 4096
.equ T_IMAGE_L3, 5 * 4096
.equ T_DTB_L2, 6 * 4096
.equ T_IDENT_L3, 7 * 4096

.equ MAIR_VALUE, 0x44ff04           // 0 Device-nGnRE, 1 Normal write-back, 2 Normal non-cacheable (D24.2.112)
// TCR_EL2: T0SZ 16, inner and outer write-back walks, inner shareable, 4 KiB; RES1 bits 31 and 23.
.equ TCR_COMMON, 16 | (1 << 8) | (1 << 10) | (3 << 12)
.equ TCR_EL2_RES1, (1 << 31) | (1 << 23)
.equ TCR_EL1_EPD1, 1 << 23
// SCTLR: RES1 bits, M, C, I, SA, WXN.
.equ SCTLR_EL2_VALUE, 0x30c50830 | (1 << 0) | (1 << 2) | (1 << 3) | (1 << 12) | (1 << 19)
.equ SCTLR_EL1_VALUE, 0x30d00800 | (1 << 0) | (1 << 2) | (1 << 3) | (1 << 12)

.section .head, "ax"
.global _start
_start:
    b       primary_entry
    .long   0
    .quad   0                       // text_offset
    .quad   __image_size
    .quad   IMAGE_FLAGS
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

primary_entry:
    msr     daifset, #0xf
    msr     spsel, #1
    mrs     x22, cntpct_el0         // when Tessera got the board, for the boot's accounts
    mov     x20, x0                 // device tree
    adrp    x19, __image_start      // where the image was loaded
    adrp    x21, __boot_tables_start
    mrs     x23, CurrentEL
    bl      choose_gic

    adrp    x0, __boot_tables_start
    adrp    x1, __boot_tables_end
    bl      invalidate_range
    adrp    x0, __boot_tables_start
    adrp    x1, __boot_tables_end
1:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    1b

    // Identity: the first page of the image, which holds all of this file.
    add     x0, x21, #T_IDENT_L1
    ubfx    x1, x19, #39, #9
    bl      link_table
    add     x2, x21, #T_IDENT_L2
    orr     x2, x2, #DESC_TABLE
    ubfx    x1, x19, #30, #9
    str     x2, [x0, x1, lsl #3]
    add     x0, x21, #T_IDENT_L2
    add     x2, x21, #T_IDENT_L3
    orr     x2, x2, #DESC_TABLE
    ubfx    x1, x19, #21, #9
    str     x2, [x0, x1, lsl #3]
    add     x0, x21, #T_IDENT_L3
    mov     x3, #PAGE_TEXT
    orr     x2, x19, x3
    ubfx    x1, x19, #12, #9
    str     x2, [x0, x1, lsl #3]

    // The image at IMAGE_VA: level 0 entry 511, then entry 0 of each table down.
    add     x0, x21, #T_IMAGE_L1
    mov     x1, #511
    bl      link_table
    add     x2, x21, #T_IMAGE_L2
    orr     x2, x2, #DESC_TABLE
    str     x2, [x0]
    add     x0, x21, #T_IMAGE_L2
    add     x2, x21, #T_IMAGE_L3
    orr     x2, x2, #DESC_TABLE
    str     x2, [x0]
    adrp    x0, __text_start
    adrp    x1, __text_end
    mov     x2, #PAGE_TEXT
    bl      map_pages
    adrp    x0, __rodata_start
    adrp    x1, __rodata_end
    mov     x2, #PAGE_TEXT
    orr     x2, x2, #(1 << DESC_XN_SHIFT)
    bl      map_pages
    adrp    x0, __data_start
    adrp    x1, __data_end
    mov     x2, #PAGE_DATA
    orr     x2, x2, #(1 << DESC_XN_SHIFT)
    bl      map_pages
    adrp    x0, __boot_stack_start
    adrp    x1, __boot_stack_end
    bl      map_pages
    adrp    x0, __panic_stack_start
    adrp    x1, __panic_stack_end
    bl      map_pages

    // The device tree at DTB_VA (level 1 entry 1 of the image's table): 2 MiB at most, so two blocks hold it.
    add     x0, x21, #T_IMAGE_L1
    add     x2, x21, #T_DTB_L2
    orr     x2, x2, #DESC_TABLE
    str     x2, [x0, #8]
    add     x0, x21, #T_DTB_L2
    lsr     x2, x20, #21
    lsl     x2, x2, #21
    mov     x3, #BLOCK_RO
    orr     x3, x3, #(1 << DESC_XN_SHIFT)
    orr     x4, x2, x3
    str     x4, [x0]
    // The second one only where the tree reaches it: behind may be what must not be read ahead of time.
    ldr     w5, [x20, #4]           // totalsize, big-endian (DTSpec 5.2)
    rev     w5, w5
    add     x5, x5, #40             // its header in any case
    add     x5, x20, x5
    mov     x6, #0x200000
    add     x2, x2, x6
    cmp     x5, x2
    b.ls    1f
    orr     x4, x2, x3
    str     x4, [x0, #8]
1:

    dsb     sy
    adrp    x0, __boot_tables_start
    adrp    x1, __boot_tables_end
    bl      invalidate_range

    bl      enable_mmu
    ldr     x0, =1f                 // where this code is linked
    br      x0
1:  ldr     x0, =__boot_stack_end
    mov     sp, x0
    ldr     x0, =__bss_start
    ldr     x1, =__bss_end
    b       3f
2:  stp     xzr, xzr, [x0], #16
3:  cmp     x0, x1
    b.lo    2b
    bl      set_vectors
    mov     x0, x20
    mov     x1, x19
    mov     x2, x22
    mov     x29, xzr
    mov     x30, xzr
    cmp     x23, #8
    b.ne    4f
    b       primary_main
4:  b       el1_main

// A secondary core. By PSCI CPU_ON, x0 = its PerCpu at its virtual address, whose first word is its stack's end; by a
// spin table, x0 = 0, and the core finds its PerCpu by its own number.
.global secondary_entry
secondary_entry:
    msr     daifset, #0xf
    msr     spsel, #1
    mov     x20, x0
    adrp    x21, __boot_tables_start
    mrs     x23, CurrentEL
    bl      enable_mmu
    ldr     x0, =1f
    br      x0
1:  cbnz    x20, 3f
    mrs     x0, mpidr_el1
    ldr     x1, =MPIDR_AFFINITY
    and     x0, x0, x1
    ldr     x20, ={cpus}
    mov     x1, #{max_cpus}
2:  ldr     x2, [x20, #{mpidr}]
    cmp     x2, x0
    b.eq    3f
    add     x20, x20, #{cpu_size}
    subs    x1, x1, #1
    b.ne    2b
    b       .                       // not one that was called
3:  ldr     x0, [x20]
    mov     sp, x0
    bl      set_vectors
    mov     x0, x20
    mov     x29, xzr
    mov     x30, xzr
    b       secondary_main

// Makes the NOPs of src/gic/choice.rs branches where the cores have no GICv3 (ID_AA64PFR0_EL1.GIC, DDI 0487 D24.2.65).
// The loader's copy may still be in the caches: a line goes before it is changed behind them, and what may have been
// fetched meanwhile after.
choose_gic:
    mrs     x0, id_aa64pfr0_el1
    ubfx    x0, x0, #24, #4
    cbnz    x0, 2f
    adrp    x0, __gicv2_branches_start
    add     x0, x0, #:lo12:__gicv2_branches_start
    adrp    x1, __gicv2_branches_end
    add     x1, x1, #:lo12:__gicv2_branches_end
    mov     w5, #B_INSTRUCTION
1:  cmp     x0, x1
    b.hs    2f
    ldrsw   x2, [x0]
    add     x2, x0, x2              // the NOP
    ldrsw   x3, [x0, #4]
    add     x3, x3, #4
    add     x3, x0, x3              // where to
    sub     x3, x3, x2
    ubfx    x3, x3, #2, #26
    orr     w3, w3, w5
    dc      civac, x2
    dsb     sy
    str     w3, [x2]
    dsb     sy
    dc      ivac, x2
    add     x0, x0, #8
    b       1b
2:  dsb     sy
    ret

// x0 = table, x1 = index in level 0: points the entry at it. Keeps x0.
link_table:
    orr     x2, x0, #DESC_TABLE
    str     x2, [x21, x1, lsl #3]
    ret

// [x0, x1) of the image in its level 3 table with the attributes in x2, which is kept.
map_pages:
    sub     x3, x0, x19
    lsr     x3, x3, #12
    add     x4, x21, #T_IMAGE_L3
    add     x3, x4, x3, lsl #3
1:  cmp     x0, x1
    b.hs    2f
    orr     x4, x0, x2
    str     x4, [x3], #8
    add     x0, x0, #4096
    b       1b
2:  ret

// Invalidates [x0, x1) from the caches to the point of coherency.
invalidate_range:
    mrs     x2, ctr_el0
    ubfx    x2, x2, #16, #4         // DminLine: log2 of words
    mov     x3, #4
    lsl     x2, x3, x2
1:  dc      ivac, x0
    add     x0, x0, x2
    cmp     x0, x1
    b.lo    1b
    dsb     sy
    ret

// Turns MMU and caches on with the tables at x21, at the exception level in x23 (CurrentEL). The physical address
// size is what the core has, up to 48 bits (ID_AA64MMFR0_EL1.PARange 5): larger ones need LPA.
enable_mmu:
    mrs     x0, id_aa64mmfr0_el1
    and     x0, x0, #0xf
    mov     x1, #5
    cmp     x0, x1
    csel    x0, x0, x1, lo
    ldr     x1, =MAIR_VALUE
    ldr     x2, =TCR_COMMON
    cmp     x23, #8
    b.ne    1f
    mov     x3, #(1 << 31)          // HCR_EL2.RW: EL1 is AArch64; E2H off
    msr     hcr_el2, x3
    msr     tpidr_el2, xzr
    isb
    msr     mair_el2, x1
    orr     x2, x2, x0, lsl #16
    ldr     x3, =TCR_EL2_RES1
    orr     x2, x2, x3
    msr     tcr_el2, x2
    msr     ttbr0_el2, x21
    isb
    tlbi    alle2
    ic      iallu
    dsb     nsh
    isb
    ldr     x0, =SCTLR_EL2_VALUE
    msr     sctlr_el2, x0
    isb
    ret
1:  msr     mair_el1, x1
    orr     x2, x2, x0, lsl #32
    ldr     x3, =TCR_EL1_EPD1
    orr     x2, x2, x3
    msr     tcr_el1, x2
    msr     ttbr0_el1, x21
    isb
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    ldr     x0, =SCTLR_EL1_VALUE
    msr     sctlr_el1, x0
    isb
    ret

set_vectors:
    ldr     x0, =vectors
    cmp     x23, #8
    b.ne    1f
    msr     vbar_el2, x0
    isb
    ret
1:  msr     vbar_el1, x0
    isb
    ret
.ltorg
