// Rows and columns of maps, rings and windows, and which kernels go over them.
#include "engine/run/pn_stage.h"

#include <string.h>

#include "engine/run/pn_arena.h"
#include "engine/run/pn_image.h"

// ---------------------------------------------------------------- where things lie

// A line of pixels in the arena.
typedef struct {
    int8_t *at;
    int step; // bytes from one pixel to the next
} line_t;

// Line `y` of stage `t`'s input, from its first needed pixel on.
static line_t line_in(const pn_model_t *m, int t, uint32_t y) {
    const pn_stage_t *s = &pn_stages(m)[t];
    line_t line = { (int8_t *)m->run.arena, s->cin };
    if (t > 0 || pn_first_segment(m)) {
        line.at += s->ring_at + (size_t)(y % s->ring_lines) * pn_pixels_in(s) * s->cin;
        PN_READ(line.at, pn_pixels_in(s) * s->cin, TAG(m, TAG_RING, s->index, y));
        return line;
    }
    size_t pixel = m->run.segment.columns ? (size_t)s->from * s->lines_in + y : (size_t)y * s->cross_in + s->from;
    line.at += m->run.segment.in_at + pixel * s->cin;
    line.step = m->run.segment.columns ? s->lines_in * s->cin : s->cin;
#ifdef PN_SHADOW
    for (uint32_t x = 0; x < pn_pixels_in(s); x++) {
        PN_READ(line.at + (size_t)x * line.step, s->cin, MAP_TAG(m, m->run.map_layer));
    }
#endif
    return line;
}

// Output line `o` of stage `t`, whose chunk begins at output line s->done.
static line_t line_out(const pn_model_t *m, int t, uint32_t o) {
    const pn_stage_t *s = &pn_stages(m)[t];
    line_t line = { (int8_t *)m->run.arena, s->cout };
    if (t + 1 < m->run.segment.layers) {
        const pn_stage_t *next = s + 1;
        line.at += next->ring_at + (size_t)(o % next->ring_lines) * pn_pixels_in(next) * s->cout;
    } else if (m->run.segment.sink != PN_TO_MAP) {
        pn_work_t w = pn_work(s, true);
        uint32_t lines = s->mode == PN_MODE_WINDOW ? o - s->done : 0;
        line.at += m->run.segment.work_at + pn_staging_at(&w) + (size_t)lines * pn_pixels_out(s) * s->cout;
    } else {
        size_t pixel = m->run.segment.columns ? (size_t)s->out_from * s->lines_out + o
            : (size_t)o * s->cross_out + s->out_from;
        line.at += m->run.segment.out_at + pixel * s->cout;
        line.step = m->run.segment.columns ? s->lines_out * s->cout : s->cout;
    }
    return line;
}

// Tells the checking build that `n` channels of a pixel of output line `o` are there.
static void wrote(const pn_model_t *m, int t, uint32_t o, const int8_t *pixel, int n) {
#ifdef PN_SHADOW
    const pn_stage_t *s = &pn_stages(m)[t];
    bool ring = t + 1 < m->run.segment.layers;
    uint32_t last = m->run.segment.sink != PN_TO_MAP ? TAG(m, TAG_STAGING, s->index, o) : MAP_TAG(m, s->index);
    PN_WRITE(pixel, n, ring ? TAG(m, TAG_RING, s->index + 1, o) : last);
#else
    (void)m, (void)t, (void)o, (void)pixel, (void)n;
#endif
}

// `n` pixels of the current patch, at the network's resolution: pixel `x` of line `y` and those that follow.
static void sample(const pn_model_t *m, uint32_t y, uint32_t x, uint32_t n, int8_t *out) {
    const uint8_t *patch = m->blob + pn_u32(m->blob + PN_HEADER_PATCH_OFF) + m->run.tunnel * PN_PATCH_BYTES;
    bool columns = m->run.segment.columns;
    pn_sample_t s = {
        .height = m->height, .width = m->width, .channels = m->channels,
        .y = pn_u16(patch + PN_PATCH_Y) + (columns ? x : y), .x = pn_u16(patch + PN_PATCH_X) + (columns ? y : x),
        .n = n, .down = columns,
    };
    if (m->run.raw == NULL) {
        pn_image_sample(&m->run.image, &s, out);
        return;
    }
    const int8_t *in = m->run.raw + ((size_t)s.y * m->width + s.x) * m->channels;
    for (uint32_t i = 0; i < n; i++, out += m->channels) {
        memcpy(out, in, m->channels);
        in += (columns ? m->width : 1u) * m->channels;
    }
}

