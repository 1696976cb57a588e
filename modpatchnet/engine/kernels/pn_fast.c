// Sizes and arrays of a fast bottleneck, and its portable implementation.
#include "engine/kernels/pn_fast.h"

#include <string.h>

#include "engine/kernels/pn_kernels.h"
#include "engine/kernels/pn_round.h"

pn_fast_area_t pn_fast_area(const pn_fast_t *f) {
    uint32_t pairs = (f->out + 1u) / 2, lines = pn_fast_lines(f), by_one = f->stride == 1;
    uint32_t words = pn_fast_words(f) + f->pad / 2u;
    pn_fast_area_t a = {
        .line = pn_fast_words(f) * pn_fast_quads(f) * 16,
        .kept = 4 * (by_one ? words : (words + 1) / 2),
        .words = words,
    };
    if (f->kernel > 3) {
        a.sum_count = by_one ? (pairs + 1) / 2 * 4 : pairs * 2;
        a.row_words = (a.sum_count * f->stride / 2 + f->kernel / 2u + 1) / 2;
        a.kept = 4 * a.row_words * (f->kernel - f->stride);
        a.words = 2 * a.row_words;
    }
    if (f->as_bytes) {
        a.line = 0;
    } else if (pn_fast_eight(f)) {
        a.line = f->in * 16u;
    } else if (!f->expands) {
        a.line = a.kept = 0;
        a.words = (by_one ? pairs : f->out) + 1;
    }
    a.keep = a.kept * (f->sweep ? f->group : f->cexp);
    a.wide = f->sweep ? 0 : a.keep;
    a.dbuf = a.line * lines;
    a.h = a.dbuf + pairs * f->group * 4;
    a.acc = a.h + 8 * a.words * lines + 4;
    a.acc_line = f->group < f->cexp ? pairs * f->cout * (f->sums24 ? 6 : 8) : 0;
    a.sums = a.acc + (uint64_t)f->lines * a.acc_line;
    a.kept_at = a.sums + 8ull * a.sum_count;
    a.work = a.kept_at + (f->sweep ? a.keep : 0);
    return a;
}

pn_fast_arrays_t pn_fast_arrays(const pn_fast_t *f) {
    pn_fast_arrays_t a;
    a.pair = f->expands ? pn_pair_bytes(pn_fast_quads(f)) : 0;
    a.channel = f->kernel * (f->kernel - 1u) * 2 + 8;
    a.project = f->cout;
    a.each = a.pair / 2 + a.channel + a.project;
    a.narrow = f->cout * 8u;
    return a;
}

void pn_fast_begin(const pn_fast_t *f) {
    pn_fast_area_t a = pn_fast_area(f);
    memset(pn_fast_kept(f, &a), 0, a.keep);
}

#if !PN_DSP

#include "engine/kernels/pn_beside.h"

// Where the weight at pixel `x` of the kernel's line `y` lies among a channel's.
static uint32_t tap_at(const pn_fast_t *f, uint32_t y, uint32_t x) {
    static const uint8_t rolling[9] = { 2, 3, 6, 0, 1, 4, 5, 7, 10 };
    static const uint8_t by_two[9] = { 0, 2, 5, 1, 3, 7, 4, 6, 8 };
    if (f->kernel == 3 && (f->stride == 2 || f->expands)) {
        return f->stride == 2 ? by_two[3 * y + x] : rolling[3 * y + x];
    }
    return y * (f->kernel - 1u) * 2 + 2 * x - (x > 0);
}

// Of a line of pixels, as many as are worked on together: its parts are about equal.
static uint32_t beside(uint32_t pixels) {
    uint32_t parts = (pixels + PN_BESIDE - 1) / PN_BESIDE;
    return (pixels + parts - 1) / parts;
}

// A group at work on a line, and what is the same for all its channels. `kept`: from a channel's kept lines to the
// place of each line under the kernel, the first of which is `top`; `taps`: tap_at; beside_in, beside_out: of input and
// output; keep: kept lines, of channels from `kept_from` on; room: for input lines, or NULL.
typedef struct {
    const pn_fast_t *f;
    pn_fast_area_t area;
    pn_fast_arrays_t bytes;
    pn_fast_weights_t weights;
    uint32_t from, n;
    int top;
    uint32_t kept[PN_MAX_FAST_KERNEL];
    uint8_t taps[PN_MAX_FAST_KERNEL * PN_MAX_FAST_KERNEL];
    uint32_t beside_in, beside_out;
    uint8_t *keep;
    uint32_t kept_from;
    int16_t *room;
} group_t;

