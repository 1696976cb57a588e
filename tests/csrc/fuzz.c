// Attempts led by coverage (clang's libFuzzer): an input is a blob. The mutator knows the format's tables (fields.h,
// made of format.py by guided.py): it moves fields, copies records, and mostly mends what follows from that, so that
// its blobs get past the front: shapes, schedules, arrays of weights, places in the arena, length and CRC.
#define ARENA_MOST (1u << 18)
#define OUTPUTS_MOST (1u << 16)
#define WORK_MOST 50000
#include "attempt.h"
#include "engine/plan/pn_plan.h"
#include "engine/tasks/pn_task.h"
#include "fields.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t na, const uint8_t *b, size_t nb, uint8_t *out, size_t most,
    unsigned seed);
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t state;

static uint32_t chance(uint32_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return below ? (uint32_t)(state >> 33) % below : 0;
}

static void put16(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static uint32_t get(const uint8_t *p, uint32_t bytes) {
    return bytes == 1 ? p[0] : bytes == 2 ? pn_u16(p) : pn_u32(p);
}

static void put(uint8_t *p, uint32_t bytes, uint32_t v) {
    if (bytes == 4) {
        put32(p, v);
    } else if (bytes == 2) {
        put16(p, v);
    } else {
        *p = (uint8_t)v;
    }
}

// ---------------------------------------------------------------- fields

// Records of a blob, one behind the other.
typedef struct {
    const field_t *fields;
    uint32_t n_fields, at, bytes, n;
} table_t;

#define TABLE(name, at, n) { name##_fields, sizeof(name##_fields) / sizeof(field_t), (at), PN_##name##_BYTES, (n) }
#define MOST_TABLES 9

// Those that lie in the blob; layers and segments first.
static uint32_t find_tables(const uint8_t *b, size_t size, table_t *out) {
    uint32_t task = pn_u32(b + PN_HEADER_TASK_OFF), kind = b[PN_HEADER_TASK], n = 0;
    const uint8_t *r = task < size && size - task >= PN_AUDIO_BYTES ? b + task : b;
    bool detects = (kind == PN_TASK_DETECT || kind == PN_TASK_CLASSIFY) && r != b; // or has tunnels that merge
    uint32_t behind = detects ? r[PN_DETECT_LAYERS] : 0, segments = detects ? r[PN_DETECT_SEGMENTS] : 0;
    uint32_t chains = b[PN_HEADER_TUNNELS], layers = b[PN_HEADER_LAYERS];
    const table_t all[MOST_TABLES] = {
        TABLE(LAYER, pn_u32(b + PN_HEADER_LAYER_OFF), layers + behind),
        TABLE(SEGMENT, pn_u32(b + PN_HEADER_SEGMENT_OFF), b[PN_HEADER_SEGMENTS] + segments),
        TABLE(PARAM, pn_u32(b + PN_HEADER_PARAM_OFF), chains * layers + behind),
        b[PN_HEADER_SIZED] ? (table_t)TABLE(SIZED_PATCH, pn_u32(b + PN_HEADER_PATCH_OFF), chains)
                           : (table_t)TABLE(PATCH, pn_u32(b + PN_HEADER_PATCH_OFF), chains),
        TABLE(HEADER, 0, 1),
        TABLE(PLACE, detects ? pn_u32(r + PN_DETECT_PLACE_OFF) : 0, detects ? chains : 0),
        TABLE(SCALE, detects ? pn_u32(r + PN_DETECT_SCALE_OFF) : 0, detects ? pn_u16(r + PN_DETECT_SCALES) : 0),
        detects ? (table_t)TABLE(DETECT, task, 1) : (table_t)TABLE(AUDIO, task, kind == PN_TASK_AUDIO),
        TABLE(HEATMAP, task, kind == PN_TASK_HEATMAP),
    };
    for (uint32_t i = 0; i < MOST_TABLES; i++) {
        if (all[i].n > 0 && all[i].at <= size && (uint64_t)all[i].n * all[i].bytes <= size - all[i].at) {
            out[n++] = all[i];
        }
    }
    return n;
}

static uint32_t other_value(uint32_t old, uint32_t size, uint32_t arena) {
    static const uint32_t limits[] = { 0, 1, 15, 16, 17, 127, 128, 255, 256, 1000, 4096, 8192, 32767, 32768, 65535,
        1u << 16, 1u << 30, INT32_MAX, 1u << 31, UINT32_MAX - 3, UINT32_MAX };
    switch (chance(8)) {
        case 0:
            return limits[chance(sizeof(limits) / sizeof(limits[0]))] + chance(3) - 1;
        case 1:
            return old + 1 + chance(4);
        case 2:
            return old - 1 - chance(4);
        case 3:
            return old ^ 1u << chance(32);
        case 4:
            return chance(2) ? old * 2 : old / 2;
        case 5:
            return chance(size + 8) & ~3u;
        case 6:
            return chance(arena + 8) & (chance(3) ? ~3u : ~0u);
        default:
            return chance(24);
    }
}

// Of a record by chance: a field, or all of another record.
static void change_field(uint8_t *b, size_t size) {
    table_t tables[MOST_TABLES];
    uint32_t n = find_tables(b, size, tables), pick = chance(n + 4);
    if (n == 0) {
        return;
    }
    const table_t *t = &tables[pick < n ? pick : (pick - n) / 3 % n];
    uint8_t *record = b + t->at + chance(t->n) * t->bytes, *other = b + t->at + chance(t->n) * t->bytes;
    const field_t *f = &t->fields[chance(t->n_fields)];
    if (chance(12) == 0) {
        memmove(record, other, t->bytes);
    } else if (chance(6) == 0) {
        put(record + f->at, f->bytes, get(other + f->at, f->bytes));
    } else {
        uint32_t arena = pn_u32(b + PN_HEADER_ARENA_BYTES);
        put(record + f->at, f->bytes, other_value(get(record + f->at, f->bytes), (uint32_t)size, arena));
    }
}

// UTF-8 of two to four bytes, right and wrong, among the labels.
static void change_label(uint8_t *b, size_t size) {
    static const char letters[][5] = { "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xc0\x80", "\xed\xa0\x80",
        "\xf4\x90\x80\x80", "\xe2\x82", "\xe0\x80\x80" };
    const char *letter = letters[chance(sizeof(letters) / sizeof(letters[0]))];
    size_t at = (size_t)pn_u32(b + PN_HEADER_LABEL_OFF) + chance(pn_u32(b + PN_HEADER_LABEL_BYTES)), n = strlen(letter);
    if (at >= PN_HEADER_BYTES && at < size && n < size - at) {
        memcpy(b + at, letter, n);
    }
}

// ---------------------------------------------------------------- mending

// A blob that is mended: `m` as far as pn_open_begin and its first step fill it.
typedef struct {
    pn_model_t m;
    uint8_t *b;
    size_t size, most;
} mended_t;

static uint8_t *layer_at(const mended_t *d, uint32_t i) {
    return d->b + pn_u32(d->b + PN_HEADER_LAYER_OFF) + i * PN_LAYER_BYTES;
}

static uint8_t *param_at(const mended_t *d, uint32_t chain, uint32_t i) {
    return d->b + pn_u32(d->b + PN_HEADER_PARAM_OFF) + (chain * d->m.layers + i) * PN_PARAM_BYTES;
}

static uint32_t chain_layers(const mended_t *d, uint32_t chain) {
    return chain + 1u == d->m.tunnels ? d->m.all_layers : d->m.layers;
}

static void clear_kernel(uint8_t *r) {
    r[PN_LAYER_KERNEL_H] = r[PN_LAYER_KERNEL_W] = r[PN_LAYER_STRIDE_H] = r[PN_LAYER_STRIDE_W] = 1;
    memset(r + PN_LAYER_PAD_TOP, 0, 4);
}

// The kind, if casts stand where they may: an int8 behind each int4. `before`: the layer before, if there is one.
static uint8_t kind_there(const mended_t *d, uint32_t i, const pn_layer_t *before, const pn_layer_t *l) {
    bool ends = i + 1u == d->m.layers || i + 1u == d->m.all_layers;
    if (i > 0 && before->kind == PN_KIND_INT4) {
        return PN_KIND_INT8;
    }
    bool stays = !pn_casts(l->kind) || (l->kind == PN_KIND_INT4 && i > 0 && !ends && l->cin % 2 == 0);
    return stays ? l->kind : PN_KIND_MAXPOOL;
}

// A record whose kind allows its other fields. *l: the layer before, then this one.
static void mend_shape(const mended_t *d, uint32_t i, pn_layer_t *l) {
    uint8_t *r = layer_at(d, i);
    pn_layer_t before = *l;
    pn_layer_read(&d->m, 0, i, l);
    l->kind = r[PN_LAYER_KIND] = kind_there(d, i, &before, l);
    if (l->oh == 0 || l->ow == 0 || pn_casts(l->kind)) {
        clear_kernel(r);
    }
    bool block = l->kind == PN_KIND_BLOCK,
         same = l->cin == l->cout && l->oh == l->h && l->ow == l->w && l->y.stride == 1 && l->x.stride == 1;
    uint32_t all = PN_FLAG_EXPAND | PN_FLAG_RESIDUAL;
    if (!pn_floats(&d->m)) {
        all |= PN_FLAG_SIGNED | (pn_fast_mode(l->mode) ? PN_FLAG_NARROW : 0);
        all |= l->flags & PN_FLAG_EXPAND && l->cin % 4 == 0 ? PN_FLAG_BYTES : 0;
    }
    uint32_t flags = l->flags & (l->kind == PN_KIND_BOTTLENECK ? all : block ? PN_FLAG_EXPAND : 0);
    flags = block && !same ? PN_FLAG_EXPAND : same ? flags : flags & ~(uint32_t)PN_FLAG_RESIDUAL;
    put16(r + PN_LAYER_FLAGS, flags | (i >= d->m.layers ? l->flags & PN_FLAG_HEAD : 0));
    put16(r + PN_LAYER_SECOND_H, block ? pn_u16(r + PN_LAYER_SECOND_H) | 0x101 : 0);
    if (l->kind == PN_KIND_BOTTLENECK && !(flags & PN_FLAG_EXPAND)) {
        put16(r + PN_LAYER_CEXP, l->cin);
    } else if (l->kind != PN_KIND_BOTTLENECK && !block) {
        put16(r + PN_LAYER_CEXP, 0);
    }
    if (l->kind >= PN_KIND_MAXPOOL) { // pooling and casts
        uint32_t twice = l->kind == PN_KIND_INT4 ? l->cin : l->kind == PN_KIND_INT8 ? 4u * l->cin : 2u * l->cin;
        put16(r + PN_LAYER_COUT, twice / 2);
    }
    *l = before;
    pn_layer_read(&d->m, 0, i, l);
}

static void mend_param(const mended_t *d, uint32_t chain, const pn_layer_t *l) {
    uint8_t *p = param_at(d, chain, l->index);
    bool block = l->kind == PN_KIND_BLOCK, adds = block || l->flags & PN_FLAG_RESIDUAL;
    if (pn_floats(&d->m)) {
        const uint8_t acts[3] = { p[PN_PARAM_SHIFT] % 3, p[PN_PARAM_SHIFT_1] % 3, p[PN_PARAM_SHIFT_2] % 3 };
        memset(p, 0, PN_PARAM_WEIGHT_OFF);
        p[PN_PARAM_SHIFT] = acts[0];
        p[PN_PARAM_SHIFT_1] = acts[1];
        p[PN_PARAM_SHIFT_2] = acts[2];
        return;
    }
    uint32_t mult = pn_u16(p + PN_PARAM_RES_MULT);
    put16(p + PN_PARAM_RES_MULT, !adds ? 0 : mult >= 1 && mult <= INT16_MAX ? mult : 1 + chance(INT16_MAX));
    if (!block) {
        p[PN_PARAM_ZERO_MID] = 0;
    }
    if (!block || !(l->flags & PN_FLAG_EXPAND)) {
        p[PN_PARAM_ZERO_ADD] = 0;
    }
    if (pn_moves(l->kind)) {
        p[PN_PARAM_ZERO_OUT] = (uint8_t)l->zero_in;
    }
    if (chain > 0 && l->index + 1 == d->m.layers) {
        p[PN_PARAM_ZERO_OUT] = param_at(d, 0, l->index)[PN_PARAM_ZERO_OUT];
    }
}

// Weights of zero, multipliers above: what fills words and what is doubled is right then.
static void fill_fast(uint8_t *p, const pn_layer_t *l) {
    pn_fast_t f = pn_fast_layer(l);
    pn_fast_arrays_t bytes = pn_fast_arrays(&f);
    memset(p, 0, bytes.narrow + (size_t)l->cexp * bytes.each);
    for (uint32_t c = 0; c < l->cout; c++) {
        put32(p + c / 2 * 16 + c % 2 * 4, chance(1000));
        put32(p + c / 2 * 16 + c % 2 * 4 + 8, 1 + chance(INT32_MAX));
    }
    f.arrays = p + bytes.narrow;
    for (uint32_t from = 0; from < l->cexp; from += l->group) {
        uint32_t n = pn_fast_group(&f, from);
        pn_fast_weights_t w = pn_fast_weights(&f, &bytes, from, n);
        for (uint32_t c = 0; c < n; c++) {
            size_t expand = (size_t)(w.expand - p) + c / 2 * bytes.pair + c % 2 * 4 + 8;
            size_t depthwise = (size_t)(w.depthwise - p) + (c + 1) * bytes.channel - 4;
            put32(p + depthwise, 1 + chance(INT32_MAX));
            if (f.expands) {
                put32(p + expand, 1 + chance(INT32_MAX));
            }
        }
    }
}

// Room for `need` bytes of weights: behind all others, or over them. 0: there is none.
static uint32_t new_array(mended_t *d, uint64_t need) {
    uint32_t at = (uint32_t)(d->size + 3) & ~3u, first = pn_padded(pn_u32(d->b + PN_HEADER_WEIGHT_OFF));
    at = need > d->most - at || chance(3) == 0 ? first : at;
    if (at > d->most || need > d->most - at) {
        return 0;
    }
    d->size = at + need > d->size ? at + (size_t)need : d->size;
    put32(d->b + PN_HEADER_SIZE, (uint32_t)d->size);
    return at;
}

// Small biases, any weights but for each fourth, which is a multiplier's highest byte elsewhere.
static void fill_words(uint8_t *p, uint64_t n) {
    for (uint64_t i = 0; i + 4 <= n; i += 4) {
        put32(p + i, chance(1u << 20) | 1);
    }
}

// Arrays where the engine refuses a layer's.
static void mend_arrays(mended_t *d, uint32_t chain, pn_layer_t *l) {
    uint8_t *p = param_at(d, chain, l->index);
    uint32_t end = 0, size = (uint32_t)d->size;
    d->m.weights.at = d->b;
    bool fast = !pn_floats(&d->m) && pn_fast_mode(l->mode); // float32 networks have no arrays of their own for these
    bool in_groups = l->group > 0 && l->group % 4 == 0 && l->group <= l->cexp && l->cexp % 4 == 0 && l->cout % 2 == 0;
    if ((fast && !in_groups) || pn_check_layer_arrays(&d->m, l, &end) == PN_OK) {
        return;
    }
    p[PN_PARAM_SHIFT] = p[PN_PARAM_SHIFT_1] = p[PN_PARAM_SHIFT_2] = 0;
    l->shift = l->shift_1 = l->shift_2 = 0;
    d->m.weights.at = NULL;
    l->weight_off = pn_padded(pn_u32(d->b + PN_HEADER_WEIGHT_OFF));
    put32(d->b + PN_HEADER_SIZE, UINT32_MAX);
    int err = pn_check_layer_arrays(&d->m, l, &end);
    put32(d->b + PN_HEADER_SIZE, size);
    uint32_t need = end - l->weight_off, at = err == PN_OK ? new_array(d, need) : 0;
    if (at == 0) {
        return;
    }
    put32(p + PN_PARAM_WEIGHT_OFF, l->weight_off = need ? at : 0);
    if (fast) {
        fill_fast(d->b + at, l);
    } else {
        fill_words(d->b + at, need);
    }
}

static void mend_dense(mended_t *d) {
    uint32_t end;
    d->m.weights.at = d->b;
    if (!d->m.dense || pn_check_dense(&d->m, &end) == PN_OK) {
        return;
    }
    uint64_t need = 8ull * d->m.classes + (((uint64_t)d->m.classes * d->m.features + 3) & ~3ull);
    need = pn_floats(&d->m) ? 4ull * d->m.classes * (1 + d->m.features) : need;
    uint32_t at = need < d->most ? new_array(d, need) : 0;
    if (at > 0) {
        put32(d->b + PN_HEADER_FC_OFF, at);
        d->b[PN_HEADER_FC_SHIFT] = 0;
        fill_words(d->b + at, need);
    }
}

// Parts of the chains' maps that lie in both maps; outputs of heads that their anchors make.
static void mend_places(const mended_t *d, const pn_layer_t *l) {
    const uint8_t *r = d->b + pn_u32(d->b + PN_HEADER_TASK_OFF);
    for (uint32_t i = 0; i < d->m.tunnels; i++) {
        uint8_t *p = d->b + pn_u32(r + PN_DETECT_PLACE_OFF) + i * PN_PLACE_BYTES;
        for (uint32_t side = 0; side < 4; side += 2) {
            uint32_t from = side ? l->ow : l->oh, to = side ? d->m.map_w : d->m.map_h, least = from < to ? from : to;
            uint32_t n = pn_u16(p + PN_PLACE_H + side);
            n = n < least ? n : least;
            put16(p + PN_PLACE_H + side, n);
            if (pn_u16(p + PN_PLACE_FROM_Y + side) + n > from) {
                put16(p + PN_PLACE_FROM_Y + side, from - n);
            }
            if (pn_u16(p + PN_PLACE_TO_Y + side) + n > to) {
                put16(p + PN_PLACE_TO_Y + side, to - n);
            }
        }
    }
}

static void mend_head(const mended_t *d, uint32_t i, uint32_t scale) {
    const uint8_t *r = d->b + pn_u32(d->b + PN_HEADER_TASK_OFF);
    if (scale < pn_u16(r + PN_DETECT_SCALES)) {
        const uint8_t *s = d->b + pn_u32(r + PN_DETECT_SCALE_OFF) + scale * PN_SCALE_BYTES;
        put16(layer_at(d, i) + PN_LAYER_COUT, pn_u32(s + PN_SCALE_ANCHORS) * (4u + d->m.classes));
    }
}

// All layers of all chains.
static void mend_layers(mended_t *d) {
    pn_layer_t l, last;
    uint32_t heads = 0;
    memset(&l, 0, sizeof(l));
    memset(&last, 0, sizeof(last));
    for (uint32_t i = 0; i < d->m.all_layers; i++) {
        if (i >= d->m.layers && pn_u16(layer_at(d, i) + PN_LAYER_FLAGS) & PN_FLAG_HEAD) {
            mend_head(d, i, heads++);
        }
        mend_shape(d, i, &l);
        last = i + 1u == d->m.layers ? l : last;
    }
    d->m.features = last.cout * (pn_concat(&d->m) ? d->m.tunnels : 1u);
    d->m.outputs = d->m.classes;
    if (d->m.task == PN_TASK_DETECT) {
        mend_places(d, &last);
    } else if (pn_maps(&d->m)) {
        d->m.map_h = last.oh;
        d->m.map_w = last.ow;
        d->m.outputs = (uint32_t)last.oh * last.ow * last.cout;
    }
}

static void mend_weights(mended_t *d) {
    pn_layer_t l;
    for (uint32_t chain = 0; chain < d->m.tunnels; chain++) {
        for (uint32_t i = 0; i < chain_layers(d, chain); i++) {
            pn_layer_read(&d->m, chain, i, &l);
            mend_param(d, chain, &l);
            mend_arrays(d, chain, &l);
        }
    }
    mend_dense(d);
}

// ---------------------------------------------------------------- the plan

// A mode that the layer may have, and its rows and group. `first`: of the network; `alone`: see FORMAT.md, groups.
static void mend_schedule(uint8_t *r, const pn_layer_t *l, bool first, bool alone, bool columns, bool floats) {
    uint32_t lines = columns ? l->ow : l->oh, channels = l->cexp, mode = l->mode, group = 0, rows = 1;
    bool expands = l->kind == PN_KIND_BOTTLENECK && l->flags & PN_FLAG_EXPAND;
    bool covers = mode == PN_MODE_COVER && l->kind != PN_KIND_BOTTLENECK && l->kind != PN_KIND_BLOCK && !columns
        && l->y.kernel == l->h && l->x.kernel == l->w;
    bool fast = pn_fast_mode(mode) && l->kind == PN_KIND_BOTTLENECK && !(l->flags & PN_FLAG_SIGNED) && l->cexp % 4 == 0
        && l->cexp > 0 && l->cout % 2 == 0 && l->y.kernel == l->x.kernel && l->y.stride == l->x.stride
        && l->y.stride <= 2 && l->y.kernel % 2 == 1 && l->y.kernel >= 3 && l->y.kernel <= (expands ? 7 : 3)
        && (expands ? l->cin <= PN_MAX_FAST_INPUTS : mode == PN_MODE_FAST) && !floats;
    if (fast) {
        group = 4 * (1 + chance(channels / 4));
        group = group > PN_MAX_FAST_GROUP ? channels : group;
        rows = mode == PN_MODE_SWEEP ? 1 + chance(lines) : 1;
    } else if (l->kind == PN_KIND_BLOCK) {
        mode = PN_MODE_ROLLING;
    } else if (expands && mode != PN_MODE_ROLLING) {
        mode = floats || chance(2) ? PN_MODE_GROUPS : PN_MODE_STORED;
        group = 1 + chance(channels);
        rows = 1 + chance(lines);
    } else if (l->kind == PN_KIND_CONV && !covers) {
        bool grouped = alone && mode == PN_MODE_GROUPS;
        mode = grouped || (mode == PN_MODE_WINDOW && first && !floats) ? mode : PN_MODE_DIRECT;
        group = grouped ? 1 + chance(l->cout) : floats ? 0 : 2 * chance(8);
    } else if (!expands && !covers) {
        mode = PN_MODE_DIRECT;
    }
    r[PN_LAYER_MODE] = (uint8_t)mode;
    put16(r + PN_LAYER_ROWS, rows);
    put16(r + PN_LAYER_GROUP, group);
}

// Lines of a ring: as many as a chunk needs, at times one less or more.
static uint32_t ring_lines(const pn_stage_t *s) {
    uint32_t lo, hi, most = 0;
    for (uint32_t from = 0; from < s->lines_out; from += s->rows) {
        uint32_t end = from + s->rows < s->lines_out ? from + s->rows : s->lines_out;
        pn_needs(s, from, end, &lo, &hi);
        most = hi - lo > most ? hi - lo : most;
    }
    most += pn_adds(s) * chance(3);
    return chance(10) == 0 ? most + chance(3) - 1 : most;
}

// Where the next thing of the arena goes, and how large that became.
typedef struct {
    uint64_t at, end;
} pile_t;

static uint32_t push(pile_t *s, uint64_t bytes) {
    uint32_t at = (uint32_t)(s->at = (s->at + 7) & ~7ull);
    s->at += bytes;
    s->end = s->at > s->end ? s->at : s->end;
    return at;
}

// What outlives segments, from 0 on.
static void lay_lasting(const mended_t *d, pile_t *arena) {
    uint8_t *b = d->b, *r = b + pn_u32(b + PN_HEADER_TASK_OFF);
    const pn_model_t *m = &d->m;
    uint64_t map = (uint64_t)m->map_h * m->map_w;
    if (m->task == PN_TASK_DETECT) {
        put32(r + PN_DETECT_STITCH_AT, push(arena, map * m->features));
        put32(r + PN_DETECT_CANDIDATE_AT, push(arena, pn_u16(r + PN_DETECT_TOP) * PN_CANDIDATE_BYTES));
        return;
    }
    uint64_t feature = pn_floats(m) ? 4 : 1, logit = pn_floats(m) ? 4 : 2;
    put32(b + PN_HEADER_FEATURE_AT, push(arena, feature * (pn_maps(m) ? m->outputs : m->features)));
    if (m->task == PN_TASK_HEATMAP) {
        put32(r + PN_HEATMAP_CELL_AT, push(arena, 2 * map));
        put32(r + PN_HEATMAP_SPOT_AT, push(arena, pn_u16(r + PN_HEATMAP_TOP) * PN_SPOT_BYTES));
    } else if (!pn_maps(m)) {
        put32(b + PN_HEADER_SUM_AT, push(arena, 4ull * m->features));
        put32(b + PN_HEADER_LOGIT_AT, push(arena, logit * m->classes));
    }
}

// Rings, wide rings and work of a segment, large enough for each of its strips.
static void lay_stages(const mended_t *d, const pn_segment_t *seg, uint8_t *record, const pn_layer_t *last,
    pn_stage_t *stages, pile_t *arena) {
    uint64_t ring[PN_MAX_FUSED] = { 0 }, wide[PN_MAX_FUSED] = { 0 }, work = 0;
    for (uint32_t top = 0; top < last->oh; top += seg->strip) {
        pn_strip_begin(stages, seg, top);
        for (uint32_t i = 0; i < seg->layers; i++) {
            uint64_t r = pn_ring_bytes(&stages[i]), w = pn_wide_bytes(&stages[i]);
            pn_work_t p = pn_work(&stages[i], seg->sink != PN_TO_MAP && i + 1u == seg->layers);
            uint64_t bytes = p.staging ? pn_staging_at(&p) + p.staging : p.sums + p.wide + p.values;
            ring[i] = r > ring[i] ? r : ring[i];
            wide[i] = w > wide[i] ? w : wide[i];
            work = bytes > work ? bytes : work;
        }
    }
    put32(record + PN_SEGMENT_STATE_AT, push(arena, seg->layers * PN_STATE_BYTES));
    put32(record + PN_SEGMENT_WORK_AT, push(arena, work));
    for (uint32_t i = 0; i < seg->layers; i++) {
        uint8_t *r = layer_at(d, seg->first + i);
        put32(r + PN_LAYER_RING_AT, ring[i] ? push(arena, ring[i]) : 0);
        put32(r + PN_LAYER_WIDE_AT, wide[i] ? push(arena, wide[i]) : 0);
    }
}

// Its maps: the output beside the input, or over it, perhaps too far.
static void lay_maps(const pn_segment_t *seg, uint8_t *record, uint64_t in, uint64_t out, bool words, pile_t *arena) {
    uint32_t at = push(arena, in), gap = chance((uint32_t)out + 8) & (words ? ~3u : ~0u);
    if (in == 0) {
        put32(record + PN_SEGMENT_IN_AT, 0);
    }
    if (in > 0 && out > 0 && chance(2)) {
        put32(record + PN_SEGMENT_OUT_AT, at);
        put32(record + PN_SEGMENT_IN_AT, at + gap);
        arena->at = at;
        push(arena, gap + in > out ? gap + in : out);
        return;
    }
    put32(record + PN_SEGMENT_IN_AT, in > 0 ? at : 0);
    put32(record + PN_SEGMENT_OUT_AT, seg->sink == PN_TO_MAP ? push(arena, out) : 0);
}

// A segment that fits its layers. *l: the layer before, then its last. False if it cannot be mended.
static bool mend_segment(const mended_t *d, uint32_t index, pn_layer_t *l, pile_t *arena) {
    static pn_stage_t stages[PN_MAX_FUSED];
    uint8_t *record = d->b + pn_u32(d->b + PN_HEADER_SEGMENT_OFF) + index * PN_SEGMENT_BYTES;
    pn_layer_t before = *l;
    pn_segment_t seg;
    pn_segment_read(&d->m, index, &seg);
    if (seg.first != (index ? before.index + 1 : 0) || seg.layers == 0 || seg.layers > PN_MAX_FUSED
        || seg.first + seg.layers > d->m.all_layers) {
        return false;
    }
    for (uint32_t i = 0; i < seg.layers; i++) {
        pn_layer_read(&d->m, 0, seg.first + i, l);
    }
    uint32_t strip = seg.strip;
    bool pooled = (uint32_t)seg.first + seg.layers == d->m.layers && d->m.pools && pn_floats(&d->m);
    if (strip == 0 || strip > l->oh || l->flags & PN_FLAG_HEAD || pooled || (l->oh + strip - 1) / strip > 64) {
        put16(record + PN_SEGMENT_STRIP, strip = l->oh);
    }
    bool columns = strip < l->oh;
    *l = before;
    for (uint32_t i = seg.first; i < (uint32_t)seg.first + seg.layers; i++) {
        pn_layer_read(&d->m, 0, i, l);
        bool alone = seg.layers == 1 && i > 0 && i + 1u == d->m.layers && d->m.pools && !columns;
        mend_schedule(layer_at(d, i), l, i == 0, alone, columns, pn_floats(&d->m));
    }
    *l = before;
    pn_segment_read(&d->m, index, &seg);
    pn_segment_stages(&d->m, 0, &seg, l, stages);
    for (uint32_t i = 0; i < seg.layers; i++) {
        bool map = i == 0 && (index > 0 || stages[i].mode == PN_MODE_WINDOW || stages[i].mode == PN_MODE_COVER);
        stages[i].ring_lines = (uint16_t)(map ? 0 : ring_lines(&stages[i]));
        put16(layer_at(d, seg.first + i) + PN_LAYER_LINES, stages[i].ring_lines);
    }
    uint64_t size = pn_floats(&d->m) ? 4 : 1;
    uint64_t in = index ? size * stages[0].lines_in * stages[0].cross_in * stages[0].cin : 0;
    lay_stages(d, &seg, record, l, stages, arena);
    lay_maps(&seg, record, in, seg.sink == PN_TO_MAP ? size * l->oh * l->ow * l->cout : 0, size > 1, arena);
    return true;
}

static void mend_plan(mended_t *d) {
    pile_t arena = { 0, 0 };
    pn_layer_t l;
    memset(&l, 0, sizeof(l));
    lay_lasting(d, &arena);
    uint64_t base = arena.at;
    for (uint32_t i = 0; i < d->m.all_segments && arena.end < 1u << 24; i++) {
        arena.at = base;
        if (!mend_segment(d, i, &l, &arena)) {
            return;
        }
    }
    arena.at = arena.end;
    if (pn_hears(&d->m)) {
        uint8_t *r = d->b + pn_u32(d->b + PN_HEADER_TASK_OFF);
        uint32_t fft = 4 * pn_u16(r + PN_AUDIO_FFT), frame = pn_padded(2 * pn_u16(r + PN_AUDIO_FRAME));
        arena.at = arena.at < fft ? fft : arena.at;
        put32(r + PN_AUDIO_STREAM_AT, push(&arena, 4u * d->m.classes + frame + (uint64_t)d->m.height * d->m.width));
    }
    put32(d->b + PN_HEADER_ARENA_BYTES, (uint32_t)arena.end);
}

// Whether the plan's functions may be asked about it.
static bool sane(const pn_layer_t *l) {
    uint32_t taps = (uint32_t)l->y.kernel * l->x.kernel, second = (uint32_t)l->y.second * l->x.second;
    bool wide = l->kind == PN_KIND_BOTTLENECK || l->kind == PN_KIND_BLOCK;
    return l->oh > 0 && l->ow > 0 && l->cout > 0 && l->y.stride > 0 && l->x.stride > 0 && l->y.pad < l->y.kernel
        && l->x.pad < l->x.kernel && taps * l->cin <= PN_MAX_REDUCTION && second * l->cexp <= PN_MAX_REDUCTION
        && (!wide || l->cexp > 0) && l->cexp < PN_MAX_REDUCTION;
}

// Whether tables lie over each other: then what is written to one leads out of range by another.
static bool tangled(const uint8_t *b, size_t size) {
    table_t t[MOST_TABLES];
    uint32_t n = find_tables(b, size, t);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j < i; j++) {
            if (t[i].at < t[j].at + t[j].n * t[j].bytes && t[j].at < t[i].at + t[i].n * t[i].bytes) {
                return true;
            }
        }
    }
    return false;
}

