// The schedule of a segment, in numbers only.
#include "engine/plan/pn_plan.h"

#include <string.h>

// refuses to compile if a stage outgrows its place in the arena
typedef char pn_stage_size[sizeof(pn_stage_t) == PN_STATE_BYTES ? 1 : -1];

static void stage_init(pn_stage_t *s, const pn_layer_t *l, bool columns) {
    memset(s, 0, sizeof(*s));
    s->ring_at = l->ring_at;
    s->wide_at = l->wide_at;
    s->cin = l->cin;
    s->cexp = l->cexp;
    s->cout = l->cout;
    s->rows = l->rows;
    s->group = l->group;
    s->ring_lines = l->lines;
    s->lines_in = columns ? l->w : l->h;
    s->lines_out = columns ? l->ow : l->oh;
    s->cross_in = columns ? l->h : l->w;
    s->cross_out = columns ? l->oh : l->ow;
    s->along = columns ? l->x : l->y;
    s->across = columns ? l->y : l->x;
    s->index = l->index;
    s->kind = l->kind;
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
    seg->sink = mapped ? PN_TO_MAP : m->pools && stop == m->all_layers ? PN_TO_SUMS : PN_TO_TASK;
    for (uint32_t t = 0; t < seg->layers; t++) {
        pn_layer_read(m, tunnel, seg->first + t, l);
        stage_init(&stages[t], l, seg->columns);
        stages[t].floats = pn_floats(m);
    }
}

// Inputs lo..hi-1 of `size` under outputs from..end-1 of a kernel. Padding is less than the kernel, so there is one.
static void under(const pn_axis_t *a, uint32_t size, uint32_t from, uint32_t end, uint32_t *lo, uint32_t *hi) {
    uint32_t first = from * a->stride, last = (end - 1) * a->stride + a->kernel - a->pad;
    *lo = first < a->pad ? 0 : first - a->pad;
    *hi = last < size ? last : size;
}

void pn_middle(const pn_stage_t *s, bool across, uint32_t from, uint32_t end, uint32_t *lo, uint32_t *hi) {
    uint32_t half = (across ? s->across : s->along).second / 2u, size = across ? s->cross_out : s->lines_out;
    *lo = from < half ? 0 : from - half;
    *hi = end + half < size ? end + half : size;
}

// What of a line is needed for outputs from..end-1.
static void across(const pn_stage_t *s, uint32_t from, uint32_t end, uint32_t *lo, uint32_t *hi) {
    pn_middle(s, true, from, end, &from, &end);
    under(&s->across, s->cross_in, from, end, lo, hi);
}

void pn_block_needs(const pn_stage_t *s, uint32_t from, uint32_t end, uint32_t *lo, uint32_t *hi) {
    under(&s->along, s->lines_in, from, end, lo, hi);
}

void pn_needs(const pn_stage_t *s, uint32_t from, uint32_t end, uint32_t *lo, uint32_t *hi) {
    pn_middle(s, false, from, end, &from, &end);
    under(&s->along, s->lines_in, from, end, lo, hi);
}

uint32_t pn_ahead(const pn_stage_t *s) {
    const pn_axis_t *a = &s->along;
    return s->mode == PN_MODE_FAST && pn_expands(s) ? pn_fast_ahead(a->kernel, a->stride, a->pad) : 0;
}

uint32_t pn_fresh_line(const pn_stage_t *s, uint32_t end) {
    uint32_t lo, hi;
    if (s->kind == PN_KIND_BLOCK) {
        return s->fresh;
    }
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
        across(s, from, to, &from, &to);
        s->from = (uint16_t)from;
        s->to = (uint16_t)to;
        s->done = s->fresh = s->line = s->channel = 0;
    }
}

// One past the last input line that output lines before `end` need: pn_needs for a job's search, which asks each layer
// above it.
static uint32_t need_before(const pn_stage_t *s, uint32_t end) {
    uint32_t lo, need;
    if (s->kind == PN_KIND_BLOCK) {
        pn_needs(s, s->done, end, &lo, &need);
        return need;
    }
    need = (end - 1) * s->along.stride + s->along.kernel - s->along.pad;
    return need < s->lines_in ? need : s->lines_in;
}

// Whether a stage takes in a line by itself now, before output lines up to `end`, `made` input lines being there.
static bool takes_next(const pn_stage_t *s, uint32_t end, uint32_t made) {
    uint32_t lo, hi, y;
    if (s->kind == PN_KIND_BLOCK) {
        y = s->fresh;
        pn_middle(s, false, s->done, end, &lo, &hi);
        if (y >= hi) {
            return false;
        }
        pn_block_needs(s, y, y + 1, &lo, &hi);
        return hi <= made;
    }
    return (pn_rolls(s) || s->fresh < pn_ahead(s)) && pn_fresh_line(s, end) < made;
}