// ---------------------------------------------------------------- convolutions

// The order of taps of weights that lie as [row][column][n] when lines are rows or columns.
static void tap_order(const pn_model_t *m, const pn_stage_t *s, int n, pn_taps_t *taps) {
    taps->kernel = s->kernel;
    taps->line_step = m->run.segment.columns ? n : n * s->kernel;
    taps->pixel_step = m->run.segment.columns ? n * s->kernel : n;
    taps->w = (int)pn_pixels_in(s);
    taps->wrap = PN_NO_WRAP;
}

// The kernel's first line for output line `o`, which may lie outside the map, and those inside it.
static int lines_under(const pn_stage_t *s, uint32_t o, uint32_t *lo, uint32_t *hi) {
    pn_needs(s, o, o + 1, lo, hi);
    return (int)(o * s->stride) - s->kernel / 2;
}

// The kernel's first pixel for output pixel `x`, counted from the input line's first needed one.
static int first_pixel(const pn_stage_t *s, uint32_t x) {
    return (int)(x * s->stride) - s->kernel / 2 - s->from;
}

static void map_rows(const pn_model_t *m, int t, uint32_t o, pn_taps_t *taps) {
    const pn_stage_t *s = &pn_stages(m)[t];
    uint32_t lo, hi;
    int top = lines_under(s, o, &lo, &hi);
    for (int k = 0; k < s->kernel; k++) {
        taps->rows[k] = NULL;
        if (top + k >= (int)lo && top + k < (int)hi) {
            line_t line = line_in(m, t, (uint32_t)(top + k));
            taps->rows[k] = (const uint8_t *)line.at;
            taps->step = line.step;
        }
    }
}

// For `n` outputs from s->channel on.
static pn_conv_t conv_of(const pn_model_t *m, const pn_stage_t *s, uint32_t n) {
    pn_scaled_t a = pn_scaled_from(m, s->weight_off, s->cout, (uint32_t)s->kernel * s->kernel * s->cin, s->channel);
    pn_conv_t c = {
        .zero = s->index ? &s->zero_in : (const int8_t *)m->blob + PN_HEADER_INPUT_ZERO,
        .zero_step = s->index == 0,
        .weight = a.weight, .bias = a.bias, .mult = a.mult,
        .zero_q8 = pn_zero_q8(s->zero_out),
        .cin = s->cin, .cout = (int)n, .stride = s->stride, .shift = s->shift,
        .work = m->run.arena + m->run.segment.work_at,
    };
    tap_order(m, s, s->cin, &c.in);
    return c;
}

// Samples what the kernels of `n` output pixels from `x` on reach of the picture, into the work area. Returns the first
// kernel's first pixel.
static int sample_block(const pn_model_t *m, const pn_stage_t *s, uint32_t o, uint32_t x, uint32_t n, pn_conv_t *c) {
    uint32_t lo, hi;
    int top = lines_under(s, o, &lo, &hi), x0 = first_pixel(s, x), end = x0 + (int)(n - 1) * s->stride + s->kernel;
    int from = x0 > 0 ? x0 : 0, to = end < (int)pn_pixels_in(s) ? end : (int)pn_pixels_in(s);
    int8_t *line = (int8_t *)c->work + pn_work(s, false).sums;
    c->in.w = to - from;
    c->in.step = s->cin;
    for (int y = top; y < top + s->kernel; y++) {
        bool inside = y >= (int)lo && y < (int)hi;
        c->in.rows[y - top] = inside ? (const uint8_t *)line : NULL;
        if (inside) {
            sample(m, (uint32_t)y, s->from + (uint32_t)from, (uint32_t)(to - from), line);
            line += (to - from) * s->cin;
        }
    }
    return x0 - from;
}

