// What the tests want from the engine and Python cannot do fast, or cannot see: whole runs, and fields of the model.
#include <string.h>

#include "patchnet.h"

size_t shim_model_bytes(void) {
    return sizeof(pn_model_t);
}

uint32_t shim_arena_bytes(const pn_model_t *m) {
    return m->arena_bytes;
}

uint32_t shim_fault_layer(const pn_model_t *m) {
    return m->fault_layer;
}

// The chain, the layer and the segment that the next step belongs to, and the first row of its strip.
void shim_where(const pn_model_t *m, uint32_t where[4]) {
    where[0] = m->run.tunnel;
    where[1] = m->run.index;
    where[2] = m->run.segment_index;
    where[3] = m->run.row;
}

// Reads the part of the file that the engine asks for into its buffer. False if it asks for what there is none of.
static bool read_wanted(pn_weights_t *w, const uint8_t *file, size_t n) {
    if (file == NULL || w->want_to > w->bytes || w->want_bytes > w->bytes - w->want_to || w->want_at > n
        || w->want_bytes > n - w->want_at) {
        return false;
    }
    memcpy(w->buffer + w->want_to, file + w->want_at, w->want_bytes);
    return true;
}

// Does at most `most` steps of a run that was started; a streamed blob is `bytes` at `file`. *more is what the last one
// said. Returns the steps done.
uint32_t shim_steps(pn_model_t *m, uint32_t most, const uint8_t *file, size_t bytes, int *more) {
    uint32_t n = 0;
    do {
        *more = pn_step(m);
        while (*more == PN_WANT && read_wanted(&m->weights, file, bytes)) {
            *more = pn_step(m);
        }
        n++;
    } while (*more == PN_MORE && n < most);
    return n;
}

// Least and most bytes of a streamed blob's buffer.
void shim_buffer(const pn_model_t *m, uint32_t sizes[2]) {
    sizes[0] = m->weights.least;
    sizes[1] = m->weights.most;
}

int shim_hears(const pn_model_t *m) {
    return pn_hears(m);
}

#ifndef PN_NO_SOUND

// Rows since the stream began, or since the last pn_spot.
uint32_t shim_fresh(const pn_model_t *m) {
    return m->state.hearing.fresh;
}

#endif

// How many values a run gives; and what it tells: 1: heads' outputs, 2: boxes, 4: classes, 8: float32.
uint32_t shim_outputs(const pn_model_t *m) {
    return m->outputs;
}

int shim_tells(const pn_model_t *m) {
    return pn_detects(m) + 2 * pn_finds(m) + 4 * pn_classifies(m) + 8 * pn_floats(m);
}

#ifndef PN_NO_FLOAT32

// The values of a run of a float32 network.
void shim_floats(const pn_model_t *m, float *outputs) {
    for (uint32_t i = 0; i < m->outputs; i++) {
        outputs[i] = pn_value(m, i);
    }
}

#endif

// The values of a run that does not end with heads.
void shim_outputs8(const pn_model_t *m, int8_t *outputs) {
    for (uint32_t i = 0; i < m->outputs; i++) {
        outputs[i] = pn_output(m, i);
    }
}

// The boxes of a run, six numbers each; `boxes` has room for those that the blob allows.
uint32_t shim_boxes(pn_model_t *m, uint32_t iou, uint32_t *boxes) {
    uint32_t n = pn_boxes(m, iou);
    for (uint32_t i = 0; i < n; i++, boxes += 6) {
        pn_box_t b;
        pn_box(m, i, &b);
        boxes[0] = b.x;
        boxes[1] = b.y;
        boxes[2] = b.w;
        boxes[3] = b.h;
        boxes[4] = b.label;
        boxes[5] = b.score;
    }
    return n;
}

// The result of a run: `n` classes.
void shim_results(const pn_model_t *m, uint32_t n, int16_t *logits, int8_t *outputs, uint32_t *scores) {
    pn_softmax_t s;
    pn_softmax(m, &s);
    for (uint32_t i = 0; i < n; i++) {
        logits[i] = (int16_t)pn_logit(m, i);
        outputs[i] = pn_output(m, i);
        scores[i] = pn_score(m, &s, i);
    }
}