static uint32_t kept_at(const pn_fast_t *f, const pn_fast_area_t *a, uint32_t y) {
    uint32_t lines = (uint32_t)f->kernel - f->stride;
    return y % lines * (a->kept / lines);
}

static group_t line_of(const pn_fast_t *f, int top) {
    group_t g = { .f = f, .area = pn_fast_area(f), .bytes = pn_fast_arrays(f), .top = top };
    for (uint32_t y = 0; y < f->kernel; y++) {
        g.kept[y] = f->expands && top + (int)y >= 0 ? kept_at(f, &g.area, (uint32_t)(top + (int)y)) : 0;
        for (uint32_t x = 0; x < f->kernel; x++) {
            g.taps[y * f->kernel + x] = (uint8_t)tap_at(f, y, x);
        }
    }
    g.beside_in = beside(f->in);
    g.beside_out = beside(f->out);
    return g;
}

static void set_group(group_t *g, uint32_t from) {
    g->from = from;
    g->n = pn_fast_group(g->f, from);
    g->weights = pn_fast_weights(g->f, &g->bytes, from, g->n);
    g->keep = pn_fast_kept(g->f, &g->area);
    g->kept_from = g->f->sweep ? from : 0;
}

static uint32_t least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

static int32_t read32(const uint8_t *p) {
    return *(const int32_t *)(const void *)p;
}

static void fill(int32_t *sums, uint32_t n, int32_t v) {
    for (uint32_t i = 0; i < n; i += 8) {
        for (uint32_t k = 0; k < 8; k++) {
            sums[i + k] = v;
        }
    }
}

// pn_narrow_q8 of sums, in their place: with 2^31 more none is below 0.
static void narrow_q8(int32_t *sums, uint32_t n, int shift, int32_t mult) {
    uint64_t m = (uint32_t)mult;
    for (uint32_t i = 0; i < PN_FOURS(n); i++) {
        uint32_t v = (uint32_t)sums[i] << shift;
        sums[i] = (int32_t)(uint32_t)(((v ^ 0x80000000u) * m - (m << 31)) >> 32);
    }
}

// ---------------------------------------------------------------- expansion

// New line `i` as pn_values_t, and where it lies.
static int16_t *wide_at(const group_t *g, uint32_t i) {
    const pn_fast_t *f = g->f;
    return g->room != NULL ? g->room + i * 4 * pn_fast_quads(f) * PN_FOURS(f->in)
                           : (int16_t *)(void *)(f->work + i * g->area.line);
}

static pn_values_t widened(const group_t *g, uint32_t i) {
    const pn_fast_t *f = g->f;
    uint32_t inside = pn_fast_eight(f) ? f->in : 2 * pn_fast_words(f);
    pn_values_t out = { wide_at(g, i), g->room != NULL ? PN_FOURS(f->in) : inside, pn_fast_quads(f) };
    return out;
}

// A line of int8 pixels becomes one of pn_values_t, as quads of weights want it: of four channels the first and third
// one, then the others. Behind an odd number of channels are zeros.
static void widen_line(const pn_fast_t *f, pn_pixels_t in, uint32_t pitch, int16_t *to) {
    for (uint32_t c = 0; c < 4 * pn_fast_quads(f); c++) {
        int16_t *one = to + (c / 4 * 2 + c % 2) * 2 * pitch + c / 2 % 2;
        const int8_t *from = in.at + c;
        for (uint32_t i = 0; i < f->in; i++, from += in.step) {
            one[2 * i] = c < f->cin ? *from : 0;
        }
    }
}