// One output line of a convolution: the outputs from s->channel on that are made now.
static void conv_line(pn_model_t *m, int t, uint32_t o) {
    const pn_stage_t *s = &pn_stages(m)[t];
    uint32_t n;
    pn_conv_t c = conv_of(m, s, pn_part_channels(m, s));
    line_t out = line_out(m, t, o);
    if (pn_grouped_conv(s)) {
        out.step = c.cout;
    } else {
        out.at += s->channel;
    }
    // before any line is read
    PN_WRITE(c.work, pn_work(s, false).sums + pn_work(s, false).wide, TAG(m, TAG_WORK, s->index, o));
    if (s->mode != PN_MODE_WINDOW) {
        map_rows(m, t, o, &c.in);
    }
    for (uint32_t x = s->out_from, most = pn_conv_at_once(s); x < s->out_to; x += n) {
        n = s->out_to - x < most ? s->out_to - x : most;
        int x0 = s->mode == PN_MODE_WINDOW ? sample_block(m, s, o, x, n, &c) : first_pixel(s, x);
        pn_conv_pixels(&c, x0, n, out.at, out.step);
        for (uint32_t i = 0; i < n; i++, out.at += out.step) {
            wrote(m, t, o, out.at, c.cout);
        }
    }
}

// ---------------------------------------------------------------- bottlenecks

// A bottleneck's arrays and places, for one group of channels.
typedef struct {
    pn_expand_t expand;
    pn_depthwise_t depthwise;
    pn_project_t project;
    uint8_t *sums, *wide, *values; // parts of the work area
} bottleneck_t;

// For `n` channels from s->channel on.
static void bottleneck_of(const pn_model_t *m, const pn_stage_t *s, uint32_t n, bottleneck_t *b) {
    const uint8_t *p = pn_array(m, s->weight_off);
    uint32_t first = s->channel, expanded = pn_expands(s) ? s->cexp : 0;
    bool is_signed = s->flags & PN_FLAG_SIGNED;
    pn_scaled_t a = pn_scaled(p, expanded, expanded * s->cin, &p);
    b->expand = (pn_expand_t) { a.weight + first * s->cin, a.bias + first, a.mult + first, s->cin, (int)n, is_signed };
    a = pn_scaled(p, s->cexp, (uint32_t)s->cexp * s->kernel * s->kernel, &p);
    b->depthwise = (pn_depthwise_t) {
        .weight = a.weight + first, .bias = a.bias + first, .mult = a.mult + first, .group = (int)n,
        .zero = expanded ? 0 : s->zero_in, .in_signed = !expanded || is_signed, .out_signed = is_signed,
    };
    tap_order(m, s, s->cexp, &b->depthwise.in);
    b->depthwise.in.step = (int)n;
    a = pn_scaled(p, s->cout, (uint32_t)s->cexp * s->cout, &p);
    b->project = (pn_project_t) {
        a.weight, a.bias, a.mult, pn_zero_q8(s->zero_out) - s->res_mult * s->zero_in,
        s->cexp, s->cout, s->shift, s->res_mult, is_signed,
    };
    pn_work_t w = pn_work(s, false);
    b->sums = m->run.arena + m->run.segment.work_at;
    b->wide = b->sums + w.sums;
    b->values = b->wide + w.wide;
}

// The residual of output line `o`, if there is one.
static line_t residual(const pn_model_t *m, int t, uint32_t o) {
    line_t none = { NULL, 0 };
    return pn_stages(m)[t].res_mult ? line_in(m, t, o) : none;
}

static const int8_t *pixel_of(const line_t *line, uint32_t x) {
    return line->at == NULL ? NULL : line->at + (size_t)x * line->step;
}

// Rows of the kernel in `kept` expanded lines at `ring`, `bytes` each.
static void ring_rows(const pn_stage_t *s, uint32_t o, const uint8_t *ring, size_t bytes, pn_taps_t *taps) {
    uint32_t lo, hi;
    int top = lines_under(s, o, &lo, &hi);
    for (int k = 0; k < s->kernel; k++) {
        int y = top + k;
        taps->rows[k] = y < (int)lo || y >= (int)hi ? NULL : ring + (uint32_t)y % pn_kernel_lines(s) * bytes;
    }
}

