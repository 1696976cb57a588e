// Opening a blob: every number that comes from outside is checked here, once (FORMAT.md, What is trusted).
#include "patchnet.h"
#include "engine/tasks/pn_audio.h"
#include "engine/blob/pn_blob.h"
#include "engine/plan/pn_check.h"
#include "engine/blob/pn_format.h"
#include "engine/run/pn_parts.h"

#if PN_BLOB_ALIGN != PN_ALIGN || PN_BLOB_HEADER != PN_HEADER_BYTES
#error "patchnet.h and the format disagree"
#endif

const char *pn_error(int err) {
    switch (err) {
        case PN_ERR_LENGTH:
            return "length";
        case PN_ERR_ALIGN:
            return "alignment";
        case PN_ERR_MAGIC:
            return "magic";
        case PN_ERR_VERSION:
            return "version";
        case PN_ERR_CRC:
            return "CRC";
        case PN_ERR_TASK:
            return "task";
        case PN_ERR_SHAPE:
            return "shape";
        case PN_ERR_PATCH:
            return "patch";
        case PN_ERR_WEIGHTS:
            return "weights";
        case PN_ERR_OVERFLOW:
            return "overflow";
        case PN_ERR_LABELS:
            return "labels";
        case PN_ERR_PLAN:
            return "plan";
        case PN_ERR_ARENA:
            return "arena";
        case PN_ERR_PIXFMT:
            return "format";
        case PN_ERR_ROI:
            return "roi";
        default:
            return "ok";
    }
}

// CRC-32 as in zlib, a nibble at a time: a table of 64 bytes, and twice the speed of single bits.
static uint32_t crc32(uint32_t crc, const uint8_t *p, size_t n) {
    static const uint32_t nibble[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ nibble[crc & 15];
        crc = crc >> 4 ^ nibble[crc & 15];
    }
    return ~crc;
}

static int check_container(const uint8_t *b, size_t len) {
    if ((uintptr_t)b % PN_BLOB_ALIGN != 0) {
        return PN_ERR_ALIGN;
    }
    if (len < PN_HEADER_BYTES) {
        return PN_ERR_LENGTH;
    }
    if (pn_u32(b) != PN_MAGIC) {
        return PN_ERR_MAGIC;
    }
    if (pn_u16(b + PN_HEADER_VERSION) != PN_VERSION || pn_u16(b + PN_HEADER_HEADER_BYTES) != PN_HEADER_BYTES) {
        return PN_ERR_VERSION;
    }
    uint32_t head = pn_u32(b + PN_HEADER_WEIGHT_OFF);
    return head >= PN_HEADER_BYTES && head <= len && head <= pn_u32(b + PN_HEADER_SIZE) ? PN_OK : PN_ERR_LENGTH;
}

// Whether `bytes` at `off` lie between `from` and `to`, aligned.
static bool inside(uint32_t from, uint32_t to, uint32_t off, uint64_t bytes) {
    return off % PN_ALIGN == 0 && off >= from && off <= to && bytes <= to - off;
}

// Records and labels lie behind the header ...
static bool in_head(const pn_model_t *m, uint32_t off, uint64_t bytes) {
    return inside(PN_HEADER_BYTES, pn_u32(m->blob + PN_HEADER_WEIGHT_OFF), off, bytes);
}

// ... and all arrays behind them.
static bool in_weights(const pn_model_t *m, uint32_t off, uint64_t bytes) {
    return inside(pn_u32(m->blob + PN_HEADER_WEIGHT_OFF), pn_u32(m->blob + PN_HEADER_SIZE), off, bytes);
}

static bool side_ok(uint32_t side) {
    return side >= 1 && side <= PN_MAX_SIDE;
}

