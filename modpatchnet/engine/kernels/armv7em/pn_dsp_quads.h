// The tile at the heart of the fast kernels, as assembler macros. NARROW must be set.
#ifndef PN_DSP_QUADS_H
#define PN_DSP_QUADS_H

// QUAD: four products each of 2 pixels and 2 output channels: 10 instructions, 16 MACs (12 with narrow loads)
//   r0-r3 sums {pixel 0: channel a, b; pixel 1: a, b}   lr -> {p0, p1, p0, p1} pairs of inputs   r12 -> {a, a, b, b}
//     pairs of weights
// HALF_QUAD: the same for pixel 0 alone: 6 instructions, 8 MACs
// clang-format off
#define PN_DSP_QUADS \
    "    .macro QUAD\n" \
    "    .if NARROW\n" \
    "    ldrd r4, r5, [lr], #8\n" \
    "    ldrd r6, r7, [lr], #8\n" \
    "    ldrd r8, r9, [r12], #8\n" \
    "    ldrd r10, r11, [r12], #8\n" \
    "    .else\n" \
    "    ldm lr!, {r4-r7}\n" \
    "    ldm r12!, {r8-r11}\n" \
    "    .endif\n" \
    "    smlad r0, r4, r8, r0\n" \
    "    smlad r1, r4, r10, r1\n" \
    "    smlad r2, r5, r8, r2\n" \
    "    smlad r3, r5, r10, r3\n" \
    "    smlad r0, r6, r9, r0\n" \
    "    smlad r1, r6, r11, r1\n" \
    "    smlad r2, r7, r9, r2\n" \
    "    smlad r3, r7, r11, r3\n" \
    "    .endm\n" \
    "    .macro HALF_QUAD\n" \
    "    .if NARROW\n" \
    "    ldr r4, [lr], #8\n" \
    "    ldr r6, [lr], #8\n" \
    "    ldrd r8, r9, [r12], #8\n" \
    "    ldrd r10, r11, [r12], #8\n" \
    "    .else\n" \
    "    ldm lr!, {r4-r7}\n" \
    "    ldm r12!, {r8-r11}\n" \
    "    .endif\n" \
    "    smlad r0, r4, r8, r0\n" \
    "    smlad r1, r4, r10, r1\n" \
    "    smlad r0, r6, r9, r0\n" \
    "    smlad r1, r6, r11, r1\n" \
    "    .endm\n"
// clang-format on

#endif