// Depthwise values of a pixel, then its output. `kept` is the residual's line.
static void whole_pixel(const pn_model_t *m, int t, const bottleneck_t *b, uint32_t o, uint32_t x, const line_t *kept,
    line_t *out) {
    const pn_stage_t *s = &pn_stages(m)[t];
    pn_depthwise_pixel(&b->depthwise, first_pixel(s, x), b->values);
    PN_WRITE(b->values, s->cexp, TAG(m, TAG_KEPT, s->index, o));
    pn_project_pixel(&b->project, b->values, pixel_of(kept, x - s->from), out->at);
    wrote(m, t, o, out->at, s->cout);
    PN_READ(b->values, s->cexp, TAG(m, TAG_KEPT, s->index, o));
    out->at += out->step;
}

// One output line from lines that are there: the input's (no expansion), or those of the wide ring.
static void whole_line(pn_model_t *m, int t, uint32_t o) {
    const pn_stage_t *s = &pn_stages(m)[t];
    bottleneck_t b;
    bottleneck_of(m, s, s->cexp, &b);
    if (s->mode == PN_MODE_ROLLING) {
        size_t bytes = (size_t)pn_pixels_in(s) * s->cexp;
        ring_rows(s, o, m->run.arena + s->wide_at, bytes, &b.depthwise.in);
    } else {
        map_rows(m, t, o, &b.depthwise.in);
    }
    line_t out = line_out(m, t, o), kept = residual(m, t, o);
    for (uint32_t x = s->out_from; x < s->out_to; x++) {
        whole_pixel(m, t, &b, o, x, &kept, &out);
    }
}

static void expand_line(pn_model_t *m, int t, uint32_t y) {
    const pn_stage_t *s = &pn_stages(m)[t];
    bottleneck_t b;
    bottleneck_of(m, s, s->cexp, &b);
    line_t in = line_in(m, t, y);
    size_t bytes = (size_t)pn_pixels_in(s) * s->cexp;
    uint8_t *out = m->run.arena + s->wide_at + y % pn_kernel_lines(s) * bytes;
    pn_expand(&b.expand, in.at, in.step, (int)pn_pixels_in(s), out);
    PN_WRITE(out, bytes, TAG(m, TAG_WIDE, s->index, y));
    line_in(m, t, y); // again, for the checking build
}

// Expands pixels from..to-1 of the chunk's input lines lo..hi-1 into the window: pixel by pixel, its lines together.
static void slide(const pn_model_t *m, int t, const bottleneck_t *b, uint32_t lo, uint32_t hi, int from, int to) {
    const pn_stage_t *s = &pn_stages(m)[t];
    for (int x = from; x < to; x++) {
        uint8_t *out = b->wide + (uint32_t)x % s->kernel * (hi - lo) * s->cexp;
        for (uint32_t y = lo; y < hi; y++, out += s->cexp) {
            line_t in = line_in(m, t, y);
            pn_expand(&b->expand, in.at + (size_t)x * in.step, in.step, 1, out);
            PN_WRITE(out, s->cexp, TAG(m, TAG_WORK, s->index, (uint32_t)s->done << 12 ^ x));
        }
    }
}

// Tells the checking build that a window's columns under the kernel are read, those of the chunk that begins at output
// line `o`.
static void window_read(const pn_model_t *m, const pn_stage_t *s, const uint8_t *window, const pn_taps_t *taps, int x0,
    uint32_t o) {
#ifdef PN_SHADOW
    for (int x = x0 < 0 ? 0 : x0; x < x0 + s->kernel && x < taps->w; x++) {
        PN_READ(window + x % s->kernel * taps->step, taps->step, TAG(m, TAG_WORK, s->index, o << 12 ^ x));
    }
#else
    (void)m, (void)s, (void)window, (void)taps, (void)x0, (void)o;
#endif
}

