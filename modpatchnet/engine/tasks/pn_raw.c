#include "engine/tasks/pn_raw.h"

#include <string.h>

#include "engine/run/pn_arena.h"

int8_t *pn_raw_map(const pn_model_t *m) {
    return (int8_t *)m->run.arena + pn_u32(m->blob + PN_HEADER_FEATURE_AT);
}

int8_t pn_raw_output(const pn_model_t *m, uint32_t i) {
    PN_READ(pn_raw_map(m) + i, 1, TAG_FEATURES);
    return pn_raw_map(m)[i];
}

int pn_raw_read(const pn_model_t *m) {
    return m->tunnels == 1 && !pn_concat(m) ? PN_OK : PN_ERR_TASK;
}

int pn_raw_layer(pn_model_t *m, const pn_layer_t *l) {
    uint64_t outputs = (uint64_t)l->oh * l->ow * l->cout;
    m->map_h = l->oh;
    m->map_w = l->ow;
    m->outputs = (uint32_t)outputs;
    return outputs <= INT32_MAX ? PN_OK : PN_ERR_TASK;
}

// The map is alive in the segment that makes it and until the end.
void pn_raw_room(const pn_model_t *m, pn_room_t *room) {
    uint16_t from = (uint16_t)(m->segments - 1), end = (uint16_t)(m->all_segments + 1);
    room->n = 1;
    uint32_t size = pn_floats(m) ? 4 : 1;
    uint64_t bytes = (uint64_t)size * m->outputs;
    room->lasting[0] = (pn_lasting_t) { pn_u32(m->blob + PN_HEADER_FEATURE_AT), size, bytes, from, end };
}

int16_t pn_raw_zero(const pn_model_t *m) {
    return (int8_t)pn_param_record(m, 0, m->layers - 1u)[PN_PARAM_ZERO_OUT];
}

// Copies a line, which waits in the work area, to the map.
void pn_raw_line(const pn_model_t *m, const pn_stage_t *s, uint32_t o, const int8_t *line) {
    bool columns = m->run.segment.columns;
    size_t first = columns ? (size_t)s->out_from * m->map_w + o : (size_t)o * m->map_w + s->out_from;
    uint32_t bytes = s->cout * pn_size(s); // of a pixel
    size_t step = (columns ? m->map_w : 1u) * (size_t)bytes;
    int8_t *to = pn_raw_map(m) + first * bytes;
    PN_READ(line, pn_pixels_out(s) * bytes, TAG(m, TAG_STAGING, s->index, o));
    for (uint32_t i = 0; i < pn_pixels_out(s); i++, line += bytes, to += step) {
        memcpy(to, line, bytes);
        PN_WRITE(to, bytes, TAG_FEATURES);
    }
}
