// Fast kernels for Cortex-M4/M7 (ARMv7E-M with the DSP extension): the bottleneck as lines, byte for byte what pn_kernels.h computes.
#ifndef PN_DSP_H
#define PN_DSP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// 1: no load or store is wider than LDRD/STRD
#ifndef PN_DSP_NARROW
#define PN_DSP_NARROW 0
#endif
#define PN_STR_(x) #x
#define PN_STR(x) PN_STR_(x)

enum { PN_DW_PRIME, PN_DW3_ROLL, PN_DW3_ROLL2, PN_DW3_LINES, PN_DW3_LINES2, PN_EXP_TILE, PN_EXP8_1, PN_EXP8_2, PN_EXP8_3, PN_DW3_ROLL2_8 };

// Frame of pn_dsp_pairs, in this order (offsets are in pn_dsp_pairs.c).
typedef struct {
    uint32_t b[4];
    uint8_t *stage; // 16 * quads + 20 bytes
    uint32_t entry, half_entry, quads;
    uint32_t xrow, hrow;
    const int16_t *const *rows, *const *rows_end;
    const uint8_t *ew, *dw;
    uint8_t *kept, *dbuf;
    uint32_t pitch, pairs;
    uint8_t *h;
    uint32_t stride, words, head, full, tail, dwfn, expfn, slot, out_pairs, wide16, ch;
} pn_pairs_t;
void pn_dsp_pairs(const pn_pairs_t *p);

// Widens a line of int8 pixels for pn_dsp_pairs.
typedef struct {
    const int8_t *in;
    int32_t step;
    uint32_t quads;
    int16_t *x;
    uint32_t head, full, tail;
} pn_widen_t;
void pn_dsp_widen(const pn_widen_t *w);
// the same, pixel after pixel (8 channels)
void pn_dsp_widen8(const int8_t *in, int32_t step, uint32_t pixels, int16_t *x);

// The second half of a bottleneck's line.
typedef struct {
    uint32_t b[4];
    uint8_t *stage; // 16 * quads + 40 bytes
    uint32_t entry, half_entry, quads;
    const uint8_t *w;
    const int32_t *bm;
    const uint8_t *d;
    int8_t *out;
    int32_t out_step;
    const int8_t *x;
    int32_t x_step;
    int32_t res_mult, zero_q8;
    uint32_t full, tail, couts, wide16, shift;
    int32_t *acc;
    uint32_t first;
} pn_tiles_t;
void pn_dsp_project(const pn_tiles_t *t);
void pn_dsp_project_add(const pn_tiles_t *t);
void pn_dsp_project_end(const pn_tiles_t *t);

#endif
