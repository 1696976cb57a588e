// Opening a blob: every number that comes from outside is checked here, once (FORMAT.md, What is trusted).
#include "patchnet.h"

#include <string.h>

#include "engine/blob/pn_arrays.h"
#include "engine/blob/pn_blob.h"
#include "engine/blob/pn_container.h"
#include "engine/run/pn_parts.h"
#include "engine/tasks/pn_task.h"

// Bytes that a step of opening takes into the CRC.
#define CRC_AT_ONCE 16384

// In the order of their numbers, one behind the other: a table of pointers to them would be larger.
static const char causes[] =
    "ok\0length\0alignment\0magic\0version\0CRC\0task\0shape\0patch\0weights\0overflow\0labels\0plan\0arena\0format\0roi"
    #ifdef PN_NO_DETECT
    "\0task detect is not in this build"
    #else
    "\0ok"
    #endif
    #ifdef PN_NO_SOUND
    "\0task audio is not in this build"
    #else
    "\0ok"
    #endif
    #ifdef PN_NO_HEATMAP
    "\0task heatmap is not in this build"
    #else
    "\0ok"
    #endif
    #ifdef PN_NO_FLOAT32
    "\0float32 is not in this build"
    #else
    "\0ok"
    #endif
    ;

const char *pn_error(int err) {
    const char *at = causes;
    for (int i = err < PN_ERR_NO_FLOAT32 ? 0 : err; i < 0; i++) {
        while (*at++ != '\0') {
        }
    }
    return at;
}

static PN_APART int check_header(pn_model_t *m) {
    const uint8_t *b = m->blob;
    m->task = b[PN_HEADER_TASK];
    m->channels = (uint16_t)pn_u16(b + PN_HEADER_CHANNELS);
    m->tunnels = b[PN_HEADER_TUNNELS];
    m->layers = b[PN_HEADER_LAYERS];
    m->height = (uint16_t)pn_u16(b + PN_HEADER_HEIGHT);
    m->width = (uint16_t)pn_u16(b + PN_HEADER_WIDTH);
    m->patch_h = (uint16_t)pn_u16(b + PN_HEADER_PATCH_H);
    m->patch_w = (uint16_t)pn_u16(b + PN_HEADER_PATCH_W);
    m->classes = (uint16_t)pn_u16(b + PN_HEADER_CLASSES);
    m->arena_bytes = pn_u32(b + PN_HEADER_ARENA_BYTES);
    uint32_t segments = pn_u32(b + PN_HEADER_SEGMENTS);
    m->segments = m->all_segments = (uint8_t)segments;
    m->all_layers = m->layers;
    m->map_h = m->map_w = 0;
    #ifdef PN_NO_FLOAT32
    if (b[PN_HEADER_DTYPE] != PN_DTYPE_INT8) {
        return PN_ERR_NO_FLOAT32;
    }
    #else
    m->floats = b[PN_HEADER_DTYPE] == PN_DTYPE_FLOAT32;
    #endif
    bool ok = m->channels >= 1 && m->channels <= PN_MAX_REDUCTION && m->tunnels >= 1 && m->tunnels <= PN_MAX_TUNNELS
        && m->layers >= 1 && segments >= 1 && segments <= m->layers && pn_side_ok(m->height) && pn_side_ok(m->width)
        && (m->classes == 0) == (m->task == PN_TASK_RAW) && m->patch_h >= 1 && m->patch_h <= m->height
        && m->patch_w >= 1 && m->patch_w <= m->width && b[PN_HEADER_FIT] <= PN_FIT_CROP
        && b[PN_HEADER_DTYPE] <= PN_DTYPE_FLOAT32 && b[PN_HEADER_AGGREGATE] <= PN_AGGREGATE_CONCAT
        && b[PN_HEADER_SCORES] <= PN_SCORES_SIGMOID && b[PN_HEADER_SIZED] <= pn_sees(m);
    return ok ? PN_OK : PN_ERR_SHAPE;
}

