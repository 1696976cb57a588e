// Sizes and arrays of a fused bottleneck, and its portable implementation.
#include "pn_fused.h"

#include <string.h>

#include "pn_kernels.h"
#include "pn_round.h"

// Bytes of the expansion's arrays for a pair of channels.
static uint32_t pair_bytes(uint32_t cin, bool wide16) {
    return 16 + (cin * 2 << (wide16 && cin != 8));
}

pn_fused_area_t pn_fused_area(const pn_fused_t *f) {
    uint32_t words = pn_fused_words(f), pairs = (f->out + 1u) / 2, rows = pn_fused_lines(f);
    uint32_t expand = f->cin == 8 ? 0 : f->cin * 4u + 20, project = f->group * 4u + 36;
    pn_fused_area_t a;
    a.line = f->cin == 8 ? f->in * 16u : words * f->cin * 4;
    a.kept = f->stride == 1 ? 4 * words : 4 * ((words + 1) / 2);
    a.wide = f->rolling ? a.kept * f->cexp : 3 * a.line;
    a.h = f->rolling ? a.line * rows : 0;
    a.h_align = f->cin == 8 && f->rolling && f->stride == 2 ? 16 : 8;
    a.dbuf = a.h + 8 * words * rows + a.h_align - 4;
    a.acc = a.dbuf + pairs * f->group * 4;
    a.stage = a.acc + (f->group < f->cexp ? pairs * f->cout * 8 : 0);
    a.work = a.stage + (expand > project ? expand : project);
    return a;
}

pn_fused_arrays_t pn_fused_arrays(uint32_t cin, uint32_t cexp, uint32_t cout, bool wide16) {
    pn_fused_arrays_t a = { cexp / 2 * pair_bytes(cin, wide16), cexp * 20, cexp * cout << wide16, cout * 8 };
    return a;
}

#if !PN_DSP

// Where weight t[line][pixel] of the kernel lies among a channel's twelve.
static const uint8_t *tap_order(const pn_fused_t *f) {
    static const uint8_t rolling[9] = { 2, 3, 6, 0, 1, 4, 5, 7, 10 };
    static const uint8_t by_two[9] = { 0, 2, 5, 1, 3, 7, 4, 6, 8 };
    static const uint8_t lines[9] = { 0, 1, 3, 4, 5, 7, 8, 9, 11 };
    return f->stride == 2 ? by_two : f->rolling ? rolling : lines;
}

static int32_t read32(const uint8_t *p) {
    return *(const int32_t *)(const void *)p;
}

// `n` weights of output `j` of a pair, in their own order, from quads for both. The projection's quads have their middle ones exchanged.
static void quads(const uint8_t *p, uint32_t j, uint32_t n, bool wide16, bool exchanged, int8_t *out) {
    static const uint8_t order[2][4] = { { 0, 1, 2, 3 }, { 0, 2, 1, 3 } };
    const uint8_t *at = order[wide16 != exchanged];
    uint32_t size = wide16 ? 2 : 1;
    for (uint32_t i = 0; i < n; i += 4) {
        const uint8_t *quad = p + (i * 2 + 4 * j) * size;
        for (uint32_t k = 0; k < 4; k++) {
            out[i + k] = (int8_t)quad[at[k] * size];
        }
    }
}

static uint8_t wide_end(int32_t acc, int32_t mult) {
    return (uint8_t)pn_clamp(pn_wide(acc, mult), 0, 255);
}

// One line of one expanded channel, zeros if it lies outside the map.
static void expand(const pn_fused_t *f, uint32_t channel, const int8_t *w, pn_pixels_t in, uint8_t *out) {
    const uint8_t *p = f->expand + channel / 2 * pair_bytes(f->cin, f->wide16) + channel % 2 * 4;
    int32_t bias = read32(p), mult = read32(p + 8);
    memset(out, 0, in.at == NULL ? f->in : 0);
    for (uint32_t x = 0; x < f->in && in.at != NULL; x++, in.at += in.step) {
        out[x] = wide_end(pn_dot(in.at, w, f->cin, bias), mult);
    }
}

static void depthwise(const pn_fused_t *f, uint32_t channel, const uint8_t *const *rows, uint8_t *out) {
    const uint8_t *p = f->depthwise + channel * 20, *order = tap_order(f);
    int32_t bias = read32(p + 12), mult = read32(p + 16);
    for (int x = 0; x < f->out; x++, out += f->group) {
        int32_t acc = bias;
        for (int tap = 0; tap < 9; tap++) {
            int at = x * f->stride - f->pad + tap % 3;
            acc += at >= 0 && at < f->in ? (int8_t)p[order[tap]] * rows[tap / 3][at] : 0;
        }
        *out = wide_end(acc, mult);
    }
}

