// Bottlenecks in the portable modes, 0, 1, 3 and 4. A part of pn_stage.c.
#ifndef PN_STAGE_BOTTLENECK_H
#define PN_STAGE_BOTTLENECK_H

// A bottleneck's arrays and places, for one group of channels.
typedef struct {
    pn_expand_t expand;
    pn_depthwise_t depthwise;
    pn_project_t project;
    uint8_t *sums, *wide, *values; // parts of the work area
} bottleneck_t;

// For `n` channels from s->channel on.
static void bottleneck_of(const pn_model_t *m, const pn_stage_t *s, uint32_t n, bottleneck_t *b) {
    const uint8_t *p = pn_array(m, pn_weight_off(m, s)), *param = pn_stage_param(m, s);
    int32_t res_mult = pn_res_mult(m, s);
    uint32_t first = s->channel, expanded = pn_expands(s) ? s->cexp : 0;
    bool is_signed = s->flags & PN_FLAG_SIGNED;
    pn_scaled_t a = pn_scaled(p, expanded, expanded * s->cin, &p);
    b->expand = (pn_expand_t) {
        .weight = a.weight + first * s->cin,
        .bias = a.bias + first,
        .mult = a.mult + first,
        .cin = s->cin,
        .group = (int)n,
        .shift = param[PN_PARAM_SHIFT_1],
        .is_signed = is_signed,
    };
    a = pn_scaled(p, s->cexp, (uint32_t)s->cexp * s->along.kernel * s->across.kernel, &p);
    b->depthwise = (pn_depthwise_t) {
        .weight = a.weight + first,
        .bias = a.bias + first,
        .mult = a.mult + first,
        .group = (int)n,
        .shift = param[PN_PARAM_SHIFT_2],
        .zero = expanded ? 0 : s->zero_in,
        .in_signed = !expanded || is_signed,
        .out_signed = is_signed,
    };
    b->depthwise.in.lines = s->along.kernel;
    b->depthwise.in.pixels = s->across.kernel;
    tap_order(m, s, s->cexp, &b->depthwise.in);
    b->depthwise.in.step = (int)n;
    b->depthwise.in.w = (int)pn_pixels_in(s);
    a = pn_scaled(p, s->cout, (uint32_t)s->cexp * s->cout, &p);
    b->project = (pn_project_t) {
        .weight = a.weight,
        .bias = a.bias,
        .mult = a.mult,
        .zero_q8 = pn_zero_q8(s->zero_out) - res_mult * s->zero_in,
        .cexp = s->cexp,
        .cout = s->cout,
        .shift = s->shift,
        .res_mult = res_mult,
        .is_signed = is_signed,
    };
    pn_work_t w = pn_work(s, false);
    b->sums = m->run.arena + m->run.segment.work_at;
    b->wide = b->sums + w.sums;
    b->values = b->wide + w.wide;
}

// The residual of output line `o`, if there is one.
static line_t residual(const pn_model_t *m, const pn_stage_t *s, uint32_t o) {
    line_t none = { NULL, 0 };
    return pn_adds(s) ? line_in(m, s, pn_added_line(s, o)) : none;
}

static const int8_t *pixel_of(const line_t *line, uint32_t x) {
    return line->at == NULL ? NULL : line->at + (size_t)x * (size_t)line->step;
}

// Rows of the kernel in `kept` expanded lines at `ring`, `bytes` each.
static void ring_rows(const pn_stage_t *s, uint32_t o, const uint8_t *ring, size_t bytes, pn_taps_t *taps) {
    uint32_t lo, hi;
    int top = lines_under(s, o, &lo, &hi);
    for (int k = 0; k < s->along.kernel; k++) {
        int y = top + k;
        taps->rows[k] = y < (int)lo || y >= (int)hi ? NULL : ring + (uint32_t)y % pn_kernel_lines(s) * bytes;
    }
}

// One output line from lines that are there: the input's (no expansion), or those of the wide ring. Of each pixel first
// the depthwise values, then the output.
static PN_APART void whole_line(pn_model_t *m, const pn_stage_t *s, uint32_t o) {
    bottleneck_t b;
    bottleneck_of(m, s, s->cexp, &b);
    if (s->mode == PN_MODE_ROLLING) {
        size_t bytes = (size_t)pn_pixels_in(s) * s->cexp;
        ring_rows(s, o, m->run.arena + s->wide_at, bytes, &b.depthwise.in);
    } else {
        map_rows(m, s, o, &b.depthwise.in);
    }
    line_t out = line_out(m, s, o), kept = residual(m, s, o);
    for (uint32_t x = s->out_from; x < s->out_to; x++, out.at += out.step) {
        pn_depthwise_pixel(&b.depthwise, first_pixel(s, x), b.values);
        PN_WRITE(b.values, s->cexp, TAG(m, TAG_KEPT, s->index, o));
        pn_project_pixel(&b.project, b.values, pixel_of(&kept, x - s->from), out.at);
        wrote(m, s, o, out.at, s->cout);
        PN_READ(b.values, s->cexp, TAG(m, TAG_KEPT, s->index, o));
    }
}