// A chunk in mode 2: all its lines together, pixel by pixel.
static void window_chunk(pn_model_t *m, int t, uint32_t end) {
    const pn_stage_t *s = &pn_stages(m)[t];
    bottleneck_t b;
    uint32_t lo, hi, top, bottom;
    bottleneck_of(m, s, s->cexp, &b);
    pn_needs(s, s->done, end, &lo, &hi);
    b.depthwise.in.step = (int)(hi - lo) * s->cexp;
    b.depthwise.in.wrap = s->kernel;
    int expanded = 0;
    for (uint32_t x = s->out_from; x < s->out_to; x++) {
        int x0 = first_pixel(s, x), to = x0 + s->kernel < b.depthwise.in.w ? x0 + s->kernel : b.depthwise.in.w;
        slide(m, t, &b, lo, hi, expanded > x0 ? expanded : x0, to);
        expanded = to;
        for (uint32_t o = s->done; o < end; o++) {
            int y = lines_under(s, o, &top, &bottom);
            for (int k = 0; k < s->kernel; k++, y++) {
                bool inside = y >= (int)top && y < (int)bottom;
                b.depthwise.in.rows[k] = inside ? b.wide + (uint32_t)(y - (int)lo) * s->cexp : NULL;
            }
            line_t out = line_out(m, t, o), kept = residual(m, t, o);
            out.at += (size_t)(x - s->out_from) * out.step;
            whole_pixel(m, t, &b, o, x, &kept, &out);
            window_read(m, s, b.wide, &b.depthwise.in, x0, s->done);
        }
    }
}

// Modes 3 and 4: expands what output line `o` needs and the group's turn has not yet made.
static void expand_group(pn_model_t *m, int t, const bottleneck_t *b, uint32_t o) {
    pn_stage_t *s = &pn_stages(m)[t];
    uint32_t lo, hi;
    pn_needs(s, o, o + 1, &lo, &hi);
    size_t bytes = (size_t)pn_pixels_in(s) * (uint32_t)b->expand.group;
    for (uint32_t y = s->fresh > lo ? s->fresh : lo; y < hi; y++) {
        line_t in = line_in(m, t, y);
        uint8_t *out = b->wide + y % pn_kernel_lines(s) * bytes;
        pn_expand(&b->expand, in.at, in.step, (int)pn_pixels_in(s), out);
        PN_WRITE(out, bytes, TAG(m, TAG_WORK, s->index, y ^ s->channel << 12));
        line_in(m, t, y); // again, for the checking build
    }
#ifdef PN_SHADOW
    for (uint32_t y = lo; y < hi; y++) {
        PN_READ(b->wide + y % pn_kernel_lines(s) * bytes, bytes, TAG(m, TAG_WORK, s->index, y ^ s->channel << 12));
    }
#endif
    s->fresh = (uint16_t)hi;
}

// The group's share of pixel `i` of the chunk: added to its sums, or kept.
static void group_pixel(const pn_model_t *m, const pn_stage_t *s, const bottleneck_t *b, uint32_t i, int x0) {
    uint32_t n = (uint32_t)b->depthwise.group;
    (void)m; // only the checking build looks at it
    if (s->mode == PN_MODE_STORED) {
        uint8_t *kept = b->sums + (size_t)i * s->cexp + s->channel;
        pn_depthwise_pixel(&b->depthwise, x0, kept);
        PN_WRITE(kept, n, TAG(m, TAG_KEPT, s->index, i));
        return;
    }
    int32_t *acc = (int32_t *)(void *)b->sums + (size_t)i * s->cout;
    if (s->channel == 0) {
        memcpy(acc, b->project.bias, 4 * (size_t)s->cout);
    } else {
        PN_READ(acc, 4 * s->cout, TAG(m, TAG_KEPT, s->index, i << 4 ^ s->channel));
    }
    pn_depthwise_pixel(&b->depthwise, x0, b->values);
    PN_WRITE(b->values, n, TAG(m, TAG_WORK, s->index, i));
    pn_project_add(&b->project, b->values, s->channel, (int)n, acc);
    PN_READ(b->values, n, TAG(m, TAG_WORK, s->index, i));
    PN_WRITE(acc, 4 * s->cout, TAG(m, TAG_KEPT, s->index, i << 4 ^ (s->channel + n)));
}

static void group_end(pn_model_t *m, int t, const bottleneck_t *b, uint32_t o, uint32_t i) {
    const pn_stage_t *s = &pn_stages(m)[t];
    line_t out = line_out(m, t, o), kept = residual(m, t, o);
    for (uint32_t x = s->out_from; x < s->out_to; x++, i++, out.at += out.step) {
        const int8_t *added = pixel_of(&kept, x - s->from);
        if (s->mode == PN_MODE_STORED) {
            PN_READ(b->sums + (size_t)i * s->cexp, s->cexp, TAG(m, TAG_KEPT, s->index, i));
            pn_project_pixel(&b->project, b->sums + (size_t)i * s->cexp, added, out.at);
        } else {
            const int32_t *acc = (const int32_t *)(const void *)b->sums + (size_t)i * s->cout;
            PN_READ(acc, 4 * s->cout, TAG(m, TAG_KEPT, s->index, i << 4 ^ s->cexp));
            pn_project_end(&b->project, acc, added, out.at);
        }
        wrote(m, t, o, out.at, s->cout);
    }
}

