// extern "C" fn copy_bytes(to, from, len): forward copy. Assembly, because one side may be memory that a guest writes
// at the same time, which Rust's copies may not be used on; each byte is loaded once.
.section .text.copy_bytes, "ax"
.global copy_bytes
copy_bytes:
    cmp     x2, #64
    b.lo    2f
1:  ldp     x3, x4, [x1]
    ldp     x5, x6, [x1, #16]
    ldp     x7, x8, [x1, #32]
    ldp     x9, x10, [x1, #48]
    stp     x3, x4, [x0]
    stp     x5, x6, [x0, #16]
    stp     x7, x8, [x0, #32]
    stp     x9, x10, [x0, #48]
    add     x1, x1, #64
    add     x0, x0, #64
    sub     x2, x2, #64
    cmp     x2, #64
    b.hs    1b
2:  cmp     x2, #8
    b.lo    4f
3:  ldr     x3, [x1], #8
    str     x3, [x0], #8
    sub     x2, x2, #8
    cmp     x2, #8
    b.hs    3b
4:  tbz     x2, #2, 7f
    ldr     w3, [x1], #4
    str     w3, [x0], #4
    and     x2, x2, #3
7:  cbz     x2, 6f
5:  ldrb    w3, [x1], #1
    strb    w3, [x0], #1
    subs    x2, x2, #1
    b.ne    5b
6:  ret

// void *memcpy(void *to, const void *from, size_t len) and void *memset(void *at, int byte, size_t len), as the compiler
// calls them: those that come with Rust go by words. EL2's memory is normal memory, so that nothing need be aligned.
.section .text.memcpy, "ax"
.global memcpy
memcpy:
    mov     x11, x30
    mov     x12, x0
    bl      copy_bytes
    mov     x0, x12
    ret     x11

.section .text.memset, "ax"
.global memset
memset:
    and     x1, x1, #0xff
    mov     x3, #0x0101010101010101
    mul     x1, x1, x3
    mov     x3, x0
    subs    x2, x2, #64
    b.lo    2f
1:  stp     x1, x1, [x3]
    stp     x1, x1, [x3, #16]
    stp     x1, x1, [x3, #32]
    stp     x1, x1, [x3, #48]
    add     x3, x3, #64
    subs    x2, x2, #64
    b.hs    1b
2:  adds    x2, x2, #64
    b.eq    5f
    subs    x2, x2, #8
    b.lo    4f
3:  str     x1, [x3], #8
    subs    x2, x2, #8
    b.hs    3b
4:  adds    x2, x2, #8
    b.eq    5f
6:  strb    w1, [x3], #1
    subs    x2, x2, #1
    b.ne    6b
5:  ret