static int check_tables(const pn_model_t *m) {
    if (!pn_in_prefix(m, pn_u32(m->blob + PN_HEADER_PATCH_OFF), m->tunnels * pn_patch_bytes(m))) {
        return PN_ERR_PATCH;
    }
    for (uint32_t i = 0; i < m->tunnels; i++) {
        pn_patch_t p;
        pn_patch_read(m, i, &p);
        if (p.height > m->height || p.width > m->width || p.y + m->patch_h > p.height || p.x + m->patch_w > p.width) {
            return PN_ERR_PATCH;
        }
    }
    bool ok = pn_in_prefix(m, pn_u32(m->blob + PN_HEADER_LAYER_OFF), (uint32_t)m->all_layers * PN_LAYER_BYTES)
        && pn_in_prefix(m, pn_u32(m->blob + PN_HEADER_SEGMENT_OFF), (uint32_t)m->all_segments * PN_SEGMENT_BYTES)
        && pn_in_prefix(m, pn_u32(m->blob + PN_HEADER_PARAM_OFF),
            ((m->tunnels - 1u) * m->layers + m->all_layers) * PN_PARAM_BYTES);
    return ok ? PN_OK : PN_ERR_SHAPE;
}

// Whether it is UTF-8, as strict as Python's.
static bool utf8_ok(const uint8_t *p, uint32_t n) {
    static const uint32_t least[4] = { 0, 0x80, 0x800, 0x10000 };
    while (n-- > 0) {
        uint32_t c = *p++, more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
        if ((c & 0xc0) == 0x80 || c >= 0xf8 || more > n) {
            return false;
        }
        c &= more ? 0x3fu >> more : 0x7fu;
        n -= more;
        for (uint32_t i = 0; i < more; i++, p++) {
            if ((*p & 0xc0) != 0x80) {
                return false;
            }
            c = c << 6 | (*p & 0x3fu);
        }
        if (c < least[more] || c > 0x10ffff || c >> 11 == 0xd800 >> 11) {
            return false;
        }
    }
    return true;
}

static int check_labels(const pn_model_t *m) {
    uint32_t off = pn_u32(m->blob + PN_HEADER_LABEL_OFF), bytes = pn_u32(m->blob + PN_HEADER_LABEL_BYTES);
    if (!pn_in_prefix(m, off, bytes) || (bytes > 0 && m->blob[off + bytes - 1] != '\n')) {
        return PN_ERR_LABELS;
    }
    uint32_t lines = 0;
    for (uint32_t i = 0; i < bytes; i++) {
        lines += m->blob[off + i] == '\n';
    }
    return lines == m->classes && utf8_ok(m->blob + off, bytes) ? PN_OK : PN_ERR_LABELS;
}

// A kernel along one side: `covers` if it may be as long as that.
static bool axis_ok(const pn_axis_t *a, uint32_t pad_after, bool block, bool covers) {
    bool second_ok = block ? a->second % 2 == 1 && a->second <= PN_MAX_KERNEL : a->second == 0;
    return a->kernel >= 1 && (covers || a->kernel <= PN_MAX_KERNEL) && a->stride >= 1 && a->stride <= PN_MAX_KERNEL
        && a->pad < a->kernel && pad_after < a->kernel && second_ok;
}

// What the fast kernels can do, and what their arrays' order follows from; the plan's check looks at the rest.
static bool fast_shape_ok(const pn_layer_t *l) {
    const pn_axis_t *y = &l->y, *x = &l->x;
    bool bytes_ok = l->cin % 4 == 0 && l->flags & PN_FLAG_EXPAND;
    return (bytes_ok || !(l->flags & PN_FLAG_BYTES)) && l->kind == PN_KIND_BOTTLENECK && l->cexp % 4 == 0 && l->cexp > 0
        && l->cout % 2 == 0 && y->kernel == x->kernel && y->stride == x->stride && y->stride <= 2 && y->kernel % 2 == 1
        && y->kernel >= 3 && y->kernel <= PN_MAX_FAST_KERNEL;
}

