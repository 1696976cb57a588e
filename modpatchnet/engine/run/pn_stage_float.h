// Layers of float32 networks, in the modes that their plans may have: direct, rolling, groups and cover. Sums are made
// where the output goes, or, in groups, in the work area. A part of pn_stage.c.
#ifndef PN_STAGE_FLOAT_H
#define PN_STAGE_FLOAT_H

#ifdef PN_NO_FLOAT32
#define float_make_line(m, s) ((void)0)
#define float_take_line(m, s, y) ((void)0)
#define float_group_line(m, s) ((void)0)
#else

static float *floats(void *at) {
    return (float *)at;
}

// Biases and weights of `n` outputs.
typedef struct {
    const float *bias, *weight;
} floats_t;

// Those at *p, `row` weights each, and *p behind them.
static floats_t floats_at(const float **p, uint32_t n, uint32_t row) {
    floats_t f = { *p, *p + n };
    *p += (size_t)n * (1 + row);
    return f;
}

static const float *float_arrays(const pn_model_t *m, const pn_stage_t *s) {
    return (const float *)(const void *)pn_array(m, pn_weight_off(m, s));
}

// The kernel of a layer over lines of `cin` channels; of the first layer over int8 values.
static pn_window_f_t float_window(const pn_model_t *m, const pn_stage_t *s, uint32_t cin) {
    bool picture = s->index == 0 && pn_sees(m);
    pn_window_f_t k = {
        .columns = m->run.segment.columns,
        .zero = s->index > 0 ? NULL : (const int8_t *)m->blob + PN_HEADER_INPUT_ZERO,
        .zero_step = picture,
        .cin = (int)cin,
    };
    k.in.lines = s->along.kernel;
    k.in.pixels = s->across.kernel;
    return k;
}

// The activation that a field of the layer's integers tells, of `n` values.
static void float_act(const pn_model_t *m, const pn_stage_t *s, int field, uint32_t n, float *v) {
    uint8_t act = pn_stage_param(m, s)[field];
    if (act != PN_ACT_NONE) {
        pn_float_relu(act == PN_ACT_RELU6 ? 6.0f : -pn_float_lowest(), n, v);
    }
}

// What is done with a pixel of a line when its sums are there: what is added, the activation.
static void float_end(const pn_model_t *m, const pn_stage_t *s, const int8_t *added, float *out) {
    if (added != NULL) {
        pn_float_add((const float *)(const void *)added, s->cout, out);
    }
    float_act(m, s, PN_PARAM_SHIFT, s->cout, out);
}

// ---------------------------------------------------------------- convolutions and poolings

// Those of the outputs from s->channel on that are made now.
static PN_APART void float_conv_line(const pn_model_t *m, const pn_stage_t *s, uint32_t o) {
    uint32_t n = pn_grouped_conv(s) ? pn_part_channels(m, s) : s->cout;
    const float *p = float_arrays(m, s);
    floats_t a = floats_at(&p, s->cout, window_values(s));
    pn_window_f_t k = float_window(m, s, s->cin);
    line_t out = line_out(m, s, o);
    out.step = pn_grouped_conv(s) ? 4 * (int)n : out.step;
    map_rows(m, s, o, &k.in);
    for (uint32_t x = s->out_from; x < s->out_to; x++, out.at += out.step) {
        float *to = floats(out.at);
        pn_float_conv(&k, first_pixel(s, x), a.bias + s->channel, a.weight + s->channel * window_values(s), (int)n, to);
        float_act(m, s, PN_PARAM_SHIFT, n, to);
        wrote(m, s, o, out.at, (int)n);
    }
}

static PN_APART void float_pool_line(const pn_model_t *m, const pn_stage_t *s, uint32_t o) {
    pn_window_f_t k = float_window(m, s, s->cin);
    line_t out = line_out(m, s, o);
    map_rows(m, s, o, &k.in);
    for (uint32_t x = s->out_from; x < s->out_to; x++, out.at += out.step) {
        pn_float_pool(&k, first_pixel(s, x), s->kind == PN_KIND_MEANPOOL, floats(out.at));
        wrote(m, s, o, out.at, s->cout);
    }
}

// ---------------------------------------------------------------- a kernel that is the whole map