static int check_header(pn_model_t *m) {
    const uint8_t *b = m->blob;
    if (b[PN_HEADER_TASK] < PN_TASK_CLASSIFY || b[PN_HEADER_TASK] > PN_TASK_AUDIO) {
        return PN_ERR_TASK;
    }
    m->channels = b[PN_HEADER_CHANNELS];
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
    bool ok = (m->channels == 1 || m->channels == 3) && m->tunnels >= 1 && m->tunnels <= PN_MAX_TUNNELS
        && m->layers >= 1 && segments >= 1 && segments <= m->layers && side_ok(m->height) && side_ok(m->width) && m->classes >= 1
        && m->patch_h >= 1 && m->patch_h <= m->height && m->patch_w >= 1 && m->patch_w <= m->width
        && b[PN_HEADER_FIT] <= PN_FIT_CROP && (b[PN_HEADER_TASK] != PN_TASK_CLASSIFY || pn_u32(b + PN_HEADER_TASK_OFF) == 0)
        && b[PN_HEADER_AGGREGATE] <= PN_AGGREGATE_CONCAT;
    return ok ? PN_OK : PN_ERR_SHAPE;
}

// The record of a detection network. What it says of the layers' shapes is looked at with them.
static int check_record(pn_model_t *m) {
    if (m->blob[PN_HEADER_TASK] != PN_TASK_DETECT) {
        return PN_OK;
    }
    if (!in_head(m, pn_u32(m->blob + PN_HEADER_TASK_OFF), PN_DETECT_BYTES)) {
        return PN_ERR_TASK;
    }
    const uint8_t *r = pn_task_record(m);
    uint32_t layers = r[PN_DETECT_LAYERS], segments = r[PN_DETECT_SEGMENTS], top = pn_u16(r + PN_DETECT_TOP);
    m->map_h = (uint16_t)pn_u16(r + PN_DETECT_MAP_H);
    m->map_w = (uint16_t)pn_u16(r + PN_DETECT_MAP_W);
    m->all_layers = (uint8_t)(m->layers + layers);
    m->all_segments = (uint8_t)(m->segments + segments);
    m->heads = NULL;
    m->lowest = INT8_MAX + 1;
    bool ok = side_ok(m->map_h) && side_ok(m->map_w) && m->layers + layers <= PN_MAX_LAYERS && segments >= 1 && segments <= layers
        && top >= 1 && top <= PN_MAX_TOP && !pn_concat(m)
        && in_head(m, pn_u32(r + PN_DETECT_PLACE_OFF), m->tunnels * PN_PLACE_BYTES)
        && in_head(m, pn_u32(r + PN_DETECT_SCALE_OFF), pn_u16(r + PN_DETECT_SCALES) * PN_SCALE_BYTES);
    return ok ? PN_OK : PN_ERR_TASK;
}

static int check_tables(const pn_model_t *m) {
    uint32_t patch_off = pn_u32(m->blob + PN_HEADER_PATCH_OFF);
    if (!in_head(m, patch_off, m->tunnels * PN_PATCH_BYTES)) {
        return PN_ERR_PATCH;
    }
    const uint8_t *p = m->blob + patch_off;
    for (int i = 0; i < m->tunnels; i++, p += PN_PATCH_BYTES) {
        if (pn_u16(p + PN_PATCH_Y) + m->patch_h > m->height || pn_u16(p + PN_PATCH_X) + m->patch_w > m->width) {
            return PN_ERR_PATCH;
        }
    }
    bool ok = in_head(m, pn_u32(m->blob + PN_HEADER_LAYER_OFF), m->all_layers * PN_LAYER_BYTES)
        && in_head(m, pn_u32(m->blob + PN_HEADER_SEGMENT_OFF), m->all_segments * PN_SEGMENT_BYTES)
        && in_head(m, pn_u32(m->blob + PN_HEADER_PARAM_OFF), ((m->tunnels - 1) * m->layers + m->all_layers) * PN_PARAM_BYTES);
    return ok ? PN_OK : PN_ERR_SHAPE;
}

static int check_labels(const pn_model_t *m) {
    uint32_t off = pn_u32(m->blob + PN_HEADER_LABEL_OFF), bytes = pn_u32(m->blob + PN_HEADER_LABEL_BYTES);
    if (!in_head(m, off, bytes) || bytes == 0 || m->blob[off + bytes - 1] != '\n') {
        return PN_ERR_LABELS;
    }
    uint32_t lines = 0;
    for (uint32_t i = 0; i < bytes; i++) {
        lines += m->blob[off + i] == '\n';
    }
    return lines == m->classes ? PN_OK : PN_ERR_LABELS;
}