// Tells the checking build, after a chunk or a line of a group is written, what was still being read while it was.
static void read_again(const pn_model_t *m, int t, uint32_t from, uint32_t end) {
#ifdef PN_SHADOW
    const pn_stage_t *s = &pn_stages(m)[t];
    uint32_t lo, hi;
    size_t bytes = (size_t)pn_pixels_in(s) * s->cexp;
    pn_needs(s, from, end, &lo, &hi);
    for (uint32_t y = lo; y < hi; y++) {
        bool whole = pn_expands(s) && s->mode != PN_MODE_WINDOW;
        if (s->mode == PN_MODE_ROLLING) {
            PN_READ(m->run.arena + s->wide_at + y % pn_kernel_lines(s) * bytes, bytes, TAG(m, TAG_WIDE, s->index, y));
        } else if (!whole && (s->index || s->mode == PN_MODE_DIRECT)) {
            line_in(m, t, y);
        }
    }
    for (uint32_t o = from; o < end; o++) {
        residual(m, t, o);
    }
#else
    (void)m, (void)t, (void)from, (void)end;
#endif
}

// Output line s->line of a chunk for one group of channels; the last group ends the line.
static void group_line(pn_model_t *m, int t) {
    const pn_stage_t *s = &pn_stages(m)[t];
    uint32_t left = s->cexp - (uint32_t)s->channel, n = left < s->group ? left : s->group;
    uint32_t o = s->line, pixels = pn_pixels_out(s), i = (o - s->done) * pixels;
    bottleneck_t b;
    bottleneck_of(m, s, n, &b);
    expand_group(m, t, &b, o);
    ring_rows(s, o, b.wide, (size_t)pn_pixels_in(s) * n, &b.depthwise.in);
    for (uint32_t x = 0; x < pixels; x++) {
        group_pixel(m, s, &b, i + x, first_pixel(s, s->out_from + x));
    }
    if (n == left) {
        group_end(m, t, &b, o, i);
        read_again(m, t, o, o + 1);
    }
}

// ---------------------------------------------------------------- fast bottlenecks

pn_fast_t pn_fast_stage(const pn_model_t *m, const pn_stage_t *s) {
    pn_fast_t f = pn_fast_shape(s);
    pn_fast_arrays_t bytes = pn_fast_arrays(&f);
    f.first = m->weights.parted ? s->channel : 0;
    f.narrow = (const int32_t *)(const void *)pn_array(m, s->weight_off);
    uint32_t place = f.first < m->weights.stay ? f.first : m->weights.stay;
    f.arrays = (const uint8_t *)f.narrow + bytes.narrow + place * bytes.each;
    return f;
}

static pn_fast_t fast_of(const pn_model_t *m, const pn_stage_t *s) {
    pn_fast_t f = pn_fast_stage(m, s);
    f.zero_q8 = pn_zero_q8(s->zero_out) - s->res_mult * s->zero_in;
    f.res_mult = s->res_mult;
    f.wide = m->run.arena + s->wide_at;
    f.work = m->run.arena + m->run.segment.work_at;
    return f;
}

static pn_pixels_t pixels(line_t line) {
    pn_pixels_t out = { line.at, line.step };
    return out;
}

// Tells the checking build that the memory of a stage in mode 5 has been read, as output line `o` - 1 left it, and
// written.
static void fast_used(const pn_model_t *m, const pn_stage_t *s, const pn_fast_t *f, uint32_t o) {
#ifdef PN_SHADOW
    pn_fast_area_t a = pn_fast_area(f);
    if (o > 0) {
        PN_READ(f->wide, a.wide, TAG(m, TAG_WIDE, s->index, o - 1));
    }
    PN_WRITE(f->wide, a.wide, TAG(m, TAG_WIDE, s->index, o));
    PN_WRITE(f->work, a.work, TAG(m, TAG_WORK, s->index, o));
#else
    (void)m, (void)s, (void)f, (void)o;
#endif
}

