#include "engine/tasks/pn_classify.h"

#include <string.h>

#include "engine/blob/pn_arrays.h"
#include "engine/kernels/pn_float.h"
#include "engine/kernels/pn_round.h"
#include "engine/run/pn_arena.h"
#include "engine/run/pn_stage.h"

// Outputs of the fully connected layer in one step.
#define OUTPUTS_AT_ONCE 64

PN_INLINE uint32_t header(const pn_model_t *m, int field) {
    return pn_u32(m->blob + field);
}

static int32_t *feature_sums(const pn_model_t *m) {
    return (int32_t *)(void *)(m->run.arena + header(m, PN_HEADER_SUM_AT));
}

static int16_t *logits(const pn_model_t *m) {
    return (int16_t *)(void *)(m->run.arena + header(m, PN_HEADER_LOGIT_AT));
}

// ---------------------------------------------------------------- opening

static int features_ok(const pn_model_t *m) {
    if (m->features > PN_MAX_REDUCTION || (!m->dense && m->features != m->classes)) {
        return PN_ERR_SHAPE;
    }
    uint32_t end;
    return m->dense ? pn_check_dense(m, &end) : PN_OK;
}

int pn_classify_layer(const pn_model_t *m, const pn_layer_t *l) {
    const uint8_t *b = m->blob;
    if (pn_floats(m)) {
        return features_ok(m);
    }
    if ((int32_t)header(m, PN_HEADER_POOL_MULT) <= 0 || b[PN_HEADER_POOL_SHIFT] > PN_MAX_SHIFT) {
        return PN_ERR_WEIGHTS;
    }
    uint64_t pixels = (uint64_t)l->oh * l->ow * (pn_concat(m) || pn_merges(m) ? 1 : m->tunnels);
    if ((pixels * 255) << b[PN_HEADER_POOL_SHIFT] > INT32_MAX) {
        return PN_ERR_OVERFLOW;
    }
    return features_ok(m);
}

// Sums are alive in the segment that makes them, or those of several chains always; what is made of them from then on
// until the end: features, which logits join there, or without a fully connected layer the logits.
void pn_classify_room(const pn_model_t *m, pn_room_t *room) {
    const uint8_t *last = pn_layer_record(m, m->all_layers - 1u);
    bool lasting = pn_lasting_sums(m);
    bool grouped = last[PN_LAYER_KIND] == PN_KIND_CONV && last[PN_LAYER_MODE] == PN_MODE_GROUPS;
    uint32_t sums = grouped && !lasting ? pn_u16(last + PN_LAYER_GROUP) : pn_last_channels(m);
    uint16_t all = m->all_segments, pooled = (uint16_t)(all - 1), end = (uint16_t)(all + 1);
    uint16_t first = pn_concat(m) && m->tunnels > 1 ? 0 : pooled;
    uint32_t logit_at = header(m, PN_HEADER_LOGIT_AT), logit = pn_floats(m) ? 4 : 2, feature = pn_floats(m) ? 4 : 1;
    room->n = m->dense ? 3 : 2;
    room->lasting[0] = (pn_lasting_t) { header(m, PN_HEADER_SUM_AT), 4, 4ull * sums, lasting ? 0 : pooled, all };
    room->lasting[1] = (pn_lasting_t) { logit_at, logit, (uint64_t)logit * m->classes, m->dense ? all : first, end };
    uint64_t bytes = (uint64_t)feature * m->features;
    room->lasting[2] = (pn_lasting_t) { header(m, PN_HEADER_FEATURE_AT), feature, bytes, first, end };
}

int16_t pn_classify_zero(const pn_model_t *m) {
    return (int8_t)m->blob[m->dense ? PN_HEADER_FC_ZERO : PN_HEADER_POOL_ZERO];
}

// ---------------------------------------------------------------- float32

#ifdef PN_NO_FLOAT32
#define float_line(m, line, pixels, n, sums) ((void)0)
#define float_sums(m, sums, first, n) ((void)(sums), (void)(first))
#define float_dense(m) ((void)0)
#define float_logit(m, i) 0
#else

static float *float_at(const pn_model_t *m, int field) {
    return (float *)(void *)(m->run.arena + header(m, field));
}

// The sums lie where those of an int8 network would.
static void float_line(const pn_model_t *m, const int8_t *line, uint32_t pixels, uint32_t n, int32_t *sums) {
    (void)m;
    pn_float_sum((const float *)(const void *)line, pixels, n, (float *)(void *)sums);
}