// Whether no twiddle is longer than 1, but for rounding: then no value of an FFT can leave 32 bits.
static bool twiddles_ok(const pn_audio_t *a) {
    for (uint32_t i = 0; i < a->fft; i += 2) {
        int32_t c = a->twiddle[i], s = a->twiddle[i + 1];
        if (c == INT16_MIN || c * c + s * s > PN_MAX_TWIDDLE) {
            return false;
        }
    }
    return true;
}

static bool bands_ok(const pn_audio_t *a) {
    uint32_t weights = 0;
    for (uint32_t b = 0; b < a->width; b++) {
        uint32_t first = pn_u16(a->bands + 4 * b), n = pn_u16(a->bands + 4 * b + 2);
        weights += n;
        if (first + n > a->fft / 2u) {
            return false;
        }
    }
    return weights == a->weight_bytes;
}

// The task's record and arrays. m->arena_bytes becomes what the plan may use, which is below the stream.
static int check_audio(pn_model_t *m) {
    if (!in_head(m, pn_u32(m->blob + PN_HEADER_TASK_OFF), PN_AUDIO_BYTES)) {
        return PN_ERR_SHAPE;
    }
    const uint8_t *r = pn_task_record(m);
    pn_audio_t a;
    pn_audio_read(&a, m->blob, r, m->width);
    pn_sound_t s = pn_sound(m);
    bool ok = m->channels == 1 && a.fft >= PN_MIN_FFT && a.fft <= PN_MAX_FFT && (a.fft & (a.fft - 1)) == 0
        && a.frame >= 1 && a.frame <= a.fft && a.hop >= 1 && a.hop <= a.frame && a.rate >= 1 && s.every >= 1
        && s.smooth >= 1 && s.smooth <= 256 && s.threshold <= 65536 && (s.background < m->classes || s.background == PN_NO_CLASS)
        && a.log_mult >= 1 && a.log_mult <= INT16_MAX && a.log_offset >= -(1 << 30) && a.log_offset <= 1 << 30;
    if (!ok) {
        return PN_ERR_SHAPE;
    }
    ok = in_head(m, pn_u32(r + PN_AUDIO_WINDOW_OFF), 2 * a.frame) && in_head(m, pn_u32(r + PN_AUDIO_TWIDDLE_OFF), 2 * a.fft)
        && in_head(m, pn_u32(r + PN_AUDIO_BAND_OFF), 4 * a.width) && in_head(m, pn_u32(r + PN_AUDIO_WEIGHT_OFF), a.weight_bytes)
        && twiddles_ok(&a) && bands_ok(&a);
    if (!ok) {
        return PN_ERR_WEIGHTS;
    }
    uint32_t at = pn_u32(r + PN_AUDIO_STREAM_AT), all = m->arena_bytes;
    uint64_t bytes = 4ull * m->classes + pn_padded(2 * a.frame) + (uint32_t)m->height * m->width;
    m->arena_bytes = at;
    m->frame = a.frame;
    return at % 4 == 0 && at >= 4u * a.fft && at + bytes <= all ? PN_OK : PN_ERR_PLAN;
}

static int check_layer_shape(const pn_model_t *m, const pn_layer_t *l) {
    uint32_t flags = l->index >= m->layers ? l->flags & ~PN_FLAG_HEAD : l->flags; // of what is no head
    if (l->kernel > 7 || l->kernel % 2 == 0 || l->stride < 1 || l->stride > 2 || l->cout == 0) {
        return PN_ERR_SHAPE;
    }
    // what the fast kernels can do, and what their arrays' order follows from; the plan's check looks at the rest
    bool fast = l->mode == PN_MODE_FAST || l->mode == PN_MODE_SWEEP;
    if (fast && (l->kind != PN_KIND_BOTTLENECK || l->cexp % 4 || l->cexp == 0 || l->cout % 2)) {
        return PN_ERR_SHAPE;
    }
    if (fast && (l->group % 4 || l->group == 0 || l->group > l->cexp)) {
        return PN_ERR_PLAN;
    }
    if (l->kind == PN_KIND_CONV) {
        bool ok = flags == 0 && l->cexp == 0 && l->kernel * l->kernel * (uint32_t)l->cin <= PN_MAX_REDUCTION;
        return ok ? PN_OK : PN_ERR_SHAPE;
    }
    bool expand = l->flags & PN_FLAG_EXPAND, residual = l->flags & PN_FLAG_RESIDUAL;
    bool ok = l->kind == PN_KIND_BOTTLENECK && l->index > 0 && l->kernel > 1
        && flags <= (PN_FLAG_EXPAND | PN_FLAG_RESIDUAL | PN_FLAG_SIGNED | PN_FLAG_WIDE)
        && l->cexp >= 1 && l->cexp < PN_MAX_REDUCTION && l->cin <= PN_MAX_REDUCTION
        && (expand || l->cexp == l->cin) && (!residual || (l->stride == 1 && l->cout == l->cin));
    return ok ? PN_OK : PN_ERR_SHAPE;
}