// So do the new lines for the channels from `from` on, in `room` if it is large enough, else in the work area, where
// pixels that are read as bytes have no place.
static void widen(group_t *g, const pn_pixels_t *in, uint32_t lines, uint32_t from, int16_t *room) {
    const pn_fast_t *f = g->f;
    bool fits = f->cin % 4 == 0 && lines * f->cin * PN_FOURS(f->in) <= PN_BESIDE_ROOM;
    g->room = f->expands && fits ? room : NULL;
    for (uint32_t i = 0; i < lines; i++) {
        uint32_t pitch = widened(g, i).pitch;
        int16_t *to = wide_at(g, i);
        if (in[i].at == NULL) {
            continue;
        } else if (g->room == NULL && pn_fast_widens(f, from)) {
            widen_line(f, in[i], pitch, to);
        }
        for (uint32_t c = 0; c < f->cin && g->room != NULL; c += 4, to += 4 * pitch) {
            pn_spread(in[i].at + c, in[i].step, f->in, to, to + 2 * pitch);
        }
    }
}

// a[i], b[i] += the products of `n` int8 pixels and the weights of two outputs.
static void add_bytes(const pn_fast_t *f, pn_pixels_t in, const uint8_t *w, uint32_t n, int32_t *a, int32_t *b) {
    for (uint32_t q = 0; q < f->cin / 4u; q++, in.at += 4, w += 8) {
        int16_t four[2][2 * PN_BESIDE];
        pn_spread(in.at, in.step, n, four[0], four[1]);
        pn_values_t values = { four[0], PN_BESIDE, 1 };
        pn_add_values(values, w, n, a, b);
    }
}

// New line `line` of expanded channels `c` and c + 1. in: the input line, at NULL outside the map
static void expand(const group_t *g, uint32_t c, pn_pixels_t in, uint32_t line, uint8_t *a, uint8_t *b) {
    const pn_fast_t *f = g->f;
    const uint8_t *p = g->weights.expand + (c - g->from) / 2 * g->bytes.pair;
    if (in.at == NULL) {
        memset(a, 0, f->in);
        memset(b, 0, f->in);
        return;
    }
    pn_values_t wide = widened(g, line);
    for (uint32_t i = 0, n; i < f->in; i += n, wide.at += 2 * n, in.at += (int)n * in.step) {
        int32_t sums[2][PN_BESIDE];
        uint8_t values[2][PN_BESIDE];
        n = least(g->beside_in, f->in - i);
        for (uint32_t k = 0; k < 2; k++) {
            fill(sums[k], n, read32(p + 4 * k));
        }
        if (f->as_bytes && g->room == NULL) {
            add_bytes(f, in, p + 16, n, sums[0], sums[1]);
        } else {
            pn_add_values(wide, p + 16, n, sums[0], sums[1]);
        }
        for (uint32_t k = 0; k < 2; k++) {
            pn_wide_ends(sums[k], n, f->shift_expand, read32(p + 8 + 4 * k), values[k]);
        }
        pn_copy_row(a + i, values[0], n);
        pn_copy_row(b + i, values[1], n);
    }
}

// A line of channel `c` of the input, where there is no expansion.
static void copy_line(const pn_fast_t *f, uint32_t c, pn_pixels_t in, uint8_t *out) {
    for (uint32_t i = 0; i < f->in; i++) {
        out[i] = (uint8_t)(in.at == NULL ? f->zero_in : in.at[(int)i * in.step + (int)c]);
    }
}

// ---------------------------------------------------------------- depthwise convolution

static inline __attribute__((always_inline)) void set_weights(const uint8_t *p, const uint8_t *taps, uint32_t size,
    pn_kernel_t *k) {
    for (uint32_t line = 0; line < size; line++, taps += size) {
        for (uint32_t x = 0; x < size; x += 2) {
            uint32_t one = (uint32_t)(int8_t)p[taps[x]] & 0xffff;
            k->weights[line][x / 2] = one | (x + 1 < size ? (uint32_t)(int8_t)p[taps[x + 1]] << 16 : 0);
        }
    }
}

// The kernel of channel `c`.
static void set_kernel(const group_t *g, uint32_t c, pn_kernel_t *k) {
    const pn_fast_t *f = g->f;
    const uint8_t *p = g->weights.depthwise + (c - g->from) * g->bytes.channel, *scale = p + g->bytes.channel - 8;
    k->size = f->kernel;
    k->stride = f->stride;
    k->bias = read32(scale);
    k->mult = read32(scale + 4);
    k->shift = f->shift_depthwise;
    k->is_signed = !f->expands;
    if (PN_BESIDE > 16 && f->kernel == 3) { // on a PC, where code may be large
        set_weights(p, g->taps, 3, k);
    } else {
        set_weights(p, g->taps, f->kernel, k);
    }
}

