// Checking a plan: each segment is gone through line by line, as it will be run, without touching a map (FORMAT.md, The
// plan). Where the check is lies in m->run: segment_index and segment, row, index (the segment's first layer, as it has
// to be), layer (the segment's last one); the stages in what pn_open_begin was given to work in.
#include "engine/plan/pn_check.h"

#include "engine/blob/pn_blob.h"
#include "engine/plan/pn_plan.h"

// Everything that is alive at once: map, state, work, what is the task's, and two rings for each layer.
#define MAX_AREAS (3 + PN_MOST_LASTING + 2 * PN_MAX_FUSED)

// Those that are good: they lie in the arena, so 32 bits hold them.
typedef struct {
    const pn_room_t *room;
    int n;
    struct {
        uint32_t at, bytes;
    } list[MAX_AREAS];
} areas_t;

// A strip under check: its maps (those that are found good lie in the arena), one past the last byte of the input map,
// and in rows one past the last one of the output map that has been written.
typedef struct {
    pn_model_t *m;
    const pn_room_t *room;
    const pn_segment_t *seg;
    bool first;
    uint64_t in_bytes, out_bytes;
    uint32_t in_end, written;
    pn_stage_t *stages;
} check_t;

// Adds an area unless it leaves the arena or overlaps one that is there.
static bool add(areas_t *areas, uint32_t at, uint64_t all) {
    uint32_t bytes = (uint32_t)all;
    if (at + all > areas->room->bytes) {
        return false;
    }
    for (int i = 0; i < areas->n && bytes > 0; i++) {
        if (at < areas->list[i].at + areas->list[i].bytes && areas->list[i].at < at + bytes) {
            return false;
        }
    }
    areas->list[areas->n].at = at;
    areas->list[areas->n].bytes = bytes;
    areas->n += bytes > 0;
    return true;
}

// Begins with what outlives segments, and is alive in this one or, after all of them, when the run ends.
static bool add_lasting(const pn_model_t *m, const pn_room_t *room, uint32_t segment, areas_t *areas) {
    bool ok = true, end = segment == m->all_segments;
    areas->room = room;
    areas->n = 0;
    for (uint32_t i = 0; i < room->n && ok; i++) {
        const pn_lasting_t *l = &room->lasting[i];
        ok = (l->at % l->align == 0 || (!end && l->from == m->all_segments))
            && (segment < l->from || segment >= l->end || add(areas, l->at, l->bytes));
    }
    return ok;
}

// The places of a strip. Whether the output map may lie over the input map, as it does, is found out line by line.
static bool strip_areas_ok(const check_t *c) {
    const pn_segment_t *seg = c->seg;
    areas_t areas;
    uint64_t work = 0;
    bool ok = (seg->state_at | seg->work_at) % 4 == 0 && add_lasting(c->m, c->room, c->m->run.segment_index, &areas)
        && add(&areas, seg->state_at, (uint64_t)seg->layers * PN_STATE_BYTES);
    for (int t = 0; t < seg->layers && ok; t++) {
        const pn_stage_t *s = &c->stages[t];
        pn_work_t parts = pn_work(s, c->seg->sink != PN_TO_MAP && t == seg->layers - 1);
        uint64_t bytes = parts.staging ? pn_staging_at(&parts) + parts.staging : parts.sums + parts.wide + parts.values;
        work = bytes > work ? bytes : work;
        ok = add(&areas, s->ring_at, pn_ring_bytes(s)) && add(&areas, s->wide_at, pn_wide_bytes(s));
    }
    ok = ok && add(&areas, seg->work_at, work);
    int n = areas.n;
    ok = ok && add(&areas, seg->in_at, c->in_bytes);
    areas.n = n; // the output map is beside all but that one
    return ok && add(&areas, seg->out_at, c->out_bytes);
}

// Whether a layer's schedule is one that its kind knows.
static bool conv_schedule_ok(const check_t *c, const pn_stage_t *s, int t) {
    bool alone = c->seg->sink == PN_TO_SUMS && c->seg->layers == 1 && !c->seg->columns;
    bool grouped = s->mode == PN_MODE_GROUPS && alone && !c->first;
    bool group_ok = grouped ? s->group >= 1 && s->group <= s->cout : s->group % 2 == 0 && s->group <= PN_MAX_SIDE;
    bool mode_ok = s->mode == PN_MODE_DIRECT || grouped || (s->mode == PN_MODE_WINDOW && c->first && t == 0);
    return mode_ok && group_ok && s->rows == 1;
}