static PN_APART void expand_line(pn_model_t *m, const pn_stage_t *s, uint32_t y) {
    bottleneck_t b;
    bottleneck_of(m, s, s->cexp, &b);
    line_t in = line_in(m, s, y);
    size_t bytes = (size_t)pn_pixels_in(s) * s->cexp;
    uint8_t *out = m->run.arena + s->wide_at + y % pn_kernel_lines(s) * bytes;
    pn_expand(&b.expand, in.at, in.step, (int)pn_pixels_in(s), out);
    PN_WRITE(out, bytes, TAG(m, TAG_WIDE, s->index, y));
    line_in(m, s, y); // again, for the checking build
}

// Modes 3 and 4: expands what output line `o` needs and the group's turn has not yet made.
static void expand_group(pn_model_t *m, pn_stage_t *s, const bottleneck_t *b, uint32_t o) {
    uint32_t lo, hi;
    pn_needs(s, o, o + 1, &lo, &hi);
    size_t bytes = (size_t)pn_pixels_in(s) * (uint32_t)b->expand.group;
    for (uint32_t y = s->fresh > lo ? s->fresh : lo; y < hi; y++) {
        line_t in = line_in(m, s, y);
        uint8_t *out = b->wide + y % pn_kernel_lines(s) * bytes;
        pn_expand(&b->expand, in.at, in.step, (int)pn_pixels_in(s), out);
        PN_WRITE(out, bytes, TAG(m, TAG_WORK, s->index, y ^ s->channel << 12));
        line_in(m, s, y); // again, for the checking build
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

static void group_end(pn_model_t *m, const pn_stage_t *s, const bottleneck_t *b, uint32_t o, uint32_t i) {
    line_t out = line_out(m, s, o), kept = residual(m, s, o);
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
        wrote(m, s, o, out.at, s->cout);
    }
}

// Tells the checking build, after output line `o` is written, what was still being read while it was.
static void read_again(const pn_model_t *m, const pn_stage_t *s, uint32_t o) {
#ifdef PN_SHADOW
    uint32_t lo, hi;
    bool block = s->kind == PN_KIND_BLOCK;
    size_t bytes = (size_t)(block ? pn_middle_pixels(s) : pn_pixels_in(s)) * s->cexp * pn_size(s);
    if (block) {
        pn_middle(s, false, o, o + 1, &lo, &hi);
    } else {
        pn_needs(s, o, o + 1, &lo, &hi);
    }
    for (uint32_t y = lo; y < hi; y++) {
        if (s->mode == PN_MODE_ROLLING) {
            PN_READ(m->run.arena + s->wide_at + y % pn_kernel_lines(s) * bytes, bytes, TAG(m, TAG_WIDE, s->index, y));
        } else if (!pn_expands(s) && s->mode != PN_MODE_COVER && (s->index || s->mode == PN_MODE_DIRECT)) {
            line_in(m, s, y);
        }
    }
    residual(m, s, o);
#else
    (void)m, (void)s, (void)o;
#endif
}

// Output line s->line of a chunk for one group of channels; the last group ends the line.
static PN_APART void group_line(pn_model_t *m, pn_stage_t *s) {
    uint32_t left = s->cexp - (uint32_t)s->channel, n = left < s->group ? left : s->group;
    uint32_t o = s->line, pixels = pn_pixels_out(s), i = (o - s->done) * pixels;
    bottleneck_t b;
    bottleneck_of(m, s, n, &b);
    expand_group(m, s, &b, o);
    ring_rows(s, o, b.wide, (size_t)pn_pixels_in(s) * n, &b.depthwise.in);
    for (uint32_t x = 0; x < pixels; x++) {
        group_pixel(m, s, &b, i + x, first_pixel(s, s->out_from + x));
    }
    if (n == left) {
        group_end(m, s, &b, o, i);
        read_again(m, s, o);
    }
}

#endif
