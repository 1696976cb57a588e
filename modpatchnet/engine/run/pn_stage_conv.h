// Dense convolutions, line by line. A part of pn_stage.c.
#ifndef PN_STAGE_CONV_H
#define PN_STAGE_CONV_H

// The kernel's first line for output line `o` (of a block, for line `o` between its convolutions), which may lie
// outside the map, and those inside it.
static int lines_under(const pn_stage_t *s, uint32_t o, uint32_t *lo, uint32_t *hi) {
    pn_block_needs(s, o, o + 1, lo, hi);
    return (int)(o * s->along.stride) - s->along.pad;
}

// The kernel's first pixel for output pixel `x`, counted from the input line's first needed one.
static int first_pixel(const pn_stage_t *s, uint32_t x) {
    return (int)(x * s->across.stride) - s->across.pad - s->from;
}

// The input lines under the kernel.
static void map_rows(const pn_model_t *m, const pn_stage_t *s, uint32_t o, pn_taps_t *taps) {
    uint32_t lo, hi;
    int top = lines_under(s, o, &lo, &hi);
    taps->w = (int)pn_pixels_in(s);
    for (int k = 0; k < s->along.kernel; k++) {
        taps->rows[k] = NULL;
        if (top + k >= (int)lo && top + k < (int)hi) {
            line_t line = line_in(m, s, (uint32_t)(top + k));
            taps->rows[k] = (const uint8_t *)line.at;
            taps->step = line.step;
        }
    }
}

static uint32_t window_values(const pn_stage_t *s) {
    return (uint32_t)s->along.kernel * s->across.kernel * s->cin;
}

// The order of taps of weights that lie as [row][column][n], or column by column if the layer's flag says so.
static void tap_order(const pn_model_t *m, const pn_stage_t *s, int n, pn_taps_t *taps) {
    bool across = m->run.segment.columns != ((s->flags & PN_FLAG_COLUMNS) != 0);
    taps->line_step = across ? n : n * taps->pixels;
    taps->pixel_step = across ? n * taps->lines : n;
}

// The arrays at `p` of a dense convolution of `n` outputs, from output `first` on; its kernel and channels are told
// already. Returns where they end.
static const uint8_t *conv_arrays(const pn_stage_t *s, const uint8_t *p, uint32_t n, uint32_t first, pn_conv_t *c) {
    uint32_t row = (uint32_t)(c->in.lines * c->in.pixels * c->cin);
    if (pn_paired(s->flags)) {
        uint32_t bytes = pn_pair_bytes((row + 3) / 4);
        c->pairs = p + first / 2 * bytes;
        return p + (n + 1) / 2 * bytes;
    }
    pn_scaled_t a = pn_scaled(p, n, n * row, &p);
    c->pairs = NULL;
    c->weight = a.weight + first * row;
    c->bias = a.bias + first;
    c->mult = a.mult + first;
    return p;
}

// A dense convolution, whose kernel, channels and arrays are told already; nothing is added.
static void conv_of(const pn_model_t *m, const pn_stage_t *s, pn_conv_t *c) {
    c->zero = &s->zero_in;
    c->zero_step = 0;
    c->zero_q8 = pn_zero_q8(s->zero_out);
    c->stride = s->across.stride;
    c->shift = s->shift;
    c->x = NULL;
    c->x_step = c->res_mult = 0;
    c->work = m->run.arena + m->run.segment.work_at;
    tap_order(m, s, c->cin, &c->in);
}

// Tells the checking build that the sums of a kernel that is the whole map are read, as line `y` - 1 left them, and
// written, when line `y` is added; or read for the last time.
static void cover_touch(const pn_model_t *m, const pn_stage_t *s, uint32_t y) {
#ifdef PN_SHADOW
    uint8_t *sums = m->run.arena + s->wide_at;
    size_t bytes = pn_wide_bytes(s);
    if (y > 0 && s->channel == 0) {
        PN_READ(sums, bytes, TAG(m, TAG_WIDE, s->index, y - 1));
    }
    if (y < s->lines_in) {
        PN_WRITE(sums, bytes, TAG(m, TAG_WIDE, s->index, y));
    }
#else
    (void)m, (void)s, (void)y;
#endif
}