static bool bottleneck_shape_ok(const pn_layer_t *l, uint32_t flags) {
    uint32_t known = PN_FLAG_EXPAND | PN_FLAG_RESIDUAL | PN_FLAG_SIGNED | PN_FLAG_BYTES;
    bool expand = flags & PN_FLAG_EXPAND, residual = flags & PN_FLAG_RESIDUAL,
         one = l->y.stride == 1 && l->x.stride == 1;
    known |= pn_fast_mode(l->mode) ? PN_FLAG_NARROW : 0;
    return l->index > 0 && (flags & ~known) == 0 && l->cexp >= 1 && l->cexp < PN_MAX_REDUCTION
        && l->cin <= PN_MAX_REDUCTION && (expand || l->cexp == l->cin)
        && (!residual || (one && l->cout == l->cin && l->oh == l->h && l->ow == l->w));
}

static PN_APART bool block_shape_ok(const pn_layer_t *l, uint32_t flags, uint32_t taps) {
    bool same = l->cout == l->cin && l->oh == l->h && l->ow == l->w && l->y.stride == 1 && l->x.stride == 1;
    bool reached = (l->oh - 1u) * l->y.stride < l->h && (l->ow - 1u) * l->x.stride < l->w; // by what is added
    return l->index > 0 && (flags == PN_FLAG_EXPAND || (flags == 0 && same)) && reached && l->cexp >= 1
        && taps * l->cin <= PN_MAX_REDUCTION && (uint32_t)l->y.second * l->x.second * l->cexp <= PN_MAX_REDUCTION;
}

static bool cast_shape_ok(const pn_layer_t *l) {
    return l->flags == 0 && l->cexp == 0 && l->y.kernel * l->x.kernel * l->y.stride * l->x.stride == 1;
}

// Whether outputs, of which there are at least so many, may go in pairs if they do: two or more, and whole pairs in a
// group.
static bool pairs_ok(const pn_layer_t *l, uint32_t least) {
    return !pn_paired(l->flags) || (least > 1 && (l->mode != PN_MODE_GROUPS || (l->cout | l->group) % 2 == 0));
}

static bool kind_shape_ok(const pn_layer_t *l, uint32_t flags) {
    uint32_t taps = (uint32_t)l->y.kernel * l->x.kernel;
    uint32_t order = l->mode == PN_MODE_COVER ? 0 : PN_FLAG_COLUMNS | PN_FLAG_PAIRS;
    switch (l->kind) {
        case PN_KIND_CONV:
            return (flags & ~order) == 0 && l->cexp == 0 && (uint64_t)taps * l->cin <= PN_MAX_REDUCTION
                && pairs_ok(l, l->cout);
        case PN_KIND_BOTTLENECK:
            return bottleneck_shape_ok(l, flags);
        case PN_KIND_BLOCK:
            return block_shape_ok(l, flags & ~order, taps) && pairs_ok(l, l->cexp < l->cout ? l->cexp : l->cout);
        case PN_KIND_MAXPOOL:
        case PN_KIND_MEANPOOL:
            return l->index > 0 && flags == 0 && l->cexp == 0 && l->cout == l->cin;
        case PN_KIND_INT4:
            return cast_shape_ok(l) && l->index > 0 && 2u * l->cout == l->cin;
        case PN_KIND_INT8:
            return cast_shape_ok(l) && l->cout == 2u * l->cin;
        default:
            return false;
    }
}

static int check_layer_shape(const pn_model_t *m, const pn_layer_t *l) {
    const uint8_t *r = pn_layer_record(m, l->index);
    uint32_t head = l->index >= m->layers ? PN_FLAG_HEAD : 0, bottom = r[PN_LAYER_PAD_BOTTOM];
    uint32_t right = r[PN_LAYER_PAD_RIGHT];
    bool covers = l->mode == PN_MODE_COVER, block = l->kind == PN_KIND_BLOCK, fast = pn_fast_mode(l->mode);
    bool whole = l->y.kernel == l->h && l->x.kernel == l->w && l->y.pad + l->x.pad + bottom + right == 0;
    bool cover_ok = whole && l->kind != PN_KIND_BOTTLENECK && !block && !pn_casts(l->kind);
    if (!axis_ok(&l->y, bottom, block, covers) || !axis_ok(&l->x, right, block, covers) || (covers && !cover_ok)
        || l->cout == 0 || l->oh == 0 || l->ow == 0 || pn_u16(r + PN_LAYER_FLAGS) > UINT8_MAX
        || !kind_shape_ok(l, l->flags & ~head) || (fast && !fast_shape_ok(l))) {
        return PN_ERR_SHAPE;
    }
    return fast && (l->group % 4 || l->group == 0 || l->group > l->cexp) ? PN_ERR_PLAN : PN_OK;
}