int pn_check_scaled(const uint8_t *p, uint32_t n, uint32_t products, int bits, int shift) {
    int64_t room = (INT32_MAX >> shift) - ((int64_t)products << bits);
    for (uint32_t i = 0; i < n; i++) {
        int64_t bias = (int32_t)pn_u32(p + 4 * i);
        if (bias > room || bias < -room) {
            return PN_ERR_OVERFLOW;
        }
        if ((int32_t)pn_u32(p + 4 * (n + i)) <= 0) {
            return PN_ERR_WEIGHTS;
        }
    }
    return PN_OK;
}

// Checks the arrays at *off (n outputs, `weights` weights, see pn_check_scaled) and moves *off behind them. This and those below
// leave out what is not in memory.
static int check_scaled(const pn_model_t *m, uint32_t *off, uint32_t n, uint64_t weights, uint32_t products, int bits,
    int shift) {
    uint64_t bytes = 8ull * n + ((weights + 3) & ~3ull);
    if (!in_weights(m, *off, bytes) || shift > PN_MAX_SHIFT) {
        return PN_ERR_WEIGHTS;
    }
    const uint8_t *p = pn_array(m, *off);
    *off += (uint32_t)bytes;
    return p == NULL ? PN_OK : pn_check_scaled(p, n, products, bits, shift);
}

// A bias and a multiplier of a fast bottleneck's wide values: sums of at most `largest` besides the bias must not leave 16 bits
// when they are scaled, so that two of them are clamped at once.
static int check_wide(const uint8_t *bias_at, const uint8_t *mult_at, int64_t largest) {
    int64_t bias = (int32_t)pn_u32(bias_at), mult = (int32_t)pn_u32(mult_at);
    if (mult <= 0) {
        return PN_ERR_WEIGHTS;
    }
    largest += bias < 0 ? -bias : bias;
    return largest <= INT32_MAX && (largest * mult + 0x80000000LL) >> 32 <= INT16_MAX ? PN_OK : PN_ERR_OVERFLOW;
}

// Whether `n` weights of 16 bits hold values of 8, as every bound on sums takes for granted.
static bool narrow_weights(const uint8_t *p, uint32_t n) {
    for (; n > 0; n--, p += 2) {
        int32_t w = (int16_t)pn_u16(p);
        if (w < INT8_MIN || w > INT8_MAX) {
            return false;
        }
    }
    return true;
}

// The biases and multipliers of the projection.
static int check_scales(const pn_fast_t *f) {
    const uint8_t *p = (const uint8_t *)f->narrow;
    int64_t room = (INT32_MAX >> f->shift) - ((int64_t)f->cexp << 15);
    for (uint32_t i = 0; i < f->cout; i++) {
        const uint8_t *record = p + i / 2 * 16 + i % 2 * 4;
        int64_t bias = (int32_t)pn_u32(record);
        if ((int32_t)pn_u32(record + 8) <= 0) {
            return PN_ERR_WEIGHTS;
        }
        if (bias > room || bias < -room) {
            return PN_ERR_OVERFLOW;
        }
    }
    return PN_OK;
}