pn_job_t pn_next(const pn_stage_t *stages, int n, bool picture) {
    uint32_t demand = stages[n - 1].lines_out;
    pn_job_t job = { PN_STRIP_DONE, 0, 0 };
    if (stages[n - 1].done == demand) {
        return job;
    }
    for (int t = n - 1;; t--) {
        const pn_stage_t *s = &stages[t];
        uint32_t end = (uint32_t)s->done + s->rows;
        end = end < demand ? end : demand;
        uint32_t need = need_before(s, end);
        job.stage = (uint8_t)t;
        job.end = (uint16_t)end;
        uint32_t made = t > 0 ? stages[t - 1].done : need;
        if (takes_next(s, end, made)) {
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
    return (uint64_t)s->ring_lines * pn_pixels_in(s) * s->cin * pn_size_in(s);
}

pn_fast_t pn_fast_shape(const pn_stage_t *s) {
    pn_fast_t f = {
        .cin = s->cin,
        .cexp = s->cexp,
        .cout = s->cout,
        .group = s->group,
        .in = (uint16_t)pn_pixels_in(s),
        .out = (uint16_t)pn_pixels_out(s),
        .kernel = s->across.kernel,
        .stride = s->across.stride,
        .pad = (uint8_t)(s->across.pad - (s->out_from * s->across.stride - s->from)),
        .shift = s->shift,
        .zero_in = s->zero_in,
        .expands = pn_expands(s),
        .as_bytes = (s->flags & PN_FLAG_BYTES) != 0,
        .sweep = s->mode == PN_MODE_SWEEP,
        .sums24 = (s->flags & PN_FLAG_NARROW) != 0,
        .lines = s->rows,
    };
    return f;
}

uint64_t pn_wide_bytes(const pn_stage_t *s) {
    if (pn_is_fast(s)) {
        pn_fast_t f = pn_fast_shape(s);
        return pn_fast_area(&f).wide;
    }
    if (s->mode == PN_MODE_COVER) {
        return (s->kind == PN_KIND_MAXPOOL ? pn_size(s) : 4u) * (uint64_t)s->cout;
    }
    uint64_t pixels = s->kind == PN_KIND_BLOCK ? pn_middle_pixels(s) : pn_pixels_in(s);
    return s->mode == PN_MODE_ROLLING ? pn_kernel_lines(s) * pixels * s->cexp * pn_size(s) : 0;
}

uint32_t pn_middle_pixels(const pn_stage_t *s) {
    uint32_t lo, hi;
    pn_middle(s, true, s->out_from, s->out_to, &lo, &hi);
    return hi - lo;
}

static uint32_t taps(const pn_stage_t *s) {
    return (uint32_t)s->along.kernel * s->across.kernel;
}

uint32_t pn_windows_at_once(uint32_t quads, uint32_t most, uint32_t pixels) {
    uint32_t all = (pixels + 1) & ~1u;
    if (most == 0) {
        uint32_t pairs = PN_WIDENED_BYTES / PN_QUAD_BYTES / quads;
        most = pairs ? 2 * pairs : 2;
    }
    return most < all ? most : all;
}

uint32_t pn_conv_at_once(const pn_stage_t *s) {
    uint32_t most = pn_grouped_conv(s) ? 0 : s->group;
    return pn_windows_at_once(pn_conv_quads(taps(s), s->cin), most, pn_pixels_out(s));
}

static void conv_work(const pn_stage_t *s, pn_work_t *w) {
    uint32_t pixels = pn_conv_at_once(s), reach = (pixels - 1) * s->across.stride + s->across.kernel;
    w->sums = pn_conv_bytes(pn_conv_quads(taps(s), s->cin), pixels);
    w->wide = s->mode == PN_MODE_WINDOW ? (uint64_t)s->along.kernel * reach * s->cin : 0;
}

// What a convolution of a block works in.
static uint64_t windows_work(uint32_t taps, uint32_t cin, uint32_t pixels) {
    uint32_t quads = pn_conv_quads(taps, cin);
    return pn_conv_bytes(quads, pn_windows_at_once(quads, 0, pixels));
}

static void block_work(const pn_stage_t *s, pn_work_t *w) {
    uint32_t pixels = pn_pixels_out(s), second = (uint32_t)s->along.second * s->across.second;
    bool shortcut = s->flags & PN_FLAG_EXPAND;
    uint64_t each[3] = {
        windows_work(taps(s), s->cin, pn_middle_pixels(s)),
        windows_work(second, s->cexp, pixels),
        shortcut ? windows_work(1, s->cin, pixels) : 0,
    };
    for (int i = 0; i < 3; i++) {
        w->sums = each[i] > w->sums ? each[i] : w->sums;
    }
    w->wide = shortcut ? (uint64_t)pixels * s->cout : 0;
}

static void bottleneck_work(const pn_stage_t *s, pn_work_t *w) {
    uint64_t pixels = (uint64_t)s->rows * pn_pixels_out(s);
    uint64_t group_lines = (uint64_t)pn_kernel_lines(s) * pn_pixels_in(s) * s->group;
    w->values = s->cexp;
    switch (s->mode) {
        case PN_MODE_GROUPS:
            w->sums = 4 * pixels * s->cout;
            w->wide = group_lines;
            w->values = s->group;
            break;
        case PN_MODE_STORED:
            w->sums = pixels * s->cexp;
            w->wide = group_lines;
            w->values = 0;
            break;
    }
}

#ifdef PN_NO_FLOAT32
#define float_work(s, w) ((void)(w), false)
#else
// Of a float32 network: sums are as large as others, windows are not widened.
static bool float_work(const pn_stage_t *s, pn_work_t *w) {
    if (s->floats && s->kind == PN_KIND_BOTTLENECK) {
        bottleneck_work(s, w);
        w->wide *= 4;
        w->values *= 4;
    }
    return s->floats;
}
#endif

pn_work_t pn_work(const pn_stage_t *s, bool pooled) {
    pn_work_t w = { 0, 0, 0, 0 };
    w.staging = pooled ? (uint64_t)pn_pixels_out(s) * (pn_grouped_conv(s) ? s->group : s->cout) * pn_size(s) : 0;
    if (float_work(s, &w)) {
        return w;
    }
    if (pn_is_fast(s)) {
        pn_fast_t f = pn_fast_shape(s);
        w.values = pn_fast_area(&f).work;
    } else if (s->kind == PN_KIND_BOTTLENECK) {
        bottleneck_work(s, &w);
    } else if (s->kind == PN_KIND_BLOCK) {
        block_work(s, &w);
    } else if (s->kind == PN_KIND_CONV && s->mode != PN_MODE_COVER) {
        conv_work(s, &w);
    }
    return w;
}
