// A fast bottleneck's lines on the kernels of pn_dsp.h: which of them are called, on which parts of the memory.
#include "engine/kernels/pn_fast.h"

#if PN_DSP

#include <string.h>

#include "engine/kernels/armv7em/pn_dsp.h"

static void put_quad(uint32_t *to, int b0, int b1, int b2, int b3) {
    to[0] = (uint16_t)b0 | (uint32_t)b2 << 16;
    to[2] = (uint16_t)b1 | (uint32_t)b3 << 16;
}

// pn_dsp_widen for pixels whose channels are no multiple of 4: zeros make them one.
static void widen_odd(const pn_widen_t *w, uint32_t channels) {
    uint32_t *x = (uint32_t *)(void *)w->x, pixels = w->head + 2 * w->full + w->tail;
    uint32_t whole = channels / 4, rest = channels % 4;
    const int8_t *line = w->in;
    for (uint32_t i = 0, second = 0; i < pixels; i++, line += w->step) {
        const int8_t *in = line;
        uint32_t *to = x + second;
        for (uint32_t q = 0; q < whole; q++, in += 4, to += 4) {
            put_quad(to, in[0], in[1], in[2], in[3]);
        }
        put_quad(to, in[0], rest > 1 ? in[1] : 0, rest > 2 ? in[2] : 0, 0);
        x += second || i < w->head ? w->quads * 4 : 0;
        second = i >= w->head && !second;
    }
}

// A line's pixels become 16-bit ones at `x`, those of *eight* multiplied by 2^shift_expand.
static void widen(const pn_fast_t *f, const pn_fast_area_t *a, pn_pixels_t in, uint8_t *x) {
    uint32_t head = f->pad & 1u, pixels = f->in - head;
    pn_widen_t w = { in.at, in.step, pn_fast_quads(f), (int16_t *)(void *)x, head, pixels / 2, pixels & 1 };
    if (pn_fast_eight(f)) {
        pn_dsp_widen8(in.at, in.step, f->in, w.x);
    } else if (f->cin % 4) {
        widen_odd(&w, f->cin);
    } else {
        pn_dsp_widen(&w);
    }
    if (pn_fast_eight(f) && f->shift_expand > 0) {
        pn_dsp_shift(w.x, a->line / 16, f->shift_expand);
    }
}

static uint32_t depthwise_piece(const pn_fast_t *f) {
    if (f->kernel > 3) {
        return PN_DW_ROWS;
    }
    if (!f->expands) {
        return f->stride == 1 ? PN_DW3_LINES : PN_DW3_LINES2;
    }
    return f->stride == 1 ? PN_DW3_ROLL : PN_DW3_ROLL2;
}

// The pieces for lines with an expansion.
static void pieces_of(const pn_fast_t *f, pn_pairs_t *p) {
    uint32_t tile = f->as_bytes ? PN_EXP_BYTES : PN_EXP_TILE;
    p->linefn = pn_fast_eight(f) ? (uint32_t)PN_EXP8 : tile;
    p->expfn = p->zeros > 0 && f->kernel == 3 ? (uint32_t)PN_FRONT : p->linefn;
}

static void pairs_of(const pn_fast_t *f, const pn_fast_area_t *a, const pn_fast_arrays_t *bytes,
    const void *const *rows, uint32_t lines, pn_pairs_t *p) {
    uint32_t fresh = pn_fast_lines(f), head = f->pad & 1u, pixels = f->in - head;
    p->quads = pn_fast_quads(f);
    p->rows = rows;
    p->rows_end = rows + lines;
    p->dbuf = f->work + a->dbuf;
    p->h = (uint8_t *)(((uintptr_t)f->work + a->h + 7) & ~(uintptr_t)7);
    p->stride = 8 * fresh;
    p->words = a->words;
    p->head = head;
    p->full = pixels / 2;
    p->tail = pixels & 1;
    p->stepfn = depthwise_piece(f);
    p->dwfn = f->shift_depthwise > 0 && f->kernel == 3 ? (uint32_t)PN_DW3_SHIFTED : p->stepfn;
    p->slot = 8 * fresh * f->stride;
    p->out_pairs = (f->out + 1u) / 2;
    p->zeros = f->pad / 2u * p->stride;
    p->record = bytes->pair;
    p->more = NULL;
    p->shift_expand = f->shift_expand;
    p->shift_depthwise = f->shift_depthwise;
    pieces_of(f, p);
}

// The same where the expansion reads pixels as they are.
static void byte_pairs(const pn_fast_t *f, uint32_t step, pn_pairs_t *p) {
    p->pixel = step;
    p->next = 2 * step - f->cin;
}

// The same without an expansion, where the lines' pixels are taken as they are.
static void plain_pairs(const pn_fast_t *f, uint32_t step, pn_pairs_t *p) {
    uint32_t zero = (uint32_t)f->zero_in & 0xffff;
    p->quads = 0;
    p->head = f->pad;
    p->record = 2;
    p->kept = (uint8_t *)(uintptr_t)step;
    p->zeros = zero | zero << 16;
    p->expfn = PN_PLAIN;
}