// Samples what the kernels of `n` output pixels from `x` on reach of the picture, into the work area. Returns the first
// kernel's first pixel.
static int sample_block(const pn_model_t *m, const pn_stage_t *s, uint32_t o, uint32_t x, uint32_t n, pn_conv_t *c) {
    uint32_t lo, hi;
    int top = lines_under(s, o, &lo, &hi), x0 = first_pixel(s, x);
    int end = x0 + (int)(n - 1) * s->across.stride + s->across.kernel;
    int from = x0 > 0 ? x0 : 0, to = end < (int)pn_pixels_in(s) ? end : (int)pn_pixels_in(s);
    int8_t *line = (int8_t *)c->work + pn_work(s, false).sums;
    c->in.w = to - from;
    c->in.step = s->cin;
    for (int y = top; y < top + s->along.kernel; y++) {
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
static PN_APART void conv_line(pn_model_t *m, const pn_stage_t *s, uint32_t o) {
    uint32_t n = m->weights.parted ? m->weights.part.n : s->cout;
    uint32_t first = s->channel - (m->weights.parted ? m->weights.part.from : 0u);
    pn_conv_t c;
    c.in.lines = s->along.kernel;
    c.in.pixels = s->across.kernel;
    c.cin = s->cin;
    c.cout = (int)pn_part_channels(m, s);
    conv_arrays(s, pn_array(m, pn_weight_off(m, s)), n, first, &c);
    conv_of(m, s, &c);
    if (s->index == 0 && pn_sees(m)) {
        c.zero = (const int8_t *)m->blob + PN_HEADER_INPUT_ZERO;
        c.zero_step = 1;
    }
    line_t out = line_out(m, s, o);
    if (pn_grouped_conv(s)) {
        out.step = c.cout;
    } else {
        out.at += s->channel;
    }
    // before any line is read
    PN_WRITE(c.work, pn_work(s, false).sums + pn_work(s, false).wide, TAG(m, TAG_WORK, s->index, o));
    if (s->mode != PN_MODE_WINDOW) {
        map_rows(m, s, o, &c.in);
    }
    for (uint32_t x = s->out_from, most = pn_conv_at_once(s); x < s->out_to; x += n) {
        n = s->out_to - x < most ? s->out_to - x : most;
        int x0 = s->mode == PN_MODE_WINDOW ? sample_block(m, s, o, x, n, &c) : first_pixel(s, x);
        pn_conv_pixels(&c, x0, n, out.at, out.step);
        for (uint32_t i = 0; i < n; i++, out.at += out.step) {
            wrote(m, s, o, out.at, c.cout);
        }
    }
    PN_READ(c.work, pn_work(s, false).sums + pn_work(s, false).wide, TAG(m, TAG_WORK, s->index, o));
}

// ---------------------------------------------------------------- a kernel that is the whole map

// Adds input line `y` to the sums: the outputs from s->channel on whose weights are there.
static PN_APART void cover_line(const pn_model_t *m, const pn_stage_t *s, uint32_t y) {
    uint32_t n = pn_part_channels(m, s), row = pn_pixels_in(s) * s->cin, window = window_values(s);
    pn_scaled_t a = pn_scaled_from(m, pn_weight_off(m, s), s->cout, window, s->channel);
    int32_t *sums = (int32_t *)(void *)(m->run.arena + s->wide_at) + s->channel;
    const int8_t *in = line_in(m, s, y).at;
    cover_touch(m, s, y);
    if (y == 0) {
        memcpy(sums, a.bias, 4 * n);
    }
    pn_dots(in, a.weight + y * row, (int)row, (int)window, (int)n, sums);
    line_in(m, s, y); // again, for the checking build
}

static void cover_end(const pn_model_t *m, const pn_stage_t *s) {
    uint32_t n = pn_part_channels(m, s);
    pn_scaled_t a = pn_scaled_from(m, pn_weight_off(m, s), s->cout, window_values(s), s->channel);
    const int32_t *sums = (const int32_t *)(const void *)(m->run.arena + s->wide_at) + s->channel;
    int8_t *out = line_out(m, s, 0).at + s->channel;
    cover_touch(m, s, s->lines_in);
    for (uint32_t i = 0; i < n; i++) {
        out[i] = pn_narrow_end(pn_narrow_q8(sums[i], s->shift, a.mult[i]) + pn_zero_q8(s->zero_out));
    }
    wrote(m, s, 0, out, (int)n);
    cover_touch(m, s, s->lines_in); // again
}

#endif
