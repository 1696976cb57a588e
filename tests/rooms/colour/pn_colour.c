#include "engine/tasks/pn_colour.h"

#include <string.h>

#include "engine/kernels/pn_kernels.h"
#include "engine/run/pn_arena.h"

static int32_t *sums(const pn_model_t *m) {
    return (int32_t *)(void *)(m->run.arena + pn_u32(m->blob + PN_HEADER_SUM_AT));
}

// A value that is added up is -128 or more, a sum 0 or more.
int pn_colour_layer(const pn_model_t *m, const pn_layer_t *l) {
    if (l->cout != m->classes || pn_concat(m)) {
        return PN_ERR_SHAPE;
    }
    return (uint64_t)l->oh * l->ow * m->tunnels * 255 <= INT32_MAX ? PN_OK : PN_ERR_OVERFLOW;
}

// Sums are alive throughout, the means, where pn_output looks for them, from the end of the layers on.
void pn_colour_room(const pn_model_t *m, pn_room_t *room) {
    uint32_t means_at = pn_u32(m->blob + PN_HEADER_LOGIT_AT);
    uint16_t all = m->all_segments, end = (uint16_t)(all + 1);
    room->n = 2;
    room->lasting[0] = (pn_lasting_t) { pn_u32(m->blob + PN_HEADER_SUM_AT), 4, 4ull * m->classes, 0, end };
    room->lasting[1] = (pn_lasting_t) { means_at, 2, 2ull * m->classes, all, end };
}

void pn_colour_begin(const pn_model_t *m) {
    memset(sums(m), 0, 4 * (size_t)m->classes);
    PN_WRITE(sums(m), 4 * m->classes, TAG_SUMS);
}

void pn_colour_line(const pn_model_t *m, const pn_stage_t *s, uint32_t o, const int8_t *line) {
    (void)o; // only the checking build looks at it
    PN_READ(line, pn_pixels_out(s) * s->cout, TAG(m, TAG_STAGING, s->index, o));
    pn_pool_add(line, (int)pn_pixels_out(s), s->cout, INT8_MIN, sums(m));
}

bool pn_colour_step(const pn_model_t *m) {
    int16_t *means = (int16_t *)(void *)(m->run.arena + pn_u32(m->blob + PN_HEADER_LOGIT_AT));
    uint64_t n = (uint64_t)m->run.layer.oh * m->run.layer.ow * m->tunnels;
    PN_READ(sums(m), 4 * m->classes, TAG_SUMS);
    PN_WRITE(means, 2 * m->classes, TAG_LOGITS);
    for (uint32_t i = 0; i < m->classes; i++) {
        means[i] = (int16_t)((int32_t)(((uint64_t)sums(m)[i] << 8) / n) + 256 * INT8_MIN);
    }
    return true;
}