// Of rows, or zeros (NULL), what `n` output pixels from `x` on are made of; it may lie before or behind a row.
static void rows_under(const pn_fast_t *f, const uint8_t *const *rows, uint32_t x, uint32_t n, pn_row_t *out) {
    uint32_t bytes = PN_ROW(n, f->stride);
    int first = (int)(x * f->stride) - f->pad, lo = first < 0 ? -first : 0;
    int hi = f->in - first < (int)bytes ? f->in - first : (int)bytes, outside = f->expands ? 0 : f->zero_in;
    for (uint32_t line = 0; line < f->kernel; line++) {
        bool inside = hi > lo && rows[line] != NULL;
        const uint8_t *from = inside ? rows[line] + first + lo : NULL;
        pn_put_row(out[line], outside, (uint32_t)lo, from, inside ? (uint32_t)(hi - lo) : 0, bytes);
    }
}

// ---------------------------------------------------------------- lines

static uint8_t *kept_lines(const group_t *g, uint32_t channel) {
    return g->keep + (channel - g->kept_from) * g->area.kept;
}

void pn_fast_take(const pn_fast_t *f, pn_pixels_t in, uint32_t y, uint32_t from, uint32_t to) {
    group_t g = line_of(f, 0);
    int16_t room[PN_BESIDE_ROOM];
    uint32_t place = kept_at(f, &g.area, y);
    widen(&g, &in, 1, from, room);
    for (; from < to; from += f->group) {
        set_group(&g, from);
        for (uint32_t c = from; c < from + g.n; c += 2) {
            expand(&g, c, in, 0, kept_lines(&g, c) + place, kept_lines(&g, c + 1) + place);
        }
    }
}

// The kernel's rows of channels `c` and c + 1.
typedef const uint8_t *rows_t[2][PN_MAX_FAST_KERNEL];

static void rows_of(const group_t *g, const pn_fast_lines_t *l, uint32_t c, rows_t rows) {
    const pn_fast_t *f = g->f;
    uint32_t fresh = pn_fast_lines(f), old = f->kernel - fresh;
    uint8_t *h = f->work + g->area.h, *kept = kept_lines(g, c);
    for (uint32_t i = 0; i < old; i++) {
        bool above = g->top + (int)i < 0;
        rows[0][i] = above ? NULL : kept + g->kept[i];
        rows[1][i] = above ? NULL : kept + g->area.kept + g->kept[i];
    }
    for (uint32_t i = 0; i < fresh; i++, h += 2 * f->in) {
        rows[0][old + i] = h;
        rows[1][old + i] = h + f->in;
        if (f->expands) {
            expand(g, c, l->in[i], i, h, h + f->in);
        } else {
            copy_line(f, c, l->in[i], h);
            copy_line(f, c + 1, l->in[i], h + f->in);
        }
    }
}

// The new rows are kept, in the place of older ones.
static void keep_rows(const group_t *g, uint32_t c, rows_t rows) {
    const pn_fast_t *f = g->f;
    uint8_t *kept = kept_lines(g, c);
    for (uint32_t i = f->kernel - pn_fast_lines(f); i < f->kernel && f->expands; i++) {
        if (g->top + (int)i >= 0) {
            pn_copy_row(kept + g->kept[i], rows[0][i], f->in);
            pn_copy_row(kept + g->area.kept + g->kept[i], rows[1][i], f->in);
        }
    }
}

static pn_values_t depthwise_values(const group_t *g) {
    uint32_t pitch = (g->f->out + 1u) / 2 * 2;
    pn_values_t out = { (const int16_t *)(const void *)(g->f->work + g->area.dbuf), pitch, g->n / 4 };
    return out;
}

// Depthwise values of channels `c` and c + 1.
static void values_of(const group_t *g, const pn_fast_lines_t *l, uint32_t c) {
    const pn_fast_t *f = g->f;
    rows_t rows;
    pn_kernel_t kernels[2];
    int16_t *out = (int16_t *)(void *)(f->work + g->area.dbuf) + (c - g->from) * depthwise_values(g).pitch;
    rows_of(g, l, c, rows);
    set_kernel(g, c, &kernels[0]);
    set_kernel(g, c + 1, &kernels[1]);
    for (uint32_t x = 0, n; x < f->out; x += n, out += 2 * n) {
        uint8_t values[2][PN_BESIDE];
        n = least(g->beside_out, f->out - x);
        for (uint32_t k = 0; k < 2; k++) {
            pn_row_t under[PN_MAX_FAST_KERNEL];
            rows_under(f, rows[k], x, n, under);
            pn_depthwise_beside(&kernels[k], under, n, values[k]);
        }
        pn_pairs(values[0], values[1], n, out);
    }
    keep_rows(g, c, rows);
}