static void fast_begin(const pn_model_t *m, const pn_stage_t *s, const pn_fast_t *f) {
    fast_used(m, s, f, 0);
    if (f->expands) {
        pn_fast_begin(f);
    }
}

// The lines that output line `o` is made of. Returns one past the last input line.
static uint32_t fast_lines(const pn_model_t *m, int t, uint32_t o, pn_fast_lines_t *l) {
    const pn_stage_t *s = &pn_stages(m)[t];
    pn_fast_t f = pn_fast_shape(s);
    uint32_t lo, hi, n = pn_fast_lines(&f);
    l->top = lines_under(s, o, &lo, &hi);
    for (uint32_t i = 0; i < n; i++) {
        int y = l->top + (int)(s->kernel - n + i);
        bool inside = y >= (int)lo && y < (int)hi;
        l->in[i] = inside ? pixels(line_in(m, t, (uint32_t)y)) : (pn_pixels_t) { NULL, 0 };
    }
    line_t kept = residual(m, t, o);
    kept.at = kept.at ? kept.at + (s->out_from - s->from) * kept.step : NULL;
    l->out = pixels(line_out(m, t, o));
    l->residual = pixels(kept);
    return hi;
}

// Tells the checking build that a fast stage's output line is there.
static void fast_wrote(const pn_model_t *m, int t, uint32_t o, const pn_fast_lines_t *l) {
    const pn_stage_t *s = &pn_stages(m)[t];
    for (uint32_t x = 0; x < pn_pixels_out(s); x++) {
        wrote(m, t, o, l->out.at + (size_t)x * l->out.step, s->cout);
    }
}

// One output line in mode 5, or the channels of it whose weights are there.
static void fast_line(pn_model_t *m, int t, uint32_t o) {
    pn_stage_t *s = &pn_stages(m)[t];
    pn_fast_t f = fast_of(m, s);
    if (s->channel == 0) {
        if (o == 0 && pn_ahead(s) == 0) {
            fast_begin(m, s, &f);
        }
        fast_used(m, s, &f, o + 1); // before any line is read: none lies in that memory
    }
    pn_fast_lines_t l;
    uint32_t end = s->channel + pn_part_channels(m, s), read = fast_lines(m, t, o, &l);
    pn_fast_line(&f, &l, s->channel, end);
    if (end == s->cexp) {
        fast_wrote(m, t, o, &l);
        s->fresh = (uint16_t)read;
    }
}

// Before the first line of a chunk of mode 6: the lines above those that it reads anew.
static void sweep_begin(const pn_model_t *m, int t, const pn_fast_t *f) {
    const pn_stage_t *s = &pn_stages(m)[t];
    uint32_t lo, hi, end = s->channel + pn_part_channels(m, s);
    int top = lines_under(s, s->done, &lo, &hi);
    pn_fast_begin(f);
    for (uint32_t y = lo; y < hi && (int)y < top + s->kernel - s->stride; y++) {
        pn_fast_take(f, pixels(line_in(m, t, y)), y, s->channel, end);
    }
}

// Output line s->line of a chunk for one group of channels in mode 6; the last group ends the line.
static void sweep_line(pn_model_t *m, int t) {
    const pn_stage_t *s = &pn_stages(m)[t];
    pn_fast_t f = fast_of(m, s);
    uint32_t o = s->line, end = s->channel + pn_part_channels(m, s);
    f.line = (uint16_t)(o - s->done);
    if (o == s->done && s->channel == 0) {
        PN_WRITE(f.work, pn_fast_area(&f).work, TAG(m, TAG_WORK, s->index, s->done));
    } else {
        PN_READ(f.work, pn_fast_area(&f).work, TAG(m, TAG_WORK, s->index, s->done));
    }
    if (o == s->done) {
        sweep_begin(m, t, &f);
    }
    pn_fast_lines_t l;
    fast_lines(m, t, o, &l);
    pn_fast_line(&f, &l, s->channel, end);
    if (end == s->cexp) {
        fast_wrote(m, t, o, &l);
        read_again(m, t, o, o + 1);
    }
}