// The arrays of a group of `n` channels.
static int check_group(const pn_fast_t *f, const pn_fast_weights_t *w, const pn_fast_arrays_t *bytes, uint32_t n) {
    int64_t largest = (f->expands ? 255LL : 128LL) * 128 * f->kernel * f->kernel;
    bool wide_pairs = f->wide16 && f->expands && !pn_fast_eight(f);
    int err = PN_OK;
    for (uint32_t c = 0; c < n && err == PN_OK; c++) {
        const uint8_t *record = w->expand + c / 2 * bytes->pair, *d = w->depthwise + (c + 1) * bytes->channel;
        err = f->expands ? check_wide(record + c % 2 * 4, record + c % 2 * 4 + 8, 128LL * 128 * f->cin) : PN_OK;
        err = err ? err : check_wide(d - 8, d - 4, largest);
        if (err == PN_OK && wide_pairs && !narrow_weights(record + 16, 8 * pn_fast_quads(f))) {
            err = PN_ERR_WEIGHTS;
        }
    }
    bool good = !f->wide16 || narrow_weights(w->project, n * f->cout);
    return err ? err : good ? PN_OK : PN_ERR_WEIGHTS;
}

int pn_check_fast(const pn_fast_t *f, uint32_t from, uint32_t n) {
    pn_fast_arrays_t bytes = pn_fast_arrays(f);
    int err = check_scales(f);
    for (uint32_t end = from + n; from < end && err == PN_OK; from += f->group) {
        uint32_t channels = pn_fast_group(f, from);
        pn_fast_weights_t w = pn_fast_weights(f, &bytes, from, channels);
        err = check_group(f, &w, &bytes, channels);
    }
    return err;
}

pn_fast_t pn_fast_layer(const pn_layer_t *l) {
    pn_fast_t f = {
        .cin = l->cin, .cexp = l->cexp, .cout = l->cout, .group = l->group, .kernel = l->kernel, .shift = l->shift,
        .expands = (l->flags & PN_FLAG_EXPAND) != 0, .wide16 = (l->flags & PN_FLAG_WIDE) != 0,
    };
    return f;
}

// The arrays of modes 5 and 6. Whether the layer's shape is one that they know is for the plan's check to say.
static int check_fast_arrays(const pn_model_t *m, const pn_layer_t *l, uint32_t *off) {
    pn_fast_t f = pn_fast_layer(l);
    pn_fast_arrays_t bytes = pn_fast_arrays(&f);
    uint64_t total = bytes.narrow + (uint64_t)l->cexp * bytes.each;
    if (!in_weights(m, *off, total) || l->shift > PN_MAX_SHIFT) {
        return PN_ERR_WEIGHTS;
    }
    const uint8_t *p = pn_array(m, *off);
    *off += (uint32_t)total;
    if (p == NULL) {
        return PN_OK;
    }
    f.narrow = (const int32_t *)(const void *)p;
    f.arrays = p + bytes.narrow;
    return pn_check_fast(&f, 0, l->cexp);
}

// A layer's arrays, *end being the first byte behind them.
static int check_arrays(const pn_model_t *m, const pn_layer_t *l, uint32_t *end) {
    uint32_t taps = l->kernel * l->kernel;
    *end = l->weight_off;
    if (l->mode == PN_MODE_FAST || l->mode == PN_MODE_SWEEP) {
        return check_fast_arrays(m, l, end);
    }
    if (l->kind == PN_KIND_CONV) {
        return check_scaled(m, end, l->cout, (uint64_t)l->cout * taps * l->cin, taps * l->cin, 15, l->shift);
    }
    int err = PN_OK;
    if (l->flags & PN_FLAG_EXPAND) {
        err = check_scaled(m, end, l->cexp, (uint64_t)l->cexp * l->cin, l->cin, 15, 0);
    }
    if (err == PN_OK) {
        err = check_scaled(m, end, l->cexp, (uint64_t)l->cexp * taps, taps, 15, 0);
    }
    if (err == PN_OK) {
        err = check_scaled(m, end, l->cout, (uint64_t)l->cexp * l->cout, l->cexp, 15, l->shift);
    }
    return err;
}

static int check_fc(const pn_model_t *m, uint32_t *end) {
    const uint8_t *b = m->blob;
    *end = pn_u32(b + PN_HEADER_FC_OFF);
    return check_scaled(m, end, m->classes, (uint64_t)m->classes * m->features, m->features, 14, b[PN_HEADER_FC_SHIFT]);
}

static int check_params(const pn_model_t *m, const pn_layer_t *l) {
    bool residual = l->flags & PN_FLAG_RESIDUAL;
    bool ok = residual ? l->res_mult >= 1 && l->res_mult <= INT16_MAX : l->res_mult == 0;
    uint32_t end;
    return ok ? check_arrays(m, l, &end) : PN_ERR_WEIGHTS;
}