// What follows from a blob's header and shapes, if those can be read.
static size_t mend(uint8_t *b, size_t size, size_t most) {
    mended_t d = { .b = b, .size = size, .most = most & ~(size_t)3 };
    uint32_t work_room[PN_OPEN_BYTES / 4], prefix = pn_u32(b + PN_HEADER_WEIGHT_OFF);
    put32(b + PN_HEADER_SIZE, (uint32_t)size);
    if (prefix > size || tangled(b, size) || pn_open_begin(&d.m, b, NULL, prefix, work_room) != PN_OK
        || pn_open_step(&d.m) != PN_MORE) {
        return size;
    }
    mend_layers(&d);
    pn_layer_t l;
    memset(&l, 0, sizeof(l));
    for (uint32_t i = 0; i < d.m.all_layers; i++) {
        pn_layer_read(&d.m, 0, i, &l);
        if (!sane(&l)) {
            return size;
        }
    }
    mend_plan(&d); // modes and groups first: arrays follow from them
    mend_weights(&d);
    return d.size;
}

static void seal(uint8_t *b, size_t size) {
    put32(b, PN_MAGIC);
    put16(b + PN_HEADER_VERSION, PN_VERSION);
    put16(b + PN_HEADER_HEADER_BYTES, PN_HEADER_BYTES);
    put32(b + PN_HEADER_SIZE, (uint32_t)size);
    repair_crc(b, size);
}