// Adds the products of input line `y` to the sums of all outputs.
static void float_cover_dots(const pn_model_t *m, const pn_stage_t *s, uint32_t y, const int8_t *in, float *sums) {
    const float *p = float_arrays(m, s);
    floats_t a = floats_at(&p, s->cout, window_values(s));
    pn_window_f_t k = float_window(m, s, s->cin);
    const float *weight = a.weight + (size_t)y * s->cross_in * s->cin;
    if (y == 0) {
        memcpy(sums, a.bias, 4 * (size_t)s->cout);
    }
    uint32_t n = (uint32_t)s->cross_in * s->cin, window = window_values(s);
    if (k.zero == NULL) {
        pn_float_dots((const float *)(const void *)in, weight, n, window, s->cout, sums);
    } else {
        pn_float_dots8(&k, in, weight, n, window, s->cout, sums);
    }
}

static PN_APART void float_cover_line(const pn_model_t *m, const pn_stage_t *s, uint32_t y) {
    const int8_t *in = line_in(m, s, y).at;
    const float *values = (const float *)(const void *)in;
    float *kept = floats(m->run.arena + s->wide_at);
    cover_touch(m, s, y);
    if (s->kind == PN_KIND_CONV) {
        float_cover_dots(m, s, y, in, kept);
    } else {
        for (uint32_t c = 0; y == 0 && c < s->cin; c++) {
            kept[c] = s->kind == PN_KIND_MEANPOOL ? 0 : pn_float_lowest();
        }
        if (s->kind == PN_KIND_MEANPOOL) {
            pn_float_sum(values, s->cross_in, s->cin, kept);
        } else {
            pn_float_most(values, s->cross_in, s->cin, kept);
        }
    }
    line_in(m, s, y); // again, for the checking build
}

static PN_APART void float_cover_end(const pn_model_t *m, const pn_stage_t *s) {
    const float *kept = floats(m->run.arena + s->wide_at);
    int8_t *out = line_out(m, s, 0).at;
    cover_touch(m, s, s->lines_in);
    if (s->kind == PN_KIND_MEANPOOL) {
        pn_float_mean(kept, s->cin, (uint32_t)s->along.kernel * s->across.kernel, floats(out));
    } else {
        memcpy(out, kept, 4 * (size_t)s->cout);
    }
    if (s->kind == PN_KIND_CONV) {
        float_act(m, s, PN_PARAM_SHIFT, s->cout, floats(out));
    }
    wrote(m, s, 0, out, s->cout);
    cover_touch(m, s, s->lines_in); // again
}

// ---------------------------------------------------------------- bottlenecks

// A bottleneck's arrays and parts of the work area.
typedef struct {
    floats_t expand, depthwise, project;
    uint32_t n; // channels of a group, from s->channel on
    float *sums, *wide, *values;
} float_bottleneck_t;

static float_bottleneck_t float_bottleneck(const pn_model_t *m, const pn_stage_t *s, uint32_t n) {
    const float *p = float_arrays(m, s);
    pn_work_t w = pn_work(s, false);
    uint8_t *work = m->run.arena + m->run.segment.work_at;
    float_bottleneck_t b;
    b.expand = floats_at(&p, pn_expands(s) ? s->cexp : 0, s->cin);
    b.depthwise = floats_at(&p, s->cexp, (uint32_t)s->along.kernel * s->across.kernel);
    b.project = floats_at(&p, s->cout, s->cexp);
    b.n = n;
    b.sums = floats(work);
    b.wide = floats(work + w.sums);
    b.values = floats(work + w.sums + w.wide);
    return b;
}

// Expands line `y` for the group's channels.
static void float_expand(const pn_model_t *m, const pn_stage_t *s, const float_bottleneck_t *b, uint32_t y,
    float *out) {
    line_t in = line_in(m, s, y);
    for (uint32_t x = 0; x < pn_pixels_in(s); x++, in.at += in.step, out += b->n) {
        memcpy(out, b->expand.bias + s->channel, 4 * b->n);
        pn_float_dots((const float *)(const void *)in.at, b->expand.weight + (size_t)s->channel * s->cin, s->cin,
            s->cin, b->n, out);
        float_act(m, s, PN_PARAM_SHIFT_1, b->n, out);
    }
}

// The group's depthwise values of a pixel.
static void float_values(const pn_model_t *m, const pn_stage_t *s, const float_bottleneck_t *b, const pn_window_f_t *k,
    uint32_t x) {
    pn_float_depthwise(k, first_pixel(s, x), b->depthwise.bias + s->channel, b->depthwise.weight + s->channel,
        (int)b->n, s->cexp, b->values);
    float_act(m, s, PN_PARAM_SHIFT_2, b->n, b->values);
}