// Output channel `output` of `n` pixels from `x` on, of which these are the sums.
static void project_end(const pn_fast_t *f, uint32_t output, uint32_t x, uint32_t n, int32_t *sums,
    const pn_fast_lines_t *l) {
    int8_t *out = l->out.at + (int)x * l->out.step + (int)output;
    const int8_t *added = l->residual.at == NULL ? NULL : l->residual.at + (int)x * l->residual.step + (int)output;
    narrow_q8(sums, n, f->shift, f->narrow[output / 2 * 4 + output % 2 + 2]);
    for (uint32_t i = 0; i < n; i++, out += l->out.step) {
        int32_t extra = added == NULL ? 0 : f->res_mult * added[(int)i * l->residual.step];
        *out = pn_narrow_end(sums[i] + f->zero_q8 + extra);
    }
}

// Sums of `n` pixels that are kept from group to group, with 24 bits three bytes each, the lowest first.
static void sums_from(const pn_fast_t *f, const uint8_t *kept, uint32_t n, int32_t *sums) {
    for (uint32_t i = 0; i < n && f->sums24; i++, kept += 3) {
        sums[i] = (int32_t)(kept[0] | (uint32_t)kept[1] << 8) + (int8_t)kept[2] * 65536;
    }
    if (!f->sums24) {
        memcpy(sums, kept, n * sizeof(sums[0]));
    }
}

static void sums_to(const pn_fast_t *f, uint8_t *kept, uint32_t n, const int32_t *sums) {
    for (uint32_t i = 0; i < n && f->sums24; i++, kept += 3) {
        kept[0] = (uint8_t)sums[i];
        kept[1] = (uint8_t)(sums[i] >> 8);
        kept[2] = (uint8_t)(sums[i] >> 16);
    }
    if (!f->sums24) {
        memcpy(kept, sums, n * sizeof(sums[0]));
    }
}

// Output channels `output` and output + 1 of the line, for a group of expanded channels.
static void project(const group_t *g, uint32_t output, const pn_fast_lines_t *l) {
    const pn_fast_t *f = g->f;
    const uint8_t *w = g->weights.project + output * g->n;
    uint32_t bytes = f->sums24 ? 3 : 4;
    uint8_t *kept = f->work + g->area.acc + f->line * g->area.acc_line + output * f->out * bytes;
    pn_values_t d = depthwise_values(g);
    for (uint32_t x = 0, n; x < f->out; x += n, d.at += 2 * n) {
        int32_t sums[2][PN_BESIDE];
        n = least(g->beside_out, f->out - x);
        for (uint32_t k = 0; k < 2; k++) {
            fill(sums[k], n, f->narrow[output * 2 + k]);
            if (g->from > 0) {
                sums_from(f, kept + (k * f->out + x) * bytes, n, sums[k]);
            }
        }
        pn_add_values(d, w, n, sums[0], sums[1]);
        for (uint32_t k = 0; k < 2; k++) {
            if (g->from + g->n < f->cexp) {
                sums_to(f, kept + (k * f->out + x) * bytes, n, sums[k]);
            } else {
                project_end(f, output + k, x, n, sums[k], l);
            }
        }
    }
}

void pn_fast_line(const pn_fast_t *f, const pn_fast_lines_t *l, uint32_t from, uint32_t to) {
    group_t g = line_of(f, l->top);
    int16_t room[PN_BESIDE_ROOM];
    widen(&g, l->in, pn_fast_lines(f), from, room);
    for (; from < to; from += f->group) {
        set_group(&g, from);
        for (uint32_t c = from; c < from + g.n; c += 2) {
            values_of(&g, l, c);
        }
        for (uint32_t output = 0; output < f->cout; output += 2) {
            project(&g, output, l);
        }
    }
}

#endif