// ---------------------------------------------------------------- libFuzzer

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
    state = seed * 0x9e3779b97f4a7c15u;
    if (size < PN_HEADER_BYTES) {
        return LLVMFuzzerMutate(data, size, most);
    }
    uint32_t what = chance(100);
    if (what < 15) {
        size = LLVMFuzzerMutate(data, size, most); // bytes anywhere
    } else {
        for (uint32_t n = 1 + chance(what < 50 ? 1 : 4); n > 0; n--) {
            if (chance(20) == 0) {
                change_label(data, size);
            } else {
                change_field(data, size);
            }
        }
    }
    if (size >= PN_HEADER_BYTES && chance(100) > 0) {
        size = what >= 40 ? mend(data, size, most) : size;
        seal(data, size);
    }
    return size;
}

// Records of one blob in the tables of another.
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t na, const uint8_t *b, size_t nb, uint8_t *out, size_t most,
    unsigned seed) {
    state = seed * 0x9e3779b97f4a7c15u;
    table_t to[MOST_TABLES], from[MOST_TABLES];
    if (na < PN_HEADER_BYTES || nb < PN_HEADER_BYTES || na > most) {
        return 0;
    }
    memcpy(out, a, na);
    uint32_t n = find_tables(out, na, to), other = find_tables(b, nb, from), pick = chance(2);
    if (pick >= n || pick >= other || to[pick].bytes != from[pick].bytes) {
        return 0;
    }
    const table_t *t = &to[pick], *f = &from[pick];
    for (uint32_t i = chance(t->n), j = chance(f->n), k = 1 + chance(4); k > 0 && i < t->n && j < f->n; k--, i++, j++) {
        memcpy(out + t->at + i * t->bytes, b + f->at + j * f->bytes, t->bytes);
    }
    na = mend(out, na, most);
    seal(out, na);
    return na;
}

static void report(void) {
    fprintf(stderr, "ran %lu, too large %lu, refused", opened, too_large);
    for (int err = 1; err <= -PN_ERR_ROI; err++) {
        fprintf(stderr, " %s %lu", pn_error(-err), refused[err]);
    }
    fprintf(stderr, "\n");
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    return atexit(report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    choice = size >= PN_HEADER_BYTES ? pn_u32(data + PN_HEADER_CRC) & INT32_MAX : 0;
    try(data, size);
    return 0;
}
