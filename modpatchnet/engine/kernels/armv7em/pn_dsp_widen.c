// int8 pixels to pairs of int16 in the order of SXTB16: channels 4q..4q+3 become {4q, 4q+2}, {4q+1, 4q+3}.
#include "engine/kernels/pn_fast.h"

#if PN_DSP

#include "engine/kernels/armv7em/pn_dsp_offsets.h"

// all of it is loaded at once, in this order
PN_CHECK_OFFSET(pn_widen_t, STEP, step, 4)
PN_CHECK_OFFSET(pn_widen_t, QUADS, quads, 8)
PN_CHECK_OFFSET(pn_widen_t, X, x, 12)
PN_CHECK_OFFSET(pn_widen_t, HEAD, head, 16)
PN_CHECK_OFFSET(pn_widen_t, FULL, full, 20)
PN_CHECK_OFFSET(pn_widen_t, TAIL, tail, 24)

// clang-format off
__asm__(
    "    .syntax unified\n"
    "    .thumb\n"
    "    .text\n"

// one pixel, 6 instructions for 4 channels: in r7, out r3, quads in r5; leaves r7 at the pixel
    "    .macro ONE\n"
    "    mov r6, r5\n"
    "1:  ldr r8, [r7], #4\n"
    "    subs r6, #1\n"
    "    sxtb16 r9, r8\n"
    "    sxtb16 r8, r8, ror #8\n"
    "    str r8, [r3, #8]\n"
    "    str r9, [r3], #16\n"
    "    bne 1b\n"
    "    .endm\n"

// void pn_dsp_widen(const pn_widen_t *): lines for the tiles. For each pair of pixels and each quad of channels 16
// bytes: pixel 0's first word, pixel 1's, pixel 0's second, pixel 1's. A head or tail pixel is alone as pixel 0. 8.5
// instructions for 2 pixels x 4 channels.
    "    .global pn_dsp_widen\n"
    "    .type pn_dsp_widen, %function\n"
    "    .thumb_func\n"
    "pn_dsp_widen:\n"
    "    push {r4-r11, lr}\n"
    "    ldm r0, {r1-r6, lr}\n"
// r1 in, r2 step, r3 quads, r4 x, r5 head, r6 full, lr tail
    "    mov r7, r1\n"
    "    mov r1, r3\n"
    "    mov r3, r4\n"
    "    mov r12, r6\n"
    "    mov r4, r5\n"
    "    mov r5, r1\n"
    "    cbz r4, 2f\n"
    "    mov r10, r7\n"
    "    ONE\n"
    "    add r7, r10, r2\n"
    "2:  cmp r12, #0\n"
    "    beq 5f\n"
    "3:  add r4, r7, r2\n"
    "    mov r1, r7\n"
    "    lsrs r6, r5, #1\n"
    "    bcc 4f\n"
    "    ldr r8, [r1], #4\n"
    "    ldr r10, [r4], #4\n"
    "    sxtb16 r9, r10\n"
    "    sxtb16 r11, r10, ror #8\n"
    "    sxtb16 r10, r8, ror #8\n"
    "    sxtb16 r8, r8\n"
    "    strd r8, r9, [r3], #8\n"
    "    strd r10, r11, [r3], #8\n"
    "    cbz r6, 6f\n"
    "4:  .rept 2\n"
    "    ldr r8, [r1], #4\n"
    "    ldr r10, [r4], #4\n"
    "    sxtb16 r9, r10\n"
    "    sxtb16 r11, r10, ror #8\n"
    "    sxtb16 r10, r8, ror #8\n"
    "    sxtb16 r8, r8\n"
    "    strd r8, r9, [r3], #8\n"
    "    strd r10, r11, [r3], #8\n"
    "    .endr\n"
    "    subs r6, #1\n"
    "    bne 4b\n"
    "6:  add r7, r7, r2, lsl #1\n"
    "    subs r12, #1\n"
    "    bne 3b\n"
    "5:  cmp lr, #0\n"
    "    beq 7f\n"
    "    ONE\n"
    "7:  pop {r4-r11, pc}\n"

// void pn_dsp_widen8(in, step, pixels, x): pixel after pixel, 8 channels each: 10 instructions a pixel.
    "    .global pn_dsp_widen8\n"
    "    .type pn_dsp_widen8, %function\n"
    "    .thumb_func\n"
    "pn_dsp_widen8:\n"
    "    push {r4-r7, lr}\n"
    "1:  ldr r4, [r0]\n"
    "    ldr r6, [r0, #4]\n"
    "    add r0, r0, r1\n"
    "    sxtb16 r5, r4, ror #8\n"
    "    sxtb16 r4, r4\n"
    "    sxtb16 r7, r6, ror #8\n"
    "    sxtb16 r6, r6\n"
    "    stm r3!, {r4-r7}\n"
    "    subs r2, #1\n"
    "    bne 1b\n"
    "    pop {r4-r7, pc}\n"

// void pn_dsp_shift(x, eights, shift): 7 + 6 * shift instructions for 8 values.
    "    .global pn_dsp_shift\n"
    "    .type pn_dsp_shift, %function\n"
    "    .thumb_func\n"
    "pn_dsp_shift:\n"
    "    push {r4-r6, lr}\n"
    "1:  ldrd r3, r4, [r0]\n"
    "    ldrd r5, r6, [r0, #8]\n"
    "    mov r12, r2\n"
    "2:  sadd16 r3, r3, r3\n"
    "    sadd16 r4, r4, r4\n"
    "    sadd16 r5, r5, r5\n"
    "    sadd16 r6, r6, r6\n"
    "    subs r12, #1\n"
    "    bne 2b\n"
    "    strd r3, r4, [r0], #8\n"
    "    strd r5, r6, [r0], #8\n"
    "    subs r1, #1\n"
    "    bne 1b\n"
    "    pop {r4-r6, pc}\n"
);
// clang-format on

#endif
