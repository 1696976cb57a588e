// Sizes and arrays of a fast bottleneck, and its portable implementation.
#include "engine/kernels/pn_fast.h"

#include <string.h>

#include "engine/kernels/pn_kernels.h"
#include "engine/kernels/pn_round.h"

pn_fast_area_t pn_fast_area(const pn_fast_t *f) {
    uint32_t pairs = (f->out + 1u) / 2, lines = pn_fast_lines(f), by_one = f->stride == 1;
    uint32_t words = pn_fast_words(f) + f->pad / 2u, pixels = pn_fast_quads(f) * 16, weights = pixels + PN_EXPAND_SPILL;
    uint32_t project = f->group * 4u + PN_PROJECT_SPILL;
    pn_fast_area_t a = {
        .line = pn_fast_words(f) * pixels,
        .kept = 4 * (by_one ? words : (words + 1) / 2),
        .h_align = 8,
        .words = words,
    };
    if (f->kernel > 3) {
        a.sum_count = by_one ? (pairs + 1) / 2 * 4 : pairs * 2;
        a.row_words = (a.sum_count * f->stride / 2 + f->kernel / 2u + 1) / 2;
        a.kept = 4 * a.row_words * (f->kernel - f->stride);
        a.words = 2 * a.row_words;
    }
    if (pn_fast_eight(f)) {
        a.line = f->in * 16u;
        a.h_align = by_one ? 8 : 16;
        weights = 0;
    } else if (!f->expands) {
        a.line = a.kept = 0;
        a.words = (by_one ? pairs : f->out) + 1;
        weights = 0;
    }
    a.keep = a.kept * (f->sweep ? f->group : f->cexp);
    a.wide = f->sweep ? 0 : a.keep;
    a.h = a.line * lines;
    a.dbuf = a.h + 8 * a.words * lines + a.h_align - 4;
    a.acc = a.dbuf + pairs * f->group * 4;
    a.acc_line = f->group < f->cexp ? pairs * f->cout * 8 : 0;
    a.sums = a.acc + (uint64_t)f->lines * a.acc_line;
    a.unpacked = a.sums + 8 * a.sum_count;
    a.kept_at = a.unpacked + (weights > project ? weights : project);
    a.work = a.kept_at + (f->sweep ? a.keep : 0);
    return a;
}

pn_fast_arrays_t pn_fast_arrays(const pn_fast_t *f) {
    pn_fast_arrays_t a;
    a.pair = f->expands ? 16 + (pn_fast_quads(f) * 8 << (f->wide16 && !pn_fast_eight(f))) : 0;
    a.channel = f->kernel * (f->kernel - 1u) * 2 + 8;
    a.project = (uint32_t)f->cout << f->wide16;
    a.each = a.pair / 2 + a.channel + a.project;
    a.narrow = f->cout * 8u;
    return a;
}

void pn_fast_begin(const pn_fast_t *f) {
    pn_fast_area_t a = pn_fast_area(f);
    memset(pn_fast_kept(f, &a), 0, a.keep);
}

#if !PN_DSP

// Where the weight at pixel `x` of the kernel's line `y` lies among a channel's.
static uint32_t tap_at(const pn_fast_t *f, uint32_t y, uint32_t x) {
    static const uint8_t rolling[9] = { 2, 3, 6, 0, 1, 4, 5, 7, 10 };
    static const uint8_t by_two[9] = { 0, 2, 5, 1, 3, 7, 4, 6, 8 };
    if (f->kernel == 3 && (f->stride == 2 || f->expands)) {
        return f->stride == 2 ? by_two[3 * y + x] : rolling[3 * y + x];
    }
    return y * (f->kernel - 1u) * 2 + 2 * x - (x > 0);
}

static int32_t read32(const uint8_t *p) {
    return *(const int32_t *)(const void *)p;
}

// `n` weights of output `j` of a pair, in their own order, from quads for both. The projection's quads have their
// middle ones exchanged.
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

static uint8_t wide_end(int32_t acc, int shift, int32_t mult) {
    return (uint8_t)pn_clamp(pn_wide(acc, shift, mult), 0, 255);
}

// A group at work.
typedef struct {
    const pn_fast_t *f;
    pn_fast_area_t area;
    pn_fast_arrays_t bytes;
    pn_fast_weights_t weights;
    uint32_t from, n;
} group_t;

static group_t group_of(const pn_fast_t *f, uint32_t from) {
    group_t g = { f, pn_fast_area(f), pn_fast_arrays(f), { NULL, NULL, NULL }, from, pn_fast_group(f, from) };
    g.weights = pn_fast_weights(f, &g.bytes, from, g.n);
    return g;
}

// One line of one expanded channel, or of the input where there is no expansion; what is outside the map if it lies
// there.
static void expand(const group_t *g, uint32_t channel, pn_pixels_t in, uint8_t *out) {
    const pn_fast_t *f = g->f;
    const uint8_t *p = g->weights.expand + (channel - g->from) / 2 * g->bytes.pair;
    int8_t *w = (int8_t *)f->work + g->area.unpacked;
    if (in.at == NULL) {
        memset(out, f->expands ? 0 : f->zero_in, f->in);
        return;
    }
    if (f->expands) {
        quads(p + 16, channel % 2, f->cin, f->wide16 && !pn_fast_eight(f), false, w);
    }
    for (uint32_t x = 0; x < f->in; x++, in.at += in.step) {
        if (f->expands) {
            int32_t acc = pn_dot(in.at, w, f->cin, read32(p + channel % 2 * 4));
            out[x] = wide_end(acc, f->shift_expand, read32(p + channel % 2 * 4 + 8));
        } else {
            out[x] = (uint8_t)in.at[channel];
        }
    }
}

