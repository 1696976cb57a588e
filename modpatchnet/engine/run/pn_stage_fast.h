// Bottlenecks in the layout of the fast kernels: modes 5 and 6. A part of pn_stage.c.
#ifndef PN_STAGE_FAST_H
#define PN_STAGE_FAST_H

pn_fast_t pn_fast_stage(const pn_model_t *m, const pn_stage_t *s) {
    pn_fast_t f = pn_fast_shape(s);
    pn_fast_arrays_t bytes = pn_fast_arrays(&f);
    const uint8_t *param = pn_stage_param(m, s);
    f.shift_expand = param[PN_PARAM_SHIFT_1];
    f.shift_depthwise = param[PN_PARAM_SHIFT_2];
    f.res_mult = (int32_t)pn_u16(param + PN_PARAM_RES_MULT);
    f.first = m->weights.parted ? s->channel : 0;
    f.narrow = (const int32_t *)(const void *)pn_array(m, pn_u32(param + PN_PARAM_WEIGHT_OFF));
    uint32_t place = f.first < m->weights.stay ? f.first : m->weights.stay;
    f.arrays = (const uint8_t *)f.narrow + bytes.narrow + place * bytes.each;
    return f;
}

static pn_fast_t fast_of(const pn_model_t *m, const pn_stage_t *s) {
    pn_fast_t f = pn_fast_stage(m, s);
    f.zero_q8 = pn_zero_q8(s->zero_out) - f.res_mult * s->zero_in;
    f.wide = m->run.arena + s->wide_at;
    f.work = m->run.arena + m->run.segment.work_at;
    return f;
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

// Before output line `o` in mode 5, if it is the strip's first, or in mode 6, if it is the first one of a group in a
// chunk: takes in those of the lines under it that it does not read anew, for the channels whose weights are there. Apart
// from the line itself, as no run is deeper in the stack.
static PN_APART void fast_first(const pn_model_t *m, const pn_stage_t *s, uint32_t o) {
    bool sweeps = s->mode == PN_MODE_SWEEP;
    if (o != (sweeps ? s->done : 0u)) {
        return;
    }
    pn_fast_t f = fast_of(m, s);
    uint32_t lo, hi, end = s->channel + pn_part_channels(m, s), y = sweeps ? 0 : s->lines_in;
    if (sweeps) {
        pn_fast_begin(&f);
    } else if (s->channel == 0) {
        if (pn_ahead(s) == 0) {
            fast_begin(m, s, &f);
        }
        fast_used(m, s, &f, 1); // before any line is read: none lies in that memory
    }
    if (!f.expands) {
        return;
    }
    int fresh = lines_under(s, o, &lo, &hi) + s->along.kernel - s->along.stride;
    for (y = y < lo ? lo : y; (int)y < fresh; y++) {
        line_t below = { NULL, 0 };
        pn_fast_take(&f, y < hi ? line_in(m, s, y) : below, y, s->channel, end);
    }
}

// The lines that output line `o` is made of. Returns one past the last input line.
static uint32_t fast_lines(const pn_model_t *m, const pn_stage_t *s, const pn_fast_t *f, uint32_t o,
    pn_fast_lines_t *l) {
    uint32_t lo, hi, n = pn_fast_lines(f);
    l->top = lines_under(s, o, &lo, &hi);
    for (uint32_t i = 0; i < n; i++) {
        int y = l->top + (int)(s->along.kernel - n + i);
        bool inside = y >= (int)lo && y < (int)hi;
        l->in[i] = inside ? line_in(m, s, (uint32_t)y) : (line_t) { NULL, 0 };
    }
    line_t kept = residual(m, s, o);
    kept.at = kept.at ? kept.at + (s->out_from - s->from) * kept.step : NULL;
    l->out = line_out(m, s, o);
    l->residual = kept;
    return hi;
}

// Tells the checking build that a fast stage's output line is there.
static void fast_wrote(const pn_model_t *m, const pn_stage_t *s, uint32_t o, const pn_fast_lines_t *l) {
    for (uint32_t x = 0; x < pn_pixels_out(s); x++) {
        wrote(m, s, o, l->out.at + (size_t)x * (size_t)l->out.step, s->cout);
    }
}

// One output line in mode 5, or the channels of it whose weights are there.
static PN_APART void fast_line(pn_model_t *m, pn_stage_t *s, uint32_t o) {
    pn_fast_t f = fast_of(m, s);
    if (s->channel == 0 && o > 0) {
        fast_used(m, s, &f, o + 1);
    }
    pn_fast_lines_t l;
    uint32_t end = s->channel + pn_part_channels(m, s), read = fast_lines(m, s, &f, o, &l);
    pn_fast_line(&f, &l, s->channel, end);
    if (end == s->cexp) {
        fast_wrote(m, s, o, &l);
        s->fresh = (uint16_t)read;
    }
}

// Output line s->line of a chunk for one group of channels in mode 6; the last group ends the line.
static PN_APART void sweep_line(pn_model_t *m, const pn_stage_t *s) {
    pn_fast_t f = fast_of(m, s);
    uint32_t o = s->line, end = s->channel + pn_part_channels(m, s);
    f.line = (uint16_t)(o - s->done);
    if (o == s->done && s->channel == 0) {
        PN_WRITE(f.work, pn_fast_area(&f).work, TAG(m, TAG_WORK, s->index, s->done));
    } else {
        PN_READ(f.work, pn_fast_area(&f).work, TAG(m, TAG_WORK, s->index, s->done));
    }
    pn_fast_lines_t l;
    fast_lines(m, s, &f, o, &l);
    pn_fast_line(&f, &l, s->channel, end);
    if (end == s->cexp) {
        fast_wrote(m, s, o, &l);
        read_again(m, s, o);
    }
}

// One of the input lines that mode 5 takes in beforehand.
static PN_APART void fast_take(const pn_model_t *m, const pn_stage_t *s, uint32_t y) {
    pn_fast_t f = fast_of(m, s);
    if (y == 0 && s->channel == 0) {
        fast_begin(m, s, &f);
    }
    pn_fast_take(&f, line_in(m, s, y), y, s->channel, s->channel + pn_part_channels(m, s));
}

#endif