// 5x5 and 7x7: `in` are the new lines for the kernel whose first line is `top`, or NULL where line `y` is taken in,
// nothing else.
static void rows_of(const pn_fast_t *f, const pn_fast_area_t *a, const pn_fast_arrays_t *bytes, int top, uint32_t y,
    const pn_pixels_t *in, pn_pairs_t *p, pn_rows_t *r) {
    uint32_t lines = in ? f->stride : 1, keep = (uint32_t)f->kernel - f->stride;
    uint32_t words = a->row_words, old = f->kernel - lines;
    for (uint32_t i = 0; i < f->kernel; i++) {
        bool known = in && (i < old ? top + (int)i >= 0 : in[i - old].at != NULL);
        uint32_t place = (uint32_t)(top + (int)(i + keep)) % keep * 4 * words;
        r->src[i] = known ? place : PN_NO_ROW;
        r->dst[i < old ? 0 : i - old] = in ? place : y % keep * 4 * words;
    }
    r->sums = f->work + a->sums;
    r->sum_bytes = 4 * a->sum_count;
    r->row_words = words;
    r->kernel = in ? f->kernel : 0;
    r->fresh = f->stride;
    r->lines = lines;
    r->weights = bytes->channel - 8;
    r->channel = a->kept;
    memset(p->h, 0, 16 * words * f->stride);
    p->more = r;
}

// Expansion and depthwise convolution of the `n` channels of a line that begin with `from`.
static void group_line(const pn_fast_t *f, const pn_fast_area_t *a, const pn_fast_weights_t *w, uint32_t from,
    uint32_t n, pn_pairs_t *p) {
    p->pairs = n / 2;
    p->pitch = n * 4;
    p->dw = w->depthwise;
    if (f->expands) {
        p->ew = w->expand;
        p->kept = pn_fast_kept(f, a) + (f->sweep ? 0 : from * a->kept);
    } else {
        p->ew = (const uint8_t *)(uintptr_t)from;
    }
    pn_dsp_pairs(p);
}

// Apart: inlined, it would be on the stack of what only takes lines in.
static __attribute__((noinline)) void project(const pn_fast_t *f, const pn_fast_area_t *a, uint32_t from,
    uint32_t group, const uint8_t *w, pn_pixels_t out, pn_pixels_t residual) {
    pn_tiles_t t;
    t.quads = group / 4;
    t.w = w;
    t.gap = 0;
    t.bm = f->narrow;
    t.next = 16;
    t.d = f->work + a->dbuf;
    t.out = out.at;
    t.out_step = out.step;
    t.x = residual.at;
    t.x_step = residual.step;
    t.res_mult = f->res_mult;
    t.zero_q8 = f->zero_q8;
    t.full = f->out / 2u;
    t.tail = f->out & 1u;
    t.couts = f->cout / 2u;
    t.shift = f->shift;
    t.acc = (int32_t *)(void *)(f->work + a->acc + f->line * a->acc_line);
    t.first = from == 0;
    if (group == f->cexp) {
        pn_dsp_project(&t);
        return;
    }
    (f->sums24 ? pn_dsp_project_add24 : pn_dsp_project_add)(&t);
    if (from + group == f->cexp) {
        (f->sums24 ? pn_dsp_project_end24 : pn_dsp_project_end)(&t);
    }
}

// Where `n` input lines lie: as they are, or widened. Returns the bytes from pixel to pixel of those that are as they
// are.
static int input_rows(const pn_fast_t *f, const pn_fast_area_t *a, const pn_pixels_t *in, uint32_t n, uint32_t from,
    const void **rows) {
    int step = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *x = f->work + i * a->line;
        rows[i] = in[i].at == NULL ? NULL : f->expands && !f->as_bytes ? x : (const void *)in[i].at;
        step = in[i].at == NULL ? step : in[i].step;
        if (in[i].at != NULL && pn_fast_widens(f, from)) {
            widen(f, a, in[i], x);
        }
    }
    return step;
}

// Output line `l` of `n` input lines, or where that is NULL, input line `y`, the last of them, which is but taken in.
static void lines(const pn_fast_t *f, const pn_pixels_t *in, uint32_t n, const pn_fast_lines_t *l, uint32_t y,
    uint32_t from, uint32_t to) {
    pn_fast_area_t a = pn_fast_area(f);
    pn_fast_arrays_t bytes = pn_fast_arrays(f);
    pn_pairs_t p;
    pn_rows_t r;
    const void *rows[PN_MAX_FAST_KERNEL];
    int step = input_rows(f, &a, in, n, from, rows);
    pairs_of(f, &a, &bytes, rows, n, &p);
    if (!f->expands) {
        plain_pairs(f, (uint32_t)step, &p);
    }
    if (f->as_bytes) {
        byte_pairs(f, (uint32_t)step, &p);
    }
    if (f->kernel > 3) {
        rows_of(f, &a, &bytes, l ? l->top : 0, y, l ? in : NULL, &p, &r);
    } else if (!l && y == 0 && n == 1) {
        p.dwfn = PN_DW_PRIME;
    }
    for (; from < to; from += f->group) {
        uint32_t group = pn_fast_group(f, from);
        pn_fast_weights_t w = pn_fast_weights(f, &bytes, from, group);
        group_line(f, &a, &w, from, group, &p);
        if (l) {
            project(f, &a, from, group, w.project, l->out, l->residual);
        }
    }
}

// Under 3x3 the first line of the map has a piece that does nothing else; others are taken in as if for an output line,
// with stride 2 together with a line outside the map: what that leaves of depthwise values is not looked at.
void pn_fast_take(const pn_fast_t *f, pn_pixels_t in, uint32_t y, uint32_t from, uint32_t to) {
    uint32_t before = f->kernel == 3 && f->stride == 2;
    pn_pixels_t both[2];
    both[0].at = NULL;
    both[before] = in;
    lines(f, both, 1 + before, NULL, y, from, to);
}

void pn_fast_line(const pn_fast_t *f, const pn_fast_lines_t *l, uint32_t from, uint32_t to) {
    lines(f, l->in, pn_fast_lines(f), l, 0, from, to);
}

#endif