// One output line from lines that are there: the input's (no expansion), or those of the wide ring.
static PN_APART void float_whole_line(const pn_model_t *m, const pn_stage_t *s, uint32_t o) {
    float_bottleneck_t b = float_bottleneck(m, s, s->cexp);
    pn_window_f_t k = float_window(m, s, s->cexp);
    if (s->mode == PN_MODE_ROLLING) {
        k.in.w = (int)pn_pixels_in(s);
        k.in.step = 4 * s->cexp;
        ring_rows(s, o, m->run.arena + s->wide_at, (size_t)pn_pixels_in(s) * s->cexp * 4, &k.in);
    } else {
        map_rows(m, s, o, &k.in);
    }
    line_t out = line_out(m, s, o), kept = residual(m, s, o);
    for (uint32_t x = s->out_from; x < s->out_to; x++, out.at += out.step) {
        PN_WRITE(b.values, 4 * s->cexp, TAG(m, TAG_KEPT, s->index, o));
        float_values(m, s, &b, &k, x);
        memcpy(out.at, b.project.bias, 4 * (size_t)s->cout);
        pn_float_project(b.values, b.project.weight, s->cexp, s->cout, floats(out.at));
        float_end(m, s, pixel_of(&kept, x - s->from), floats(out.at));
        wrote(m, s, o, out.at, s->cout);
        PN_READ(b.values, 4 * s->cexp, TAG(m, TAG_KEPT, s->index, o));
    }
}

static PN_APART void float_expand_line(const pn_model_t *m, const pn_stage_t *s, uint32_t y) {
    float_bottleneck_t b = float_bottleneck(m, s, s->cexp);
    size_t bytes = (size_t)pn_pixels_in(s) * s->cexp * 4;
    float *out = floats(m->run.arena + s->wide_at + y % pn_kernel_lines(s) * bytes);
    float_expand(m, s, &b, y, out);
    PN_WRITE(out, bytes, TAG(m, TAG_WIDE, s->index, y));
    line_in(m, s, y); // again, for the checking build
}

// Mode groups: expands what output line `o` needs and the group's turn has not yet made, and finds it.
static void float_expand_group(pn_model_t *m, pn_stage_t *s, const float_bottleneck_t *b, uint32_t o,
    pn_window_f_t *k) {
    uint32_t lo, hi;
    pn_needs(s, o, o + 1, &lo, &hi);
    size_t bytes = (size_t)pn_pixels_in(s) * b->n * 4;
    for (uint32_t y = s->fresh > lo ? s->fresh : lo; y < hi; y++) {
        uint8_t *out = (uint8_t *)b->wide + y % pn_kernel_lines(s) * bytes;
        float_expand(m, s, b, y, floats(out));
        PN_WRITE(out, bytes, TAG(m, TAG_WORK, s->index, y ^ s->channel << 12));
        line_in(m, s, y); // again, for the checking build
    }
#ifdef PN_SHADOW
    for (uint32_t y = lo; y < hi; y++) {
        uint8_t *line = (uint8_t *)b->wide + y % pn_kernel_lines(s) * bytes;
        PN_READ(line, bytes, TAG(m, TAG_WORK, s->index, y ^ s->channel << 12));
    }
#endif
    s->fresh = (uint16_t)hi;
    k->in.w = (int)pn_pixels_in(s);
    k->in.step = 4 * (int)b->n;
    ring_rows(s, o, (const uint8_t *)b->wide, bytes, &k->in);
}

// Ends output line `o` of a chunk, whose sums are done.
static void float_end_line(const pn_model_t *m, const pn_stage_t *s, uint32_t o, float *sums) {
    line_t out = line_out(m, s, o), kept = residual(m, s, o);
    for (uint32_t x = s->out_from; x < s->out_to; x++, sums += s->cout, out.at += out.step) {
        float_end(m, s, pixel_of(&kept, x - s->from), sums);
        memcpy(out.at, sums, 4 * (size_t)s->cout);
        wrote(m, s, o, out.at, s->cout);
    }
    read_again(m, s, o);
}

