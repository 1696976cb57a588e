// The tile at the heart of the fast kernels, as assembler macros.
#ifndef PN_DSP_QUADS_H
#define PN_DSP_QUADS_H

// Sums of 2 pixels and 2 output channels, four products each a QUAD: 16 MACs in 16 instructions, of which a Cortex-M7
// does two a cycle, as each SMLAD goes with one load. What a quad loads last is the next one's; behind the last quad of
// a tile that is the first word of data, `lr` there, and up to 12 bytes behind the weights, which nobody looks at.
//   r0-r3 sums {pixel 0: channel a, b; pixel 1: a, b}   lr -> {p0, p1, p0, p1} pairs of inputs   r12 -> {a, a, b, b}
//     pairs of weights, which end at r11   loaded already: r4 = [lr], r6 = [r12], r7 = [r12, #8]   clobbers r4-r7
// TILE: as many quads as r5 says. Before it in the code, behind a jump, TILE_ODD.
// HALF_TILE: the same for pixel 0 alone, 10 instructions for 8 MACs; clobbers r2, r3 besides.
// clang-format off
#define PN_DSP_QUADS \
    "    .macro QUAD\n" \
    "    smlad r0, r4, r6, r0\n" \
    "    ldr r5, [lr, #4]\n" \
    "    smlad r1, r4, r7, r1\n" \
    "    ldr r4, [lr, #8]\n" \
    "    smlad r3, r5, r7, r3\n" \
    "    ldr r7, [r12, #12]\n" \
    "    smlad r2, r5, r6, r2\n" \
    "    ldr r6, [r12, #4]\n" \
    "    smlad r1, r4, r7, r1\n" \
    "    ldr r5, [lr, #12]\n" \
    "    smlad r0, r4, r6, r0\n" \
    "    ldr r4, [lr, #16]!\n" \
    "    smlad r2, r5, r6, r2\n" \
    "    ldr r6, [r12, #16]!\n" \
    "    smlad r3, r5, r7, r3\n" \
    "    ldr r7, [r12, #8]\n" \
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
    "    smlad r0, r4, r6, r0\n" \
    "    ldr r5, [lr, #8]\n" \
    "    smlad r1, r4, r7, r1\n" \
    "    ldr r2, [r12, #4]\n" \
    "    ldr r3, [r12, #12]\n" \
    "    ldr r7, [r12, #24]\n" \
    "    smlad r0, r5, r2, r0\n" \
    "    ldr r6, [r12, #16]!\n" \
    "    smlad r1, r5, r3, r1\n" \
    "    ldr r4, [lr, #16]!\n" \
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
