// Where the assembly finds the fields of pn_dsp.h's structs: name there, field, offset. Each is written here once, as a
// constant of the assembler's and as a check of the struct.
#ifndef PN_DSP_OFFSETS_H
#define PN_DSP_OFFSETS_H

#include "engine/kernels/armv7em/pn_dsp.h"

// clang-format off
#define PN_PAIRS_OFFSETS(F) \
    F(PIXEL, pixel, 0) F(OWN, own, 4) F(QUADS, quads, 12) F(XROW, xrow, 16) F(HROW, hrow, 20) F(ROWS, rows, 24) \
    F(ROWS_END, rows_end, 28) F(EW, ew, 32) F(DW, dw, 36) F(KEPT, kept, 40) F(DBUF, dbuf, 44) F(PITCH, pitch, 48) \
    F(PAIRS, pairs, 52) F(HB, h, 56) F(STRIDE, stride, 60) F(WORDS, words, 64) F(HEAD, head, 68) F(FULL, full, 72) \
    F(TAIL, tail, 76) F(DWFN, dwfn, 80) F(STEPFN, stepfn, 84) F(EXPFN, expfn, 88) F(LINEFN, linefn, 92) \
    F(SLOT, slot, 96) F(OPAIRS, out_pairs, 100) F(NEXT, next, 104) F(ZEROS, zeros, 108) F(RECORD, record, 112) \
    F(MORE, more, 116) F(SHIFTE, shift_expand, 120) F(SHIFTD, shift_depthwise, 124)

#define PN_ROWS_OFFSETS(F) \
    F(X_SRC, src, 0) F(X_DST, dst, 28) F(X_SUMS, sums, 56) F(X_SUM_BYTES, sum_bytes, 60) \
    F(X_ROW_WORDS, row_words, 64) F(X_KERNEL, kernel, 68) F(X_FRESH, fresh, 72) F(X_LINES, lines, 76) \
    F(X_WEIGHTS, weights, 80) F(X_CHANNEL, channel, 84)

#define PN_TILES_OFFSETS(F) \
    F(B0, b, 0) F(OWN, own, 16) F(QUADS, quads, 32) F(W, w, 36) F(BM, bm, 40) F(D, d, 44) \
    F(OUT, out, 48) F(OSTEP, out_step, 52) F(X, x, 56) F(XSTEP, x_step, 60) F(MR, res_mult, 64) F(T, zero_q8, 68) \
    F(FULL, full, 72) F(TAIL, tail, 76) F(COUTS, couts, 80) F(SHIFT, shift, 84) F(ACC, acc, 88) F(FIRST, first, 92) \
    F(GAP, gap, 96) F(NEXT_PAIR, next, 100) F(OWN_TOO, own_too, 104)

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