// That a kernel is the whole map was found when the layer was; its lines are rows.
static bool cover_schedule_ok(const check_t *c, const pn_stage_t *s) {
    return !c->seg->columns && s->rows == 1 && s->group == 0 && s->wide_at % 4 == 0;
}

static bool bottleneck_schedule_ok(const pn_stage_t *s) {
    bool grouped = s->mode == PN_MODE_GROUPS || s->mode == PN_MODE_STORED;
    bool group_ok = grouped ? s->group >= 1 && s->group <= s->cexp : s->group == 0;
    bool mode_ok = pn_expands(s) ? grouped || s->mode == PN_MODE_ROLLING : s->mode == PN_MODE_DIRECT;
    return mode_ok && group_ok && s->rows >= 1 && s->rows <= (grouped ? s->lines_out : 1);
}

// The sums of two channels, which kernels have in one, are told apart.
static bool fast_schedule_ok(const pn_stage_t *s) {
    bool sums_ok = (!pn_expands(s) || s->cin <= PN_MAX_FAST_INPUTS)
        && (s->group == s->cexp || s->group <= PN_MAX_FAST_GROUP);
    bool sweeps = s->mode == PN_MODE_SWEEP, plain_ok = s->along.kernel == 3 && !sweeps;
    bool wide_ok = pn_takes_lines(s) ? s->wide_at % 4 == 0 : s->wide_at == 0;
    return (pn_expands(s) || plain_ok) && sums_ok && wide_ok && !(s->flags & PN_FLAG_SIGNED) && s->rows >= 1
        && s->rows <= (sweeps ? s->lines_out : 1) && s->group >= 4 && s->group % 4 == 0 && s->group <= s->cexp;
}

#ifdef PN_NO_FLOAT32
#define float_schedule_ok(c, s) ((void)(c), (void)(s), true)
#else
// What a float32 network's plan may have of all this. A sum over pixels has one order only where lines are rows.
static bool float_schedule_ok(const check_t *c, const pn_stage_t *s) {
    bool window = s->kind == PN_KIND_CONV && s->mode == PN_MODE_DIRECT && s->group > 0;
    bool portable = s->mode != PN_MODE_WINDOW && s->mode != PN_MODE_STORED && !pn_is_fast(s) && !window;
    bool words = ((s->ring_at | s->wide_at | c->seg->in_at | c->seg->out_at) & 3) == 0;
    return !s->floats || (portable && words && !(c->seg->columns && c->seg->sink == PN_TO_SUMS));
}
#endif

static PN_APART bool kind_schedule_ok(const check_t *c, int t) {
    const pn_stage_t *s = &c->stages[t];
    if (!float_schedule_ok(c, s)) {
        return false;
    }
    if (pn_is_fast(s)) {
        return fast_schedule_ok(s);
    }
    if (s->mode == PN_MODE_COVER) {
        return cover_schedule_ok(c, s);
    }
    if (s->kind == PN_KIND_CONV) {
        return conv_schedule_ok(c, s, t);
    }
    if (s->kind == PN_KIND_BOTTLENECK) {
        return bottleneck_schedule_ok(s);
    }
    return s->mode == (s->kind == PN_KIND_BLOCK ? PN_MODE_ROLLING : PN_MODE_DIRECT) && s->rows == 1 && s->group == 0;
}

static bool schedule_ok(const check_t *c, int t) {
    const pn_stage_t *s = &c->stages[t];
    bool ring = t > 0 || (c->first && s->mode != PN_MODE_WINDOW);
    bool ring_ok = ring ? s->ring_lines >= 1 && s->ring_lines <= s->lines_in : s->ring_lines == 0 && s->ring_at == 0;
    return kind_schedule_ok(c, t) && ring_ok && (pn_rolls(s) || pn_is_fast(s) || s->wide_at == 0);
}

// Whether input line `y` of stage `t` is still there.
static bool there(const check_t *c, int t, uint32_t y) {
    const pn_stage_t *s = &c->stages[t];
    if (t > 0) {
        return y + s->ring_lines >= c->stages[t - 1].done;
    }
    if (c->first) {
        return s->mode == PN_MODE_WINDOW || y + s->ring_lines >= s->fresh;
    }
    uint32_t row = c->seg->in_at + y * s->cross_in * s->cin * pn_size_in(s);
    return c->seg->columns || c->seg->out_at >= c->in_end || c->written <= row;
}

