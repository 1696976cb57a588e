// The tile at the heart of the fast kernels, as assembler macros.
#ifndef PN_DSP_QUADS_H
#define PN_DSP_QUADS_H

// Sums of 2 pixels and 2 output channels a, b, four products each a QUAD: 16 MACs in 16 instructions and 8 cycles, as each
// SMLAD goes with a load or an SXTB16. Weights are numbers 256 * b + a (FORMAT.md, Fast schedules): multiplied as they
// are they add 256 times b's products to a's, of which SXTB16 leaves the weights. The difference of the two is 256 times
// b's sum, and exact as long as that sum has 24 bits. What a quad loads last is the next one's; behind the last quad of
// a tile that is the first word of data, `lr` there, and 4 bytes behind the weights, which nobody looks at.
//   r0-r3 sums {pixel 0: a, both; pixel 1: a, both}   lr -> {p0, p1, p0, p1} pairs of inputs   r12 -> two pairs of
//     weights, which end at r11   loaded already: r4 = [lr], r6 = [r12], r7 its a   clobbers r4-r9
// TILE: as many quads as r5 says. Before it in the code, behind a jump, TILE_ODD.
// HALF_TILE: the same for pixel 0 alone, 10 instructions and 5 cycles for 8 MACs.
// clang-format off
#define PN_DSP_QUADS \
    "    .macro QUAD\n" \
    "    smlad r0, r4, r7, r0\n" \
    "    ldr r5, [lr, #4]\n" \
    "    smlad r1, r4, r6, r1\n" \
    "    ldr r8, [r12, #4]\n" \
    "    smlad r2, r5, r7, r2\n" \
    "    ldr r4, [lr, #8]\n" \
    "    sxtb16 r9, r8\n" \
    "    smlad r3, r5, r6, r3\n" \
    "    smlad r0, r4, r9, r0\n" \
    "    ldr r5, [lr, #12]\n" \
    "    smlad r1, r4, r8, r1\n" \
    "    ldr r6, [r12, #8]!\n" \
    "    smlad r2, r5, r9, r2\n" \
    "    ldr r4, [lr, #16]!\n" \
    "    sxtb16 r7, r6\n" \
    "    smlad r3, r5, r8, r3\n" \
    "    .endm\n" \
    "    .macro TILE_ODD\n" \
    "9:  bcs 6f\n" \
    "    b 8f\n" \
    "    .endm\n" \
    "    .macro TILE\n" \
    "    lsls r5, r5, #31\n" \
    "    bmi 9b\n" \
    "    bcs 7f\n" \
    "5:  QUAD\n" \
    "6:  QUAD\n" \
    "7:  QUAD\n" \
    "8:  QUAD\n" \
    "    cmp r12, r11\n" \
    "    bne 5b\n" \
    "    .endm\n" \
    "    .macro HALF_QUAD\n" \
    "    smlad r0, r4, r7, r0\n" \
    "    ldr r8, [r12, #4]\n" \
    "    smlad r1, r4, r6, r1\n" \
    "    ldr r5, [lr, #8]\n" \
    "    sxtb16 r9, r8\n" \
    "    ldr r6, [r12, #8]!\n" \
    "    smlad r0, r5, r9, r0\n" \
    "    ldr r4, [lr, #16]!\n" \
    "    sxtb16 r7, r6\n" \
    "    smlad r1, r5, r8, r1\n" \
    "    .endm\n" \
    "    .macro HALF_TILE\n" \
    "    lsls r5, r5, #31\n" \
    "    bne 6f\n" \
    "5:  HALF_QUAD\n" \
    "6:  HALF_QUAD\n" \
    "    cmp r12, r11\n" \
    "    bne 5b\n" \
    "    .endm\n"
// clang-format on

#endif
