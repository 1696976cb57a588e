// From logits to scores (FORMAT.md, Scores): a softmax in integers, the same on every machine.
#include "patchnet.h"
#include "engine/blob/pn_format.h"
#include "engine/blob/pn_blob.h"
#include "engine/kernels/pn_round.h"

static const int16_t *logits(const pn_model_t *m) {
    return (const int16_t *)(const void *)(m->arena + pn_u32(m->blob + PN_HEADER_LOGIT_AT));
}

int32_t pn_logit(const pn_model_t *m, uint32_t i) {
    return logits(m)[i];
}

int8_t pn_output(const pn_model_t *m, uint32_t i) {
    return (int8_t)pn_clamp((logits(m)[i] + 128) >> 8, -128, 127);
}

// A factor for each bit of the fraction.
uint64_t pn_exp2_neg(uint64_t t) {
    static const uint32_t factor[16] = {
        759250125, 902905651, 984625594, 1028218693, 1050733751, 1062175491, 1067942999, 1070838486,
        1072289173, 1073015252, 1073378477, 1073560135, 1073650976, 1073696399, 1073719111, 1073730468,
    };
    uint64_t e = 1u << 30;
    for (int b = 0; b < 16; b++) {
        if (t >> (15 - b) & 1) {
            e = (e * factor[b] + (1u << 29)) >> 30;
        }
    }
    return t >> 16 > 30 ? 0 : e >> (t >> 16);
}

static uint64_t exponential(const pn_model_t *m, const pn_softmax_t *s, uint32_t i) {
    uint64_t d = (uint64_t)(s->best - logits(m)[i]);
    return pn_exp2_neg(d * pn_u32(m->blob + PN_HEADER_SOFTMAX_MULT) >> 8);
}

void pn_softmax(const pn_model_t *m, pn_softmax_t *s) {
    s->best = INT16_MIN;
    for (uint32_t i = 0; i < m->classes; i++) {
        s->best = logits(m)[i] > s->best ? logits(m)[i] : s->best;
    }
    s->sum = 0;
    for (uint32_t i = 0; i < m->classes; i++) {
        s->sum += exponential(m, s, i);
    }
}

uint32_t pn_score(const pn_model_t *m, const pn_softmax_t *s, uint32_t i) {
    return (uint32_t)((65536 * exponential(m, s, i) + s->sum / 2) / s->sum);
}