// Means of the pixels of each chain's last map, of all chains together where those are summed.
static void float_sums(const pn_model_t *m, const int32_t *sums, uint32_t first, uint32_t n) {
    const pn_layer_t *l = &m->run.layer;
    float *out = float_at(m, m->dense ? PN_HEADER_FEATURE_AT : PN_HEADER_LOGIT_AT) + first;
    PN_WRITE(out, 4 * n, m->dense ? TAG_FEATURES : TAG_LOGITS);
    PN_READ(sums, 4 * n, TAG_SUMS);
    pn_float_mean((const float *)(const void *)sums, n, (uint32_t)l->oh * l->ow, out);
}

// Some outputs of the fully connected layer, from m->run.row on.
static void float_dense(pn_model_t *m) {
    uint32_t row = m->run.row, left = m->classes - row, n = left < OUTPUTS_AT_ONCE ? left : OUTPUTS_AT_ONCE;
    const float *bias = (const float *)(const void *)pn_array(m, header(m, PN_HEADER_FC_OFF));
    const float *weight = bias + m->classes, *x = float_at(m, PN_HEADER_FEATURE_AT);
    float *out = float_at(m, PN_HEADER_LOGIT_AT) + row;
    PN_WRITE(out, 4 * n, TAG_LOGITS);
    PN_READ(x, 4 * m->features, TAG_FEATURES);
    memcpy(out, bias + row, 4 * n);
    pn_float_dots(x, weight + (size_t)row * m->features, m->features, m->features, n, out);
    m->run.row = (uint16_t)(row + n);
}

float pn_value(const pn_model_t *m, uint32_t i) {
    const float *at = float_at(m, pn_classifies(m) ? PN_HEADER_LOGIT_AT : PN_HEADER_FEATURE_AT) + i;
    PN_READ(at, 4, pn_classifies(m) ? TAG_LOGITS : TAG_FEATURES);
    return *at;
}

static int32_t float_logit(const pn_model_t *m, uint32_t i) {
    return pn_float_steps(pn_value(m, i));
}

#endif

// ---------------------------------------------------------------- features

static void clear_sums(const pn_model_t *m, uint32_t n) {
    memset(feature_sums(m), 0, 4 * (size_t)n);
    PN_WRITE(feature_sums(m), 4 * n, TAG_SUMS);
}

static int16_t logit(int32_t q8) {
    return (int16_t)pn_clamp(q8, INT16_MIN, INT16_MAX);
}

// Turns sums into features first..first+n-1 of the current chain, or of all if those are summed; without a fully
// connected layer into logits. `sums` is an argument because gcc 12 takes the function for one without effect when it
// sees both addresses come from the arena's.
static void end_sums(const pn_model_t *m, const int32_t *sums, uint32_t first, uint32_t n) {
    const uint8_t *b = m->blob;
    first += pn_concat(m) ? m->run.tunnel * pn_last_channels(m) : 0;
    if (pn_floats(m)) {
        float_sums(m, sums, first, n);
        return;
    }
    int8_t *out = (int8_t *)m->run.arena + header(m, PN_HEADER_FEATURE_AT) + first;
    int16_t *out16 = logits(m) + first;
    int32_t mult = (int32_t)header(m, PN_HEADER_POOL_MULT), zero = 256 * (int8_t)b[PN_HEADER_POOL_ZERO];
    PN_WRITE(m->dense ? (void *)out : out16, m->dense ? n : 2 * n, m->dense ? TAG_FEATURES : TAG_LOGITS);
    PN_READ(sums, 4 * n, TAG_SUMS);
    for (uint32_t c = 0; c < n; c++) {
        int32_t q8 = pn_narrow_q8(sums[c], b[PN_HEADER_POOL_SHIFT], mult) + zero;
        if (m->dense) {
            out[c] = pn_narrow_end(q8 + 128);
        } else {
            out16[c] = logit(q8);
        }
    }
}

void pn_classify_begin(const pn_model_t *m) {
    if (pn_lasting_sums(m)) {
        clear_sums(m, m->features);
    }
}

void pn_classify_segment(const pn_model_t *m) {
    if (!pn_lasting_sums(m)) {
        clear_sums(m, pn_grouped_conv(pn_stages(m)) ? m->run.layer.group : m->run.layer.cout);
    }
}

// Adds a line, which waits in the work area, to the sums.
void pn_classify_line(const pn_model_t *m, const pn_stage_t *s, uint32_t o, const int8_t *line) {
    bool grouped = pn_grouped_conv(s);
    uint32_t left = s->cout - (grouped ? s->channel : 0u), n = grouped && s->group < left ? s->group : left;
    int32_t *sums = feature_sums(m) + (grouped && pn_lasting_sums(m) ? s->channel : 0);
    (void)o; // only the checking build looks at it
    PN_READ(line, pn_pixels_out(s) * n * pn_size(s), TAG(m, TAG_STAGING, s->index, o));
    PN_READ(sums, 4 * n, TAG_SUMS);
    if (pn_floats(m)) {
        float_line(m, line, pn_pixels_out(s), n, sums);
    } else {
        pn_pool_add(line, (int)pn_pixels_out(s), (int)n, s->zero_out, sums);
    }
    PN_WRITE(sums, 4 * n, TAG_SUMS);
}