// Output lines before `end` are written, if they are those of the segment's map.
static void write(check_t *c, int t, uint32_t end) {
    const pn_stage_t *s = &c->stages[t];
    if (t == c->seg->layers - 1 && c->out_bytes) {
        c->written = c->seg->out_at + end * s->cross_out * s->cout * pn_size(s);
    }
}

// A chunk of groups writes line after line in the last group's turn, while that still expands the lines below.
static bool groups_ok(check_t *c, int t, uint32_t end) {
    const pn_stage_t *s = &c->stages[t];
    bool ok = true;
    uint32_t lo, hi, bottom;
    pn_needs(s, s->done, end, &lo, &bottom);
    for (uint32_t o = s->done; o < end && ok; o++) {
        pn_needs(s, o, o + 1, &lo, &hi);
        write(c, t, o + 1);
        ok = (hi == bottom || there(c, t, hi)) && (!pn_adds(s) || there(c, t, o));
    }
    return ok;
}

// A fast chunk brings its new input lines into its own memory before it writes; a residual line it reads while it
// writes.
static bool chunk_ok(check_t *c, int t, uint32_t end) {
    pn_stage_t *s = &c->stages[t];
    uint32_t lo, hi;
    pn_needs(s, s->done, end, &lo, &hi);
    if (pn_takes_lines(s)) {
        uint32_t first = pn_fresh_line(s, end);
        bool ok = first >= hi || there(c, t, first);
        s->fresh = (uint16_t)hi;
        write(c, t, end);
        return ok && (!pn_adds(s) || there(c, t, s->done));
    }
    if (pn_in_groups(s)) {
        return there(c, t, lo) && groups_ok(c, t, end);
    }
    write(c, t, end);
    return pn_rolls(s) ? !pn_adds(s) || there(c, t, pn_added_line(s, s->done)) : there(c, t, lo);
}

// One job, as pn_run does it.
static bool job_ok(check_t *c, pn_job_t job) {
    pn_stage_t *s = &c->stages[job.stage];
    bool ok = true;
    if (job.action == PN_CHUNK) {
        ok = chunk_ok(c, job.stage, job.end);
        s->done = job.end;
    } else {
        uint32_t y = pn_fresh_line(s, job.end), first = y, hi;
        if (s->kind == PN_KIND_BLOCK) {
            pn_block_needs(s, y, y + 1, &first, &hi);
        }
        bool samples = job.stage == 0 && c->first; // also what a covering kernel takes in at once
        ok = samples || there(c, job.stage, first);
        s->fresh = (uint16_t)(y + 1);
    }
    return ok;
}

// The strip whose first output row is `top`.
static int strip_ok(check_t *c, uint32_t top) {
    pn_strip_begin(c->stages, c->seg, top);
    if (!strip_areas_ok(c)) {
        return PN_ERR_PLAN;
    }
    const pn_stage_t *s = c->stages, *end = &s[c->seg->layers - 1];
    c->in_end = c->seg->in_at + (uint32_t)c->in_bytes;
    if (c->seg->columns && c->out_bytes) {
        c->written = c->seg->out_at + (uint32_t)end->out_to * end->lines_out * end->cout * pn_size(end);
    }
    uint32_t row = c->seg->in_at + (uint32_t)s->from * s->lines_in * s->cin * pn_size_in(s);
    if (c->seg->columns && c->in_bytes && c->seg->out_at < c->in_end && c->written > row) {
        return PN_ERR_PLAN;
    }
    for (;;) {
        pn_job_t job = pn_next(c->stages, c->seg->layers, c->first);
        if (job.action == PN_STRIP_DONE) {
            return PN_OK;
        }
        if (!job_ok(c, job)) {
            c->m->fault_layer = (uint8_t)(c->seg->first + job.stage);
            return PN_ERR_PLAN;
        }
    }
}

