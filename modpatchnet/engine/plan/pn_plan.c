// The schedule of a segment, in numbers only.
#include "engine/plan/pn_plan.h"

#include <string.h>

// refuses to compile if a stage outgrows its place in the arena
typedef char pn_stage_size[sizeof(pn_stage_t) == PN_STATE_BYTES ? 1 : -1];

static void stage_init(pn_stage_t *s, const pn_layer_t *l, bool columns) {
    memset(s, 0, sizeof(*s));
    s->ring_at = l->ring_at;
    s->wide_at = l->wide_at;
    s->weight_off = l->weight_off;
    s->cin = l->cin;
    s->cexp = l->cexp;
    s->cout = l->cout;
    s->res_mult = l->res_mult;
    s->rows = l->rows;
    s->group = l->group;
    s->ring_lines = l->lines;
    s->lines_in = columns ? l->w : l->h;
    s->lines_out = columns ? l->ow : l->oh;
    s->cross_in = columns ? l->h : l->w;
    s->cross_out = columns ? l->oh : l->ow;
    s->index = l->index;
    s->kind = l->kind;
    s->kernel = l->kernel;
    s->stride = l->stride;
    s->flags = l->flags;
    s->mode = l->mode;
    s->shift = l->shift;
    s->zero_in = l->zero_in;
    s->zero_out = l->zero_out;
}

void pn_segment_stages(const pn_model_t *m, uint32_t tunnel, pn_segment_t *seg, pn_layer_t *l, pn_stage_t *stages) {
    pn_layer_t last = *l;
    for (uint32_t t = 0; t < seg->layers; t++) {
        pn_layer_read(m, tunnel, seg->first + t, &last);
    }
    uint32_t stop = (uint32_t)seg->first + seg->layers;
    seg->columns = seg->strip < last.oh;
    bool mapped = stop != m->layers && !(last.flags & PN_FLAG_HEAD);
    seg->sink = mapped ? PN_TO_MAP : m->dense ? PN_TO_SUMS : PN_TO_TASK;
    for (uint32_t t = 0; t < seg->layers; t++) {
        pn_layer_read(m, tunnel, seg->first + t, l);
        stage_init(&stages[t], l, seg->columns);
    }
}

// Inputs lo..hi-1 of `size` under outputs from..end-1, along a line or across lines.
static void under(const pn_stage_t *s, uint32_t size, uint32_t from, uint32_t end, uint32_t *lo, uint32_t *hi) {
    uint32_t pad = s->kernel / 2u, first = from * s->stride, last = (end - 1) * s->stride + s->kernel;
    *lo = first < pad ? 0 : first - pad;
    *hi = last - pad < size ? last - pad : size;
}

void pn_needs(const pn_stage_t *s, uint32_t from, uint32_t end, uint32_t *lo, uint32_t *hi) {
    under(s, s->lines_in, from, end, lo, hi);
}

uint32_t pn_ahead(const pn_stage_t *s) {
    return s->mode == PN_MODE_FAST && pn_expands(s) ? pn_fast_ahead(s->kernel, s->stride) : 0;
}

uint32_t pn_fresh_line(const pn_stage_t *s, uint32_t end) {
    uint32_t lo, hi;
    pn_needs(s, s->done, end, &lo, &hi);
    return s->fresh > lo ? s->fresh : lo;
}

void pn_strip_begin(pn_stage_t *stages, const pn_segment_t *seg, uint32_t top) {
    uint32_t size = stages[seg->layers - 1].cross_out, bottom = top + seg->strip;
    uint32_t from = seg->columns ? top : 0, to = seg->columns && bottom < size ? bottom : size;
    for (int t = seg->layers - 1; t >= 0; t--) {
        pn_stage_t *s = &stages[t];
        s->out_from = (uint16_t)from;
        s->out_to = (uint16_t)to;
        under(s, s->cross_in, from, to, &from, &to);
        s->from = (uint16_t)from;
        s->to = (uint16_t)to;
        s->done = s->fresh = s->line = s->channel = 0;
    }
}