// One output line of a chunk for one group of channels; the last group ends the line.
static PN_APART void float_group_line(pn_model_t *m, pn_stage_t *s) {
    uint32_t left = s->cexp - (uint32_t)s->channel, n = left < s->group ? left : s->group, o = s->line;
    float_bottleneck_t b = float_bottleneck(m, s, n);
    pn_window_f_t k = float_window(m, s, n);
    float_expand_group(m, s, &b, o, &k);
    float *line = b.sums + (size_t)(o - s->done) * pn_pixels_out(s) * s->cout, *sums = line;
    for (uint32_t x = s->out_from; x < s->out_to; x++, sums += s->cout) {
        if (s->channel == 0) {
            memcpy(sums, b.project.bias, 4 * (size_t)s->cout);
        } else {
            PN_READ(sums, 4 * s->cout, TAG(m, TAG_KEPT, s->index, o << 4 ^ s->channel));
        }
        PN_WRITE(b.values, 4 * n, TAG(m, TAG_WORK, s->index, x));
        float_values(m, s, &b, &k, x);
        pn_float_project(b.values, b.project.weight + (size_t)s->channel * s->cout, (int)n, s->cout, sums);
        PN_READ(b.values, 4 * n, TAG(m, TAG_WORK, s->index, x));
        PN_WRITE(sums, 4 * s->cout, TAG(m, TAG_KEPT, s->index, o << 4 ^ (s->channel + n)));
    }
    if (n == left) {
        float_end_line(m, s, o, line);
    }
}

// ---------------------------------------------------------------- blocks

// Line `y` between a block's convolutions.
static PN_APART void float_middle(const pn_model_t *m, const pn_stage_t *s, uint32_t y) {
    const float *p = float_arrays(m, s);
    floats_t a = floats_at(&p, s->cexp, window_values(s));
    pn_window_f_t k = float_window(m, s, s->cin);
    size_t bytes = (size_t)pn_middle_pixels(s) * s->cexp * 4;
    uint8_t *line = m->run.arena + s->wide_at + y % pn_kernel_lines(s) * bytes;
    uint32_t from, end;
    pn_middle(s, true, s->out_from, s->out_to, &from, &end);
    map_rows(m, s, y, &k.in);
    for (float *out = floats(line); from < end; from++, out += s->cexp) {
        pn_float_conv(&k, first_pixel(s, from), a.bias, a.weight, s->cexp, out);
        float_act(m, s, PN_PARAM_SHIFT_1, s->cexp, out);
    }
    PN_WRITE(line, bytes, TAG(m, TAG_WIDE, s->index, y));
    map_rows(m, s, y, &k.in); // again, for the checking build
}

static PN_APART void float_block_line(const pn_model_t *m, const pn_stage_t *s, uint32_t o) {
    const float *p = float_arrays(m, s);
    uint32_t second = (uint32_t)s->along.second * s->across.second * s->cexp, from, end;
    floats_at(&p, s->cexp, window_values(s));
    floats_t a = floats_at(&p, s->cout, second), shortcut = floats_at(&p, s->cout, s->cin);
    pn_window_f_t k = float_window(m, s, s->cexp);
    line_t added = residual(m, s, o), out = line_out(m, s, o);
    k.in.lines = s->along.second;
    k.in.pixels = s->across.second;
    middle_rows(m, s, o, &k.in);
    pn_middle(s, true, s->out_from, s->out_to, &from, &end);
    for (uint32_t x = s->out_from; x < s->out_to; x++, out.at += out.step) {
        const int8_t *in = pixel_of(&added, x * s->across.stride - s->from);
        pn_float_conv(&k, (int)(x - s->across.second / 2u) - (int)from, a.bias, a.weight, s->cout, floats(out.at));
        if (s->flags & PN_FLAG_EXPAND) {
            pn_float_shortcut((const float *)(const void *)in, shortcut.bias, shortcut.weight, s->cin, s->cout,
                floats(out.at));
            in = NULL;
        }
        float_end(m, s, in, floats(out.at));
        wrote(m, s, o, out.at, s->cout);
    }
}

// ---------------------------------------------------------------- a stage's jobs

static void float_make_line(pn_model_t *m, const pn_stage_t *s) {
    if (s->mode == PN_MODE_COVER) {
        float_cover_end(m, s);
    } else if (s->kind == PN_KIND_CONV) {
        float_conv_line(m, s, s->done);
    } else if (s->kind == PN_KIND_BOTTLENECK) {
        float_whole_line(m, s, s->done);
    } else if (s->kind == PN_KIND_BLOCK) {
        float_block_line(m, s, s->done);
    } else {
        float_pool_line(m, s, s->done);
    }
}

static void float_take_line(pn_model_t *m, const pn_stage_t *s, uint32_t y) {
    if (s->kind == PN_KIND_BOTTLENECK) {
        float_expand_line(m, s, y);
    } else if (s->kind == PN_KIND_BLOCK) {
        float_middle(m, s, y);
    } else {
        float_cover_line(m, s, y);
    }
}

#endif

#endif
