// Where the assembly finds the fields of pn_dsp.h's structs: name there, field, offset. Each is written here once, as a
// constant of the assembler's and as a check of the struct.
#ifndef PN_DSP_OFFSETS_H
#define PN_DSP_OFFSETS_H

#include "engine/kernels/armv7em/pn_dsp.h"

// clang-format off
// what the frames of pn_dsp_pairs.c and of pn_dsp_project.c both begin with
#define PN_FRAME_OFFSETS(F) \
    F(B0, b, 0) F(UNPACKED, unpacked, 16) F(OWN, own, 20) F(QUADS, quads, 28)

#define PN_PAIRS_OFFSETS(F) \
    F(XROW, xrow, 32) F(HROW, hrow, 36) F(ROWS, rows, 40) F(ROWS_END, rows_end, 44) F(EW, ew, 48) F(DW, dw, 52) \
    F(KEPT, kept, 56) F(DBUF, dbuf, 60) F(PITCH, pitch, 64) F(PAIRS, pairs, 68) F(HB, h, 72) \
    F(STRIDE, stride, 76) F(WORDS, words, 80) F(HEAD, head, 84) F(FULL, full, 88) F(TAIL, tail, 92) \
    F(DWFN, dwfn, 96) F(STEPFN, stepfn, 100) F(EXPFN, expfn, 104) F(LINEFN, linefn, 108) F(SLOT, slot, 112) \
    F(OPAIRS, out_pairs, 116) F(WIDE16, wide16, 120) F(ZEROS, zeros, 124) F(RECORD, record, 128) F(MORE, more, 132) \
    F(SHIFTE, shift_expand, 136) F(SHIFTD, shift_depthwise, 140)

#define PN_ROWS_OFFSETS(F) \
    F(X_SRC, src, 0) F(X_DST, dst, 28) F(X_SUMS, sums, 56) F(X_SUM_BYTES, sum_bytes, 60) \
    F(X_ROW_WORDS, row_words, 64) F(X_KERNEL, kernel, 68) F(X_FRESH, fresh, 72) F(X_LINES, lines, 76) \
    F(X_WEIGHTS, weights, 80) F(X_CHANNEL, channel, 84)

#define PN_TILES_OFFSETS(F) \
    F(W, w, 32) F(BM, bm, 36) F(D, d, 40) F(OUT, out, 44) F(OSTEP, out_step, 48) F(X, x, 52) \
    F(XSTEP, x_step, 56) F(MR, res_mult, 60) F(T, zero_q8, 64) F(FULL, full, 68) F(TAIL, tail, 72) \
    F(COUTS, couts, 76) F(WIDE16, wide16, 80) F(SHIFT, shift, 84) F(ACC, acc, 88) F(FIRST, first, 92) \
    F(ROW, row, 96) F(MULT, mult, 100) F(STEP, next, 104)
// How a kernel on pn_tiles_t goes on to the next pair of outputs: the flags tell whether there is one.
#define PN_NEXT_PAIR \
    "    ldr r0, [sp, #OUT]\n" \
    "    ldr r1, [sp, #X]\n" \
    "    ldr r2, [sp, #COUTS]\n" \
    "    adds r0, #2\n" \
    "    cbz r1, 1f\n" \
    "    adds r1, #2\n" \
    "1:  str r0, [sp, #OUT]\n" \
    "    str r1, [sp, #X]\n" \
    "    subs r2, #1\n" \
    "    str r2, [sp, #COUTS]\n"
// clang-format on

// as the assembler's constants
#define PN_SET(name, field, offset) "    .set " #name ", " #offset "\n"

// as a type that does not compile if the field lies elsewhere, and one if a struct is not as large as what is copied
#define PN_CHECK_OFFSET(type, name, field, offset) \
    typedef char pn_offset_##type##name[offsetof(type, field) == (offset) ? 1 : -1];
#define PN_CHECK_BYTES(type, bytes) typedef char pn_bytes_##type[sizeof(type) == (bytes) ? 1 : -1];

#endif