// rows: of the kernel, NULL for one of zeros
static void depthwise(const group_t *g, uint32_t channel, const uint8_t *const *rows, uint8_t *out) {
    const pn_fast_t *f = g->f;
    const uint8_t *p = g->weights.depthwise + (channel - g->from) * g->bytes.channel, *scale = p + g->bytes.channel - 8;
    for (int x = 0; x < f->out; x++, out += f->group) {
        int32_t acc = read32(scale);
        for (uint32_t tap = 0; tap < f->kernel * (uint32_t)f->kernel; tap++) {
            uint32_t line = tap / f->kernel, pixel = tap % f->kernel;
            int at = x * f->stride - f->pad + (int)pixel, value = f->expands ? 0 : f->zero_in;
            if (rows[line] != NULL && at >= 0 && at < f->in) {
                value = f->expands ? rows[line][at] : (int8_t)rows[line][at];
            }
            acc += (int8_t)p[tap_at(f, line, pixel)] * value;
        }
        *out = wide_end(acc, f->shift_depthwise, read32(scale + 4));
    }
}

// The kept line `y` of a channel.
static uint8_t *kept_line(const group_t *g, uint32_t channel, uint32_t y) {
    uint32_t lines = (uint32_t)g->f->kernel - g->f->stride;
    uint32_t first = g->f->sweep ? g->from : 0;
    return pn_fast_kept(g->f, &g->area) + (channel - first) * g->area.kept + y % lines * (g->area.kept / lines);
}

void pn_fast_take(const pn_fast_t *f, pn_pixels_t in, uint32_t y, uint32_t from, uint32_t to) {
    for (; from < to; from += f->group) {
        group_t g = group_of(f, from);
        for (uint32_t c = from; c < from + g.n; c++) {
            expand(&g, c, in, kept_line(&g, c, y));
        }
    }
}

// Depthwise values of channel `c`.
static void values_of(const group_t *g, const pn_pixels_t *lines, int top, uint32_t c) {
    const pn_fast_t *f = g->f;
    uint8_t *h = f->work + g->area.h;
    const uint8_t *rows[PN_MAX_FAST_KERNEL];
    uint32_t fresh = pn_fast_lines(f), old = f->kernel - fresh;
    for (uint32_t i = 0; i < old; i++) {
        rows[i] = top + (int)i < 0 ? NULL : kept_line(g, c, (uint32_t)(top + (int)i));
    }
    for (uint32_t i = 0; i < fresh; i++) {
        expand(g, c, lines[i], h + i * f->in);
        rows[old + i] = h + i * f->in;
    }
    depthwise(g, c, rows, f->work + g->area.dbuf + (c - g->from));
    for (uint32_t i = 0; i < fresh && f->expands; i++) {
        if (top + (int)(old + i) >= 0) {
            memcpy(kept_line(g, c, (uint32_t)(top + (int)(old + i))), h + i * f->in, f->in);
        }
    }
}

static int32_t *sums_of(const group_t *g, uint32_t output) {
    return (int32_t *)(void *)(g->f->work + g->area.acc + g->f->line * g->area.acc_line) + output * g->f->out;
}

// One output channel of the line for a group of expanded channels.
static void project(const group_t *g, uint32_t output, pn_pixels_t out, pn_pixels_t residual) {
    const pn_fast_t *f = g->f;
    const int32_t *narrow = f->narrow + output / 2 * 4 + output % 2;
    int8_t *w = (int8_t *)f->work + g->area.unpacked;
    const uint8_t *d = f->work + g->area.dbuf;
    quads(g->weights.project + (output / 2 * g->n * 2u << f->wide16), output % 2, g->n, f->wide16, true, w);
    for (uint32_t x = 0; x < f->out; x++, d += f->group) {
        int32_t acc = g->from == 0 ? narrow[0] : sums_of(g, output)[x];
        for (uint32_t c = 0; c < g->n; c++) {
            acc += w[c] * d[c];
        }
        if (g->from + g->n < f->cexp) {
            sums_of(g, output)[x] = acc;
            continue;
        }
        int32_t extra = residual.at == NULL ? 0 : f->res_mult * residual.at[(int)x * residual.step + (int)output];
        int32_t q8 = pn_narrow_q8(acc, f->shift, narrow[2]) + f->zero_q8 + extra;
        out.at[(int)x * out.step + (int)output] = pn_narrow_end(q8);
    }
}

void pn_fast_line(const pn_fast_t *f, const pn_fast_lines_t *l, uint32_t from, uint32_t to) {
    for (; from < to; from += f->group) {
        group_t g = group_of(f, from);
        for (uint32_t c = from; c < from + g.n; c++) {
            values_of(&g, l->in, l->top, c);
        }
        for (uint32_t output = 0; output < f->cout; output++) {
            project(&g, output, l->out, l->residual);
        }
    }
}

#endif