static void expand_weights(const pn_fused_t *f, uint32_t channel, int8_t *w) {
    const uint8_t *p = f->expand + channel / 2 * pair_bytes(f->cin, f->wide16) + 16;
    quads(p, channel % 2, f->cin, f->wide16 && f->cin != 8, false, w);
}

// The pixels of a line that was brought into `x` earlier, cin bytes each.
static pn_pixels_t widened(const pn_fused_t *f, uint8_t *x) {
    pn_pixels_t line = { (int8_t *)x, f->cin };
    return line;
}

static void take_line(const pn_fused_t *f, pn_pixels_t in, uint8_t *x) {
    for (uint32_t i = 0; i < f->in; i++, in.at += in.step) {
        memcpy(x + i * f->cin, in.at, f->cin);
    }
}

void pn_fused_begin(const pn_fused_t *f, pn_pixels_t first) {
    pn_fused_area_t a = pn_fused_area(f);
    memset(f->wide, 0, a.wide);
    if (f->stride == 1) {
        int8_t *w = (int8_t *)f->work + a.stage;
        for (uint32_t c = 0; c < f->cexp; c++) {
            expand_weights(f, c, w);
            expand(f, c, w, first, f->wide + c * a.kept + a.kept / 2);
        }
    }
}

// Depthwise values of channel `c`, the first of the group being `from`.
static void values_of(const pn_fused_t *f, const pn_fused_area_t *a, const pn_pixels_t *lines, uint32_t c, uint32_t from) {
    uint8_t *h = f->work + a->h, *kept = f->wide + c * a->kept, *out = f->work + a->dbuf + (c - from);
    int8_t *w = (int8_t *)f->work + a->stage;
    const uint8_t *rows[3];
    uint32_t fresh = pn_fused_lines(f);
    expand_weights(f, c, w);
    for (uint32_t i = 0; i < fresh; i++) {
        expand(f, c, w, lines[i], h + i * f->in);
        rows[3 - fresh + i] = h + i * f->in;
    }
    for (uint32_t i = 0; i < 3 - fresh; i++) {
        rows[i] = kept + i * (a->kept / 2);
    }
    depthwise(f, c, rows, out);
    if (f->rolling && f->stride == 1) {
        memcpy(kept, kept + a->kept / 2, f->in);
        memcpy(kept + a->kept / 2, h, f->in);
    } else if (f->rolling) {
        memcpy(kept, h + f->in, f->in);
    }
}

static int32_t *sums_of(const pn_fused_t *f, const pn_fused_area_t *a, uint32_t output) {
    return (int32_t *)(void *)(f->work + a->acc) + output * f->out;
}

// One output channel of the line for a group of `n` expanded channels from `from` on.
static void project(const pn_fused_t *f, const pn_fused_area_t *a, uint32_t from, uint32_t n, uint32_t output, pn_pixels_t out,
    pn_pixels_t residual) {
    const int32_t *scale = f->scale + output / 2 * 4 + output % 2;
    const uint8_t *weights = f->project + ((size_t)from * f->cout << f->wide16) + (output / 2 * n * 2u << f->wide16);
    int8_t *w = (int8_t *)f->work + a->stage;
    const uint8_t *d = f->work + a->dbuf;
    quads(weights, output % 2, n, f->wide16, true, w);
    for (uint32_t x = 0; x < f->out; x++, d += f->group) {
        int32_t acc = from == 0 ? scale[0] : sums_of(f, a, output)[x];
        for (uint32_t c = 0; c < n; c++) {
            acc += w[c] * d[c];
        }
        if (from + n < f->cexp) {
            sums_of(f, a, output)[x] = acc;
            continue;
        }
        int32_t extra = residual.at == NULL ? 0 : f->res_mult * residual.at[(int)x * residual.step + (int)output];
        out.at[(int)x * out.step + (int)output] = pn_narrow_end(pn_narrow_q8(acc, f->shift, scale[2]) + f->zero_q8 + extra);
    }
}

void pn_fused_line(const pn_fused_t *f, const pn_pixels_t *in, int top, uint32_t fresh, pn_pixels_t out, pn_pixels_t residual) {
    pn_fused_area_t a = pn_fused_area(f);
    pn_pixels_t lines[3];
    for (uint32_t i = 0; i < pn_fused_lines(f); i++) {
        lines[i] = in[i];
        if (!f->rolling && in[i].at != NULL) {
            uint8_t *x = f->wide + (uint32_t)(top + (int)i) % 3 * a.line;
            if (i >= fresh) {
                take_line(f, in[i], x);
            }
            lines[i] = widened(f, x);
        }
    }
    for (uint32_t from = 0; from < f->cexp; from += f->group) {
        uint32_t n = f->cexp - from < f->group ? f->cexp - from : f->group;
        for (uint32_t c = from; c < from + n; c++) {
            values_of(f, &a, lines, c, from);
        }
        for (uint32_t output = 0; output < f->cout; output++) {
            project(f, &a, from, n, output, out, residual);
        }
    }
}

#endif