static int check_end(const pn_model_t *m, const pn_layer_t *l) {
    const uint8_t *b = m->blob;
    if ((int32_t)pn_u32(b + PN_HEADER_POOL_MULT) <= 0 || b[PN_HEADER_POOL_SHIFT] > PN_MAX_SHIFT) {
        return PN_ERR_WEIGHTS;
    }
    uint64_t pixels = (uint64_t)l->oh * l->ow * (pn_concat(m) ? 1 : m->tunnels);
    if ((pixels * 255) << b[PN_HEADER_POOL_SHIFT] > INT32_MAX) {
        return PN_ERR_OVERFLOW;
    }
    if (m->features > PN_MAX_REDUCTION) {
        return PN_ERR_SHAPE;
    }
    uint32_t end;
    return check_fc(m, &end);
}

// Layer `i` of a chain, or behind the chains. *l holds the one before and then this one.
static int check_layer(pn_model_t *m, uint32_t tunnel, uint32_t i, pn_layer_t *l) {
    m->fault_layer = (uint8_t)i;
    pn_layer_read(m, tunnel, i, l);
    int err = check_layer_shape(m, l);
    return err ? err : check_params(m, l);
}

// All layers of one chain. *l is left holding the last.
static int check_chain(pn_model_t *m, uint32_t tunnel, pn_layer_t *l) {
    int err = PN_OK;
    for (uint32_t i = 0; i < m->layers && err == PN_OK; i++) {
        err = check_layer(m, tunnel, i, l);
    }
    return err;
}

// Whether the part of each chain's map that goes to the stitched map lies in both.
static bool places_ok(const pn_model_t *m, const pn_layer_t *l) {
    const uint8_t *p = m->blob + pn_u32(pn_task_record(m) + PN_DETECT_PLACE_OFF);
    bool ok = true;
    for (uint32_t i = 0; i < m->tunnels; i++, p += PN_PLACE_BYTES) {
        uint32_t h = pn_u16(p + PN_PLACE_H), w = pn_u16(p + PN_PLACE_W);
        ok = ok && pn_u16(p + PN_PLACE_FROM_Y) + h <= l->oh && pn_u16(p + PN_PLACE_TO_Y) + h <= m->map_h
            && pn_u16(p + PN_PLACE_FROM_X) + w <= l->ow && pn_u16(p + PN_PLACE_TO_X) + w <= m->map_w;
    }
    return ok;
}

// A head's scale: its anchors and the outputs that they make.
static bool scale_ok(pn_model_t *m, uint32_t index, const pn_layer_t *l) {
    const uint8_t *r = pn_task_record(m), *s = m->blob + pn_u32(r + PN_DETECT_SCALE_OFF) + index * PN_SCALE_BYTES;
    if (index >= pn_u16(r + PN_DETECT_SCALES)) {
        return false;
    }
    uint64_t anchors = pn_u32(s + PN_SCALE_ANCHORS), outputs = m->outputs + (uint64_t)l->oh * l->ow * l->cout;
    m->outputs = (uint32_t)outputs;
    return anchors * (4u + m->classes) == l->cout && outputs <= INT32_MAX
        && in_head(m, pn_u32(s + PN_SCALE_ANCHOR_OFF), anchors * PN_ANCHOR_BYTES);
}

// What follows the chains. *l holds their last layer.
static int check_tail(pn_model_t *m, pn_layer_t *l) {
    uint32_t heads = 0;
    if (!places_ok(m, l)) {
        return PN_ERR_TASK;
    }
    m->outputs = 0;
    for (uint32_t i = m->layers; i < m->all_layers; i++) {
        int err = check_layer(m, m->tunnels - 1u, i, l);
        if (err) {
            return err;
        }
        if (l->flags & PN_FLAG_HEAD && !scale_ok(m, heads++, l)) {
            return PN_ERR_TASK;
        }
    }
    bool ok = l->flags & PN_FLAG_HEAD && heads == pn_u16(pn_task_record(m) + PN_DETECT_SCALES);
    m->fault_layer = PN_NO_LAYER;
    return ok ? PN_OK : PN_ERR_TASK;
}

