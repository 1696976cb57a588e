// Pooling, line by line, or of a kernel that is the whole map as lines come. A part of pn_stage.c.
#ifndef PN_STAGE_POOL_H
#define PN_STAGE_POOL_H

static pn_pool_t pool_of(const pn_model_t *m, const pn_stage_t *s) {
    bool mean = s->kind == PN_KIND_MEANPOOL;
    pn_pool_t p = {
        .channels = s->cin,
        .mean = mean,
        .zero_in = s->zero_in,
        .zero_q8 = pn_zero_q8(s->zero_out),
        .mult = mean ? (int32_t)pn_u32(pn_array(m, pn_weight_off(m, s))) : 0,
        .shift = s->shift,
    };
    return p;
}

static PN_APART void pool_line(const pn_model_t *m, const pn_stage_t *s, uint32_t o) {
    pn_pool_t p = pool_of(m, s);
    line_t out = line_out(m, s, o);
    p.in.lines = s->along.kernel;
    p.in.pixels = s->across.kernel;
    map_rows(m, s, o, &p.in);
    for (uint32_t x = s->out_from; x < s->out_to; x++, out.at += out.step) {
        pn_pool_pixel(&p, first_pixel(s, x), out.at);
        wrote(m, s, o, out.at, s->cout);
    }
}

// Input line `y` joins what has come before it.
static PN_APART void pool_cover_line(const pn_model_t *m, const pn_stage_t *s, uint32_t y) {
    const int8_t *in = line_in(m, s, y).at;
    uint8_t *kept = m->run.arena + s->wide_at;
    cover_touch(m, s, y);
    if (s->kind == PN_KIND_MEANPOOL) {
        if (y == 0) {
            memset(kept, 0, 4 * (size_t)s->cin);
        }
        pn_pool_add(in, s->cross_in, s->cin, s->zero_in, (int32_t *)(void *)kept);
    } else {
        if (y == 0) {
            memset(kept, INT8_MIN & 255, s->cin);
        }
        pn_pool_most(in, s->cross_in, s->cin, (int8_t *)kept);
    }
    line_in(m, s, y); // again, for the checking build
}

static PN_APART void pool_cover_end(const pn_model_t *m, const pn_stage_t *s) {
    const uint8_t *kept = m->run.arena + s->wide_at;
    int8_t *out = line_out(m, s, 0).at;
    cover_touch(m, s, s->lines_in);
    if (s->kind == PN_KIND_MEANPOOL) {
        pn_pool_t p = pool_of(m, s);
        pn_pool_end(&p, (const int32_t *)(const void *)kept, out);
    } else {
        memcpy(out, kept, s->cin);
    }
    wrote(m, s, 0, out, s->cout);
    cover_touch(m, s, s->lines_in); // again
}

#endif
