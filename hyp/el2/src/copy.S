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
4:  cbz     x2, 6f
5:  ldrb    w3, [x1], #1
    strb    w3, [x0], #1
    subs    x2, x2, #1
    b.ne    5b
6:  ret