void pn_classify_channels(const pn_model_t *m, const pn_stage_t *s, uint32_t n) {
    if (!pn_lasting_sums(m)) {
        end_sums(m, feature_sums(m), s->channel, n);
        clear_sums(m, n);
    }
}

void pn_classify_chain(const pn_model_t *m) {
    if (pn_lasting_sums(m) ? m->run.tunnel + 1 == m->tunnels : !pn_grouped_conv(pn_stages(m))) {
        end_sums(m, feature_sums(m), 0, pn_last_channels(m));
    }
}

// ---------------------------------------------------------------- logits

bool pn_classify_step(pn_model_t *m) {
    if (!m->dense) {
        // made chain by chain, they must still be there
        PN_READ(logits(m), (pn_floats(m) ? 4 : 2) * m->classes, TAG_LOGITS);
        return true;
    }
    if (pn_floats(m)) {
        float_dense(m);
        return m->run.row == m->classes;
    }
    const uint8_t *b = m->blob;
    const int8_t *x = (const int8_t *)m->run.arena + header(m, PN_HEADER_FEATURE_AT);
    const pn_part_t *part = &m->weights.part;
    uint32_t row = m->run.row, end = m->weights.parted ? (uint32_t)part->from + part->n : m->classes;
    uint32_t n = end - row < OUTPUTS_AT_ONCE ? end - row : OUTPUTS_AT_ONCE;
    pn_scaled_t s = pn_scaled_from(m, header(m, PN_HEADER_FC_OFF), m->classes, m->features, row);
    int32_t zero = 256 * (int8_t)b[PN_HEADER_FC_ZERO];
    int16_t *out = logits(m) + row;
    PN_WRITE(out, 2 * n, TAG_LOGITS);
    PN_READ(x, m->features, TAG_FEATURES);
    int32_t sums[OUTPUTS_AT_ONCE];
    memcpy(sums, s.bias, 4 * n);
    pn_dots(x, s.weight, (int)m->features, (int)m->features, (int)n, sums);
    for (uint32_t i = 0; i < n; i++) {
        out[i] = logit(pn_narrow_q8(sums[i], b[PN_HEADER_FC_SHIFT], s.mult[i]) + zero);
    }
    m->run.row = (uint16_t)(row + n);
    return m->run.row == m->classes;
}

static int32_t logit_of(const pn_model_t *m, uint32_t i) {
    return pn_floats(m) ? float_logit(m, i) : logits(m)[i];
}

int32_t pn_logit(const pn_model_t *m, uint32_t i) {
    if (pn_floats(m)) {
        return float_logit(m, i);
    }
    PN_READ(logits(m) + i, 2, TAG_LOGITS);
    return logits(m)[i];
}

int8_t pn_classify_output(const pn_model_t *m, uint32_t i) {
    return (int8_t)pn_clamp((logits(m)[i] + 128) >> 8, -128, 127);
}

// ---------------------------------------------------------------- scores (FORMAT.md): in integers

static bool each_by_itself(const pn_model_t *m) {
    return m->blob[PN_HEADER_SCORES] == PN_SCORES_SIGMOID;
}

static uint64_t exponential(const pn_model_t *m, const pn_softmax_t *s, uint32_t i) {
    uint64_t d = (uint64_t)(s->best - logit_of(m, i));
    return pn_exp2_neg(d * header(m, PN_HEADER_SOFTMAX_MULT) >> 8);
}

void pn_softmax(const pn_model_t *m, pn_softmax_t *s) {
    s->best = pn_floats(m) ? INT32_MIN : INT16_MIN;
    for (uint32_t i = 0; i < m->classes; i++) {
        int32_t it = logit_of(m, i);
        s->best = it > s->best ? it : s->best;
    }
    s->sum = 0; // not asked for where each class is by itself
    for (uint32_t i = 0; i < m->classes && !each_by_itself(m); i++) {
        s->sum += exponential(m, s, i);
    }
}

uint32_t pn_score(const pn_model_t *m, const pn_softmax_t *s, uint32_t i) {
    if (each_by_itself(m)) {
        return pn_sigmoid(logit_of(m, i) - 256 * pn_classify_zero(m), header(m, PN_HEADER_SOFTMAX_MULT));
    }
    return (uint32_t)((65536 * exponential(m, s, i) + s->sum / 2) / s->sum);
}
