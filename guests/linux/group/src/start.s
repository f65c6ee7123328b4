// Where Linux enters a program: the stack has the count of arguments, then pointers to them.
.global _start
_start:
    mov x29, xzr
    mov x30, xzr
    mov x0, sp
    b enter