pn_job_t pn_next(const pn_stage_t *stages, int n, bool picture) {
    uint32_t demand = stages[n - 1].lines_out;
    pn_job_t job = { PN_STRIP_DONE, 0, 0 };
    if (stages[n - 1].done == demand) {
        return job;
    }
    for (int t = n - 1;; t--) {
        const pn_stage_t *s = &stages[t];
        uint32_t end = (uint32_t)s->done + s->rows, lo, need;
        end = end < demand ? end : demand;
        pn_needs(s, s->done, end, &lo, &need);
        job.stage = (uint8_t)t;
        job.end = (uint16_t)end;
        uint32_t made = t > 0 ? stages[t - 1].done : need;
        if ((s->mode == PN_MODE_ROLLING || s->fresh < pn_ahead(s)) && s->fresh < made) {
            job.action = PN_EXPAND;
        } else if (t > 0 && made < need) {
            demand = need;
            continue;
        } else if (t == 0 && picture && s->mode == PN_MODE_DIRECT && s->fresh < need) {
            job.action = PN_SAMPLE;
        } else {
            job.action = PN_CHUNK;
        }
        return job;
    }
}

uint64_t pn_ring_bytes(const pn_stage_t *s) {
    return (uint64_t)s->ring_lines * pn_pixels_in(s) * s->cin;
}

pn_fast_t pn_fast_shape(const pn_stage_t *s) {
    pn_fast_t f = {
        .cin = s->cin,
        .cexp = s->cexp,
        .cout = s->cout,
        .group = s->group,
        .in = (uint16_t)pn_pixels_in(s),
        .out = (uint16_t)pn_pixels_out(s),
        .kernel = s->kernel,
        .stride = s->stride,
        .pad = (uint8_t)(s->kernel / 2 - (s->out_from * s->stride - s->from)),
        .shift = s->shift,
        .zero_in = s->zero_in,
        .expands = pn_expands(s),
        .wide16 = (s->flags & PN_FLAG_WIDE) != 0,
        .sweep = s->mode == PN_MODE_SWEEP,
        .lines = s->rows,
    };
    return f;
}

uint64_t pn_wide_bytes(const pn_stage_t *s) {
    if (pn_is_fast(s)) {
        pn_fast_t f = pn_fast_shape(s);
        return pn_fast_area(&f).wide;
    }
    return s->mode == PN_MODE_ROLLING ? (uint64_t)pn_kernel_lines(s) * pn_pixels_in(s) * s->cexp : 0;
}

uint32_t pn_conv_at_once(const pn_stage_t *s) {
    uint32_t most = s->group, all = (pn_pixels_out(s) + 1) & ~1u;
    if (pn_grouped_conv(s) || most == 0) { // the plan does not say
        uint32_t pairs = PN_WIDENED_BYTES / PN_QUAD_BYTES / pn_conv_quads(s->kernel, s->cin);
        most = pairs ? 2 * pairs : 2;
    }
    return most < all ? most : all;
}

static pn_work_t conv_work(const pn_stage_t *s, bool pooled) {
    uint32_t pixels = pn_conv_at_once(s), reach = (pixels - 1) * s->stride + s->kernel;
    pn_work_t w = { pn_conv_bytes(pn_conv_quads(s->kernel, s->cin), pixels), 0, 0, 0 };
    w.wide = s->mode == PN_MODE_WINDOW ? (uint64_t)s->kernel * reach * s->cin : 0;
    w.staging = pooled ? (uint64_t)pn_pixels_out(s) * (pn_grouped_conv(s) ? s->group : s->cout) : 0;
    return w;
}

pn_work_t pn_work(const pn_stage_t *s, bool pooled) {
    if (s->kind == PN_KIND_CONV) {
        return conv_work(s, pooled);
    }
    if (pn_is_fast(s)) {
        pn_fast_t f = pn_fast_shape(s);
        pn_work_t fast = { 0, 0, pn_fast_area(&f).work, pooled ? (uint64_t)pn_pixels_out(s) * s->cout : 0 };
        return fast;
    }
    uint64_t pixels = (uint64_t)s->rows * pn_pixels_out(s);
    uint64_t group_lines = (uint64_t)pn_kernel_lines(s) * pn_pixels_in(s) * s->group;
    pn_work_t w = { 0, 0, s->cexp, pooled ? (uint64_t)pn_pixels_out(s) * s->cout : 0 };
    switch (s->mode) {
        case PN_MODE_GROUPS:
            w.sums = 4 * pixels * s->cout;
            w.wide = group_lines;
            w.values = s->group;
            break;
        case PN_MODE_STORED:
            w.sums = pixels * s->cexp;
            w.wide = group_lines;
            w.values = 0;
            break;
    }
    return w;
}