// One of the input lines that mode 5 takes in beforehand.
static void fast_take(const pn_model_t *m, int t, uint32_t y) {
    const pn_stage_t *s = &pn_stages(m)[t];
    pn_fast_t f = fast_of(m, s);
    if (y == 0 && s->channel == 0) {
        fast_begin(m, s, &f);
    }
    pn_fast_take(&f, pixels(line_in(m, t, y)), y, s->channel, s->channel + pn_part_channels(m, s));
}

// ---------------------------------------------------------------- tasks

// Output lines from..end-1 of stage `t` are there: tells them if they are the task's.
static void made(const pn_model_t *m, int t, uint32_t from, uint32_t end, pn_made_t *lines) {
    if (m->run.segment.sink != PN_TO_MAP && t + 1 == m->run.segment.layers) {
        lines->line = line_out(m, t, from).at;
        lines->from = (uint16_t)from;
        lines->n = (uint16_t)(end - from);
    }
}

static void group_step(pn_model_t *m, int t, uint32_t end, pn_made_t *lines) {
    pn_stage_t *s = &pn_stages(m)[t];
    if (s->channel == 0 && s->line <= s->done) {
        s->line = s->done;
        s->fresh = 0;
    }
    if (s->mode == PN_MODE_SWEEP) {
        sweep_line(m, t);
    } else {
        group_line(m, t);
    }
    bool last = s->cexp - s->channel <= s->group;
    if (last) {
        made(m, t, s->line, s->line + 1u, lines);
    }
    if (++s->line < end) {
        return;
    }
    s->fresh = 0;
    s->channel = (uint16_t)(last ? 0 : s->channel + s->group);
    s->line = s->done;
    if (last) {
        s->done = (uint16_t)end;
    }
}

// Whether all channels of a line are done now, and not only those whose weights were there.
static bool all_channels(const pn_model_t *m, pn_stage_t *s) {
    if (!m->weights.parted || pn_grouped_conv(s)) {
        return true;
    }
    s->channel = (uint16_t)(s->channel + pn_part_channels(m, s));
    if (s->channel < (s->kind == PN_KIND_CONV ? s->cout : s->cexp)) {
        return false;
    }
    s->channel = 0;
    return true;
}

static void chunk_step(pn_model_t *m, int t, uint32_t end, pn_made_t *lines) {
    pn_stage_t *s = &pn_stages(m)[t];
    if (s->kind == PN_KIND_CONV) {
        conv_line(m, t, s->done);
    } else if (pn_in_groups(s)) {
        group_step(m, t, end, lines);
        return;
    } else if (pn_is_fast(s)) {
        fast_line(m, t, s->done);
    } else if (s->mode == PN_MODE_WINDOW) {
        window_chunk(m, t, end);
    } else {
        whole_line(m, t, s->done);
    }
    if (all_channels(m, s)) {
        read_again(m, t, s->done, end);
        made(m, t, s->done, end, lines);
        s->done = (uint16_t)end;
    }
}

static void sample_line(pn_model_t *m, uint32_t y) {
    const pn_stage_t *s = pn_stages(m);
    uint32_t bytes = pn_pixels_in(s) * s->cin;
    int8_t *out = (int8_t *)m->run.arena + s->ring_at + (size_t)(y % s->ring_lines) * bytes;
    sample(m, y, s->from, pn_pixels_in(s), out);
    PN_WRITE(out, bytes, TAG(m, TAG_RING, s->index, y));
}

pn_made_t pn_do(pn_model_t *m, pn_job_t job) {
    pn_stage_t *s = &pn_stages(m)[job.stage];
    pn_made_t lines = { NULL, 0, 0 };
    PN_READ(m->run.arena + m->run.segment.state_at, m->run.segment.layers * PN_STATE_BYTES, TAG_STATE);
    if (job.action == PN_CHUNK) {
        chunk_step(m, job.stage, job.end, &lines);
        return lines;
    }
    uint32_t y = pn_fresh_line(s, job.end);
    bool all = true;
    if (job.action == PN_SAMPLE) {
        sample_line(m, y);
    } else if (pn_is_fast(s)) {
        fast_take(m, job.stage, y);
        all = all_channels(m, s);
    } else {
        expand_line(m, job.stage, y);
    }
    if (all) {
        s->fresh = (uint16_t)(y + 1);
    }
    return lines;
}