#ifdef PN_NO_FLOAT32
#define check_floats(l) PN_OK
#else
// Of a float32 network's layer: shifts are activations, all else is nought.
static int check_floats(const pn_layer_t *l) {
    bool acts = l->shift <= PN_ACT_RELU6 && l->shift_1 <= PN_ACT_RELU6 && l->shift_2 <= PN_ACT_RELU6;
    bool noughts = (l->zero_out | l->zero_mid | l->zero_add | l->res_mult) == 0;
    uint32_t others = PN_FLAG_SIGNED | PN_FLAG_PAIRS | PN_FLAG_COLUMNS | PN_FLAG_NARROW | PN_FLAG_BYTES;
    bool plain = (l->flags & others) == 0 && !pn_casts(l->kind);
    return !plain ? PN_ERR_SHAPE : acts && noughts ? PN_OK : PN_ERR_WEIGHTS;
}
#endif

// A zero point of a layer's inside is nought where there is none, and what only moves values keeps its input's.
static bool zeros_ok(const pn_layer_t *l) {
    bool block = l->kind == PN_KIND_BLOCK, shortcut = block && l->flags & PN_FLAG_EXPAND;
    return (block || l->zero_mid == 0) && (shortcut || l->zero_add == 0)
        && (!pn_moves(l->kind) || l->zero_out == l->zero_in);
}

static int check_params(pn_model_t *m, const pn_layer_t *l) {
    bool adds = l->kind == PN_KIND_BLOCK || l->flags & PN_FLAG_RESIDUAL;
    bool ok = pn_floats(m) || (adds ? l->res_mult >= 1 && l->res_mult <= INT16_MAX : l->res_mult == 0);
    uint32_t end, *left = &m->weights.want_bytes; // of arrays, however often one of them is used
    int err = pn_floats(m) ? check_floats(l) : ok && zeros_ok(l) ? PN_OK : PN_ERR_WEIGHTS;
    err = err ? err : pn_check_layer_arrays(m, l, &end);
    if (err != PN_OK || end - l->weight_off > *left) {
        return err ? err : PN_ERR_WEIGHTS;
    }
    *left -= end - l->weight_off;
    return PN_OK;
}

// Behind the last layer of a chain. All chains end with the same zero point, as one map or one sum is made of them.
static int check_chain(pn_model_t *m, const pn_layer_t *l) {
    if (l->zero_out != (int8_t)pn_param_record(m, 0, m->layers - 1u)[PN_PARAM_ZERO_OUT]) {
        return PN_ERR_WEIGHTS;
    }
    if (m->run.tunnel + 1 < m->tunnels) {
        m->run.tunnel++;
        m->run.index = 0;
        return PN_OK;
    }
    m->fault_layer = PN_NO_LAYER;
    m->features = l->cout * (pn_concat(m) ? m->tunnels : 1u);
    m->outputs = m->classes;
    return pn_task_layer(m, l);
}

// The next layer of a chain, or behind the chains. m->run.layer holds the one before and then this one. What a map of
// 4 bits is for is the layer that makes it 8 bits again, which is the next one.
static int check_layer(pn_model_t *m) {
    pn_layer_t *l = &m->run.layer;
    bool halved = m->run.index > 0 && l->kind == PN_KIND_INT4;
    m->fault_layer = m->run.index;
    pn_layer_read(m, m->run.tunnel, m->run.index, l);
    bool ends = m->run.index + 1u == m->layers || m->run.index + 1u == m->all_layers;
    bool casts_ok = halved == (l->kind == PN_KIND_INT8) && !(ends && l->kind == PN_KIND_INT4);
    int err = casts_ok ? check_layer_shape(m, l) : PN_ERR_SHAPE;
    err = err ? err : check_params(m, l);
    if (err != PN_OK) {
        return err;
    }
    m->run.index++;
    return m->run.index == m->layers ? check_chain(m, l) : m->run.index > m->layers ? pn_task_layer(m, l) : PN_OK;
}