static int check_chains(pn_model_t *m) {
    int8_t zero = 0;
    pn_layer_t l;
    for (uint32_t t = 0; t < m->tunnels; t++) {
        int err = check_chain(m, t, &l);
        if (err) {
            return err;
        }
        if (t > 0 && l.zero_out != zero) {
            return PN_ERR_WEIGHTS;
        }
        zero = l.zero_out;
    }
    m->fault_layer = PN_NO_LAYER;
    m->features = l.cout * (pn_concat(m) ? m->tunnels : 1u);
    m->outputs = m->classes;
    int err = pn_detects(m) ? check_tail(m, &l) : check_end(m, &l);
    return err ? err : pn_check_plan(m);
}

int pn_check_arrays(pn_model_t *m, uint32_t tunnel, uint32_t first, uint32_t n, uint32_t *from, uint32_t *end) {
    pn_layer_t l;
    int err = PN_OK;
    if (n == 0) {
        *from = pn_u32(m->blob + PN_HEADER_FC_OFF);
        m->fault_layer = PN_NO_LAYER;
        return check_fc(m, end);
    }
    *from = UINT32_MAX;
    *end = 0;
    for (uint32_t i = 0; i < first + n && err == PN_OK; i++) {
        pn_layer_read(m, tunnel, i, &l);
        if (i >= first) {
            uint32_t behind;
            m->fault_layer = (uint8_t)i;
            err = check_arrays(m, &l, &behind);
            *from = l.weight_off < *from ? l.weight_off : *from;
            *end = behind > *end ? behind : *end;
        }
    }
    return err;
}

// Everything but the container.
static int check_content(pn_model_t *m) {
    int err = check_header(m);
    if (err == PN_OK) {
        err = check_record(m);
    }
    if (err == PN_OK) {
        err = check_tables(m);
    }
    if (err == PN_OK) {
        err = check_labels(m);
    }
    if (err == PN_OK && m->blob[PN_HEADER_TASK] == PN_TASK_AUDIO) {
        err = check_audio(m);
    }
    if (err == PN_OK) {
        err = check_chains(m);
        m->arena_bytes = pn_u32(m->blob + PN_HEADER_ARENA_BYTES);
    }
    return err;
}

static int begin(pn_model_t *m, const void *blob, size_t len) {
    m->blob = m->weights = blob;
    m->weights_at = m->stay = 0;
    m->parted = m->windowed = false;
    m->arena = m->buffer = NULL;
    m->frame = m->missing = 0;
    m->fault_layer = PN_NO_LAYER;
    return check_container(blob, len);
}

uint32_t pn_head_bytes(const void *header) {
    return pn_u32(header) == PN_MAGIC ? pn_u32((const uint8_t *)header + PN_HEADER_WEIGHT_OFF) : 0;
}

int pn_verify(pn_model_t *m, const void *data, size_t n) {
    n = n < m->unverified ? n : m->unverified; // what lies behind the blob is no matter
    m->crc = crc32(m->crc, data, n);
    m->unverified -= (uint32_t)n;
    return m->unverified ? PN_MORE : m->crc == pn_u32(m->blob + PN_HEADER_CRC) ? PN_OK : PN_ERR_CRC;
}

// The CRC of the first `n` bytes; what is missing is for pn_verify.
static int verify_begin(pn_model_t *m, size_t n) {
    uint32_t after = PN_HEADER_CRC + 4, size = pn_u32(m->blob + PN_HEADER_SIZE);
    m->crc = crc32(0, m->blob, PN_HEADER_CRC);
    m->unverified = size - after;
    return pn_verify(m, m->blob + after, n - after);
}

int pn_open(pn_model_t *m, const void *blob, size_t len) {
    int err = begin(m, blob, len);
    if (err == PN_OK) {
        uint32_t size = pn_u32(m->blob + PN_HEADER_SIZE);
        err = size > len ? PN_ERR_LENGTH : verify_begin(m, size);
    }
    return err ? err : check_content(m);
}

int pn_open_head(pn_model_t *m, const void *head, size_t len) {
    int err = begin(m, head, len);
    m->weights = NULL;
    if (err == PN_OK) {
        err = check_content(m);
    }
    if (err == PN_OK) {
        pn_parts_sizes(m);
        verify_begin(m, pn_u32(m->blob + PN_HEADER_WEIGHT_OFF));
    }
    return err;
}
