// Sizes and arrays of a fused bottleneck, and its portable implementation.
#include "pn_fused.h"

#include <string.h>

#include "pn_kernels.h"
#include "pn_round.h"

pn_fused_area_t pn_fused_area(const pn_fused_t *f) {
    uint32_t words = pn_fused_words(f), pairs = (f->out + 1u) / 2, lines = pn_fused_lines(f), by_one = f->stride == 1;
    uint32_t pixels = pn_fused_quads(f) * 16, weights = pixels + 20, project = f->group * 4u + 36;
    pn_fused_area_t a = { .line = words * pixels, .kept = 4 * (by_one ? words : (words + 1) / 2), .h_align = 8, .words = words };
    if (f->kernel > 3) {
        a.sum_count = by_one ? (pairs + 1) / 2 * 4 : pairs * 2;
        a.row_words = (a.sum_count * f->stride / 2 + f->kernel / 2u + 1) / 2;
        a.kept = 4 * a.row_words * (f->kernel - f->stride);
        a.words = 2 * a.row_words;
    }
    if (pn_fused_eight(f)) {
        a.line = f->in * 16u;
        a.h_align = f->rolling && !by_one ? 16 : 8;
        weights = 0;
    } else if (!f->expands) {
        a.line = 0;
        a.words = (by_one ? pairs : f->out) + 1;
        weights = 0;
    }
    a.wide = f->rolling ? a.kept * f->cexp : f->held * a.line;
    a.h = f->rolling ? a.line * lines : 0;
    a.rows = a.h + 8 * a.words * lines + a.h_align - 4;
    a.dbuf = a.rows + (f->rolling ? 0 : 4 * a.row_words * f->kernel);
    a.acc = a.dbuf + pairs * f->group * 4;
    a.sums = a.acc + (f->group < f->cexp ? pairs * f->cout * 8 : 0);
    a.stage = a.sums + 8 * a.sum_count;
    a.work = a.stage + (weights > project ? weights : project);
    return a;
}

pn_fused_arrays_t pn_fused_arrays(const pn_fused_t *f) {
    pn_fused_arrays_t a;
    a.pair = f->expands ? 16 + (pn_fused_quads(f) * 8 << (f->wide16 && !pn_fused_eight(f))) : 0;
    a.channel = f->kernel * (f->kernel - 1u) * 2 + 8;
    a.expand = f->cexp / 2u * a.pair;
    a.depthwise = f->cexp * a.channel;
    a.project = (uint32_t)f->cexp * f->cout << f->wide16;
    a.scale = f->cout * 8u;
    return a;
}

#if !PN_DSP

// Where the weight at pixel `x` of the kernel's line `y` lies among a channel's.
static uint32_t tap_at(const pn_fused_t *f, uint32_t y, uint32_t x) {
    static const uint8_t rolling[9] = { 2, 3, 6, 0, 1, 4, 5, 7, 10 };
    static const uint8_t by_two[9] = { 0, 2, 5, 1, 3, 7, 4, 6, 8 };
    if (f->kernel == 3 && (f->stride == 2 || f->rolling)) {
        return f->stride == 2 ? by_two[3 * y + x] : rolling[3 * y + x];
    }
    return y * (f->kernel - 1u) * 2 + 2 * x - (x > 0);
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

// One line of one expanded channel, or of the input where there is no expansion; what is outside the map if it lies there.
static void expand(const pn_fused_t *f, const pn_fused_area_t *a, uint32_t channel, pn_pixels_t in, uint8_t *out) {
    pn_fused_arrays_t arrays = pn_fused_arrays(f);
    const uint8_t *p = f->expand + channel / 2 * arrays.pair;
    int8_t *w = (int8_t *)f->work + a->stage;
    if (in.at == NULL) {
        memset(out, f->expands ? 0 : f->zero_in, f->in);
        return;
    }
    if (f->expands) {
        quads(p + 16, channel % 2, f->cin, f->wide16 && !pn_fused_eight(f), false, w);
    }
    for (uint32_t x = 0; x < f->in; x++, in.at += in.step) {
        if (f->expands) {
            out[x] = wide_end(pn_dot(in.at, w, f->cin, read32(p + channel % 2 * 4)), read32(p + channel % 2 * 4 + 8));
        } else {
            out[x] = (uint8_t)in.at[channel];
        }
    }
}

// rows: of the kernel, NULL for one of zeros
static void depthwise(const pn_fused_t *f, uint32_t channel, const uint8_t *const *rows, uint8_t *out) {
    pn_fused_arrays_t arrays = pn_fused_arrays(f);
    const uint8_t *p = f->depthwise + channel * arrays.channel, *scale = p + arrays.channel - 8;
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
        *out = wide_end(acc, read32(scale + 4));
    }
}

// The kept line `y` of a channel.
static uint8_t *kept_line(const pn_fused_t *f, const pn_fused_area_t *a, uint32_t channel, uint32_t y) {
    uint32_t lines = (uint32_t)f->kernel - f->stride;
    return f->wide + channel * a->kept + y % lines * (a->kept / lines);
}

void pn_fused_begin(const pn_fused_t *f) {
    memset(f->wide, 0, pn_fused_area(f).wide);
}

void pn_fused_take(const pn_fused_t *f, pn_pixels_t in, uint32_t y) {
    pn_fused_area_t a = pn_fused_area(f);
    for (uint32_t c = 0; c < f->cexp; c++) {
        expand(f, &a, c, in, kept_line(f, &a, c, y));
    }
}

// Depthwise values of channel `c`, the first of the group being `from`.
static void values_of(const pn_fused_t *f, const pn_fused_area_t *a, const pn_pixels_t *lines, int top, uint32_t c, uint32_t from) {
    uint8_t *h = f->work + a->h;
    const uint8_t *rows[PN_MAX_KERNEL];
    uint32_t fresh = pn_fused_lines(f), old = f->kernel - fresh;
    for (uint32_t i = 0; i < old; i++) {
        rows[i] = top + (int)i < 0 ? NULL : kept_line(f, a, c, (uint32_t)(top + (int)i));
    }
    for (uint32_t i = 0; i < fresh; i++) {
        expand(f, a, c, lines[i], h + i * f->in);
        rows[old + i] = h + i * f->in;
    }
    depthwise(f, c, rows, f->work + a->dbuf + (c - from));
    for (uint32_t i = 0; i < fresh && f->rolling; i++) {
        memcpy(kept_line(f, a, c, (uint32_t)(top + (int)(old + i))), h + i * f->in, f->in);
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
    pn_pixels_t lines[PN_MAX_KERNEL];
    for (uint32_t i = 0; i < pn_fused_lines(f); i++) {
        lines[i] = in[i];
        if (a.line && !f->rolling && in[i].at != NULL) {
            uint8_t *x = f->wide + (uint32_t)(top + (int)i) % f->held * a.line;
            if (i >= fresh) {
                take_line(f, in[i], x);
            }
            lines[i] = widened(f, x);
        }
    }
    for (uint32_t from = 0; from < f->cexp; from += f->group) {
        uint32_t n = f->cexp - from < f->group ? f->cexp - from : f->group;
        for (uint32_t c = from; c < from + n; c++) {
            values_of(f, &a, lines, top, c, from);
        }
        for (uint32_t output = 0; output < f->cout; output++) {
            project(f, &a, from, n, output, out, residual);
        }
    }
}

#endif