// A head ends its segment, which has rows as lines; where another layer reads what the head reads, that must be a
// stored map.
static bool heads_ok(const check_t *c) {
    bool ok = true, whole = c->seg->first + c->seg->layers == c->m->all_layers || c->seg->layers == 1;
    for (uint32_t t = 0; t < c->seg->layers; t++) {
        bool head = c->stages[t].flags & PN_FLAG_HEAD;
        ok = ok && (!head || (t + 1u == c->seg->layers && whole && !c->seg->columns));
    }
    return ok;
}

// Whether all strips are gone through in a bounded time. No map has more than PN_MAX_SIDE lines and 14 for each layer.
static bool lines_ok(const check_t *c, uint32_t rows) {
    uint32_t lines = 0;
    for (uint32_t t = 0; t < c->seg->layers; t++) {
        lines += (uint32_t)c->stages[t].lines_in + c->stages[t].lines_out;
    }
    return (rows + c->seg->strip - 1u) / c->seg->strip * lines <= (uint32_t)PN_MAX_LINES * c->seg->layers;
}

// The segment's place in the chain, or behind the chains.
static bool place_ok(const pn_model_t *m, const pn_segment_t *seg) {
    uint32_t i = m->run.segment_index + 1u, end = i <= m->segments ? m->layers : m->all_layers, next = m->run.index;
    bool last = i == m->segments || i == m->all_segments;
    return seg->first == next && seg->layers > 0 && seg->layers <= PN_MAX_FUSED && next + seg->layers <= end
        && (!last || next + seg->layers == end);
}

// Reads the segment and its layers. m->run.layer holds the layer before it, and then the segment's last.
static int begin(check_t *c) {
    pn_model_t *m = c->m;
    pn_segment_t *seg = &m->run.segment;
    pn_segment_read(m, m->run.segment_index, seg);
    m->fault_layer = m->run.index;
    if (!place_ok(m, seg)) {
        return PN_ERR_PLAN;
    }
    pn_segment_stages(m, seg->first < m->layers ? 0 : m->tunnels - 1u, seg, &m->run.layer, c->stages);
    for (uint32_t t = 0; t < seg->layers; t++) {
        m->fault_layer = (uint8_t)(seg->first + t);
        if (!schedule_ok(c, (int)t)) {
            return PN_ERR_PLAN;
        }
    }
    m->fault_layer = seg->first;
    bool places_ok = (!c->first || seg->in_at == 0) && (seg->sink == PN_TO_MAP || seg->out_at == 0);
    bool ok = seg->strip >= 1 && seg->strip <= m->run.layer.oh && places_ok && heads_ok(c);
    return ok && lines_ok(c, m->run.layer.oh) ? PN_OK : PN_ERR_PLAN;
}

// How large its maps are.
static void find_maps(check_t *c) {
    const pn_stage_t *s = c->stages;
    const pn_layer_t *l = &c->m->run.layer;
    c->in_bytes = c->first ? 0 : (uint64_t)s->lines_in * s->cross_in * s->cin * pn_size_in(s);
    c->out_bytes = c->seg->sink != PN_TO_MAP ? 0 : (uint64_t)l->oh * l->ow * l->cout * pn_size(s);
}

static bool end_ok(const pn_model_t *m, const pn_room_t *room) {
    areas_t areas;
    return add_lasting(m, room, m->all_segments, &areas);
}

void pn_check_begin(pn_model_t *m) {
    m->run.segment_index = m->run.index = 0;
    m->run.row = 0;
}

int pn_check_step(pn_model_t *m, const pn_room_t *room) {
    pn_run_t *r = &m->run;
    check_t c = { .m = m, .room = room, .seg = &r->segment, .stages = (pn_stage_t *)(void *)r->arena };
    c.first = r->segment_index == 0;
    int err = r->row == 0 ? begin(&c) : PN_OK;
    if (err == PN_OK) {
        find_maps(&c);
        err = strip_ok(&c, r->row);
    }
    uint32_t bottom = r->row + (uint32_t)r->segment.strip;
    if (err != PN_OK) {
        return err;
    }
    if (bottom < r->layer.oh) {
        r->row = (uint16_t)bottom;
        return PN_MORE;
    }
    r->row = 0;
    r->index = (uint8_t)(r->index + r->segment.layers);
    if (++r->segment_index < m->all_segments) {
        return PN_MORE;
    }
    m->fault_layer = PN_NO_LAYER;
    return end_ok(m, room) ? PN_OK : PN_ERR_PLAN;
}