static int check_plan(pn_model_t *m) {
    pn_room_t room;
    pn_task_room(m, &room);
    return pn_check_step(m, &room);
}

// Everything but the container, layers and plan.
static int check_head(pn_model_t *m) {
    int err = check_header(m);
    err = err ? err : pn_task_read(m);
    err = err ? err : check_tables(m);
    err = err ? err : check_labels(m);
    err = err ? err : pn_floats(m) && (pn_finds(m) || pn_merges(m)) ? PN_ERR_TASK : PN_OK;
    return err ? err : pn_task_check(m);
}

// Of a streamed blob, what it takes to read the rest of it.
static void end_opening(pn_model_t *m) {
    m->run.arena = NULL;
    if (m->weights.at == NULL) {
        pn_parts_sizes(m);
        pn_verify_begin(m, pn_u32(m->blob + PN_HEADER_WEIGHT_OFF));
    }
}

// What is looked at next, in m->run.phase.
enum { OPEN_BYTES, OPEN_HEAD, OPEN_LAYERS, OPEN_PLAN };

int pn_open_begin(pn_model_t *m, const void *prefix, const void *blob, size_t len, void *work) {
    m->blob = prefix;
    m->weights.at = blob;
    m->weights.from = m->weights.stay = 0;
    m->weights.parted = m->run.windowed = false;
    m->weights.buffer = NULL;
    m->fault_layer = PN_NO_LAYER;
    m->run.arena = work;
    m->run.tunnel = m->run.index = 0;
    m->run.phase = blob ? OPEN_BYTES : OPEN_HEAD;
    int err = pn_container_check(prefix, len);
    if (err != PN_OK) {
        return err;
    }
    uint32_t size = pn_u32(m->blob + PN_HEADER_SIZE);
    m->weights.want_bytes = size < UINT32_MAX / PN_MAX_TUNNELS ? size * PN_MAX_TUNNELS : UINT32_MAX;
    if (blob == NULL) {
        return PN_OK;
    }
    err = size > len ? PN_ERR_LENGTH : pn_verify_begin(m, pn_u32(m->blob + PN_HEADER_WEIGHT_OFF));
    return err == PN_MORE ? PN_OK : err;
}

int pn_open_step(pn_model_t *m) {
    int err;
    switch (m->run.phase) {
        case OPEN_BYTES:
            err = pn_verify(m, m->weights.at + pn_u32(m->blob + PN_HEADER_SIZE) - m->weights.unverified, CRC_AT_ONCE);
            break;
        case OPEN_HEAD:
            err = check_head(m);
            break;
        case OPEN_LAYERS:
            err = check_layer(m);
            if (err == PN_OK && m->run.index < m->all_layers) {
                return PN_MORE;
            }
            pn_check_begin(m);
            break;
        default:
            err = check_plan(m);
            if (err == PN_OK) {
                end_opening(m);
                return PN_OK;
            }
    }
    m->run.phase = (uint8_t)(m->run.phase + (err == PN_OK));
    return err ? err : PN_MORE;
}

static int open_all(pn_model_t *m, const void *prefix, const void *blob, size_t len) {
    uint32_t work[PN_OPEN_BYTES / 4];
    int err = pn_open_begin(m, prefix, blob, len, work);
    for (err = err ? err : PN_MORE; err == PN_MORE;) {
        err = pn_open_step(m);
    }
    return err;
}

int pn_open(pn_model_t *m, const void *blob, size_t len) {
    return open_all(m, blob, blob, len);
}

int pn_open_streamed(pn_model_t *m, const void *prefix, size_t len) {
    return open_all(m, prefix, NULL, len);
}

void pn_info(const pn_model_t *m, pn_info_t *info) {
    memcpy(info->input_zero, m->blob + PN_HEADER_INPUT_ZERO, sizeof(info->input_zero));
    info->output_zero = pn_task_zero(m);
    memcpy(&info->input_scale, m->blob + PN_HEADER_INPUT_SCALE, sizeof(info->input_scale));
    memcpy(&info->output_scale, m->blob + PN_HEADER_OUTPUT_SCALE, sizeof(info->output_scale));
}
