// What ctypes needs beside patchnet.h, so that no struct of the engine is described a second time in Python.
#include "patchnet.h"

size_t pn_host_model_bytes(void) {
    return sizeof(pn_model_t);
}

// Layer of the fault that pn_open found, 255 for none.
uint32_t pn_host_fault_layer(const pn_model_t *m) {
    return m->fault_layer;
}

uint32_t pn_host_arena_bytes(const pn_model_t *m) {
    return m->arena_bytes;
}

// A streamed blob: its buffer's size; the buffer; what to read into it after PN_WANT.
uint32_t pn_host_buffer_bytes(const pn_model_t *m) {
    return m->buffer_bytes;
}

void pn_host_use_buffer(pn_model_t *m, void *buffer) {
    m->buffer = buffer;
}

void pn_host_wanted(const pn_model_t *m, uint32_t part[2]) {
    part[0] = m->want_at;
    part[1] = m->want_bytes;
}

// pn_start with the picture's fields one by one; `roi` is x, y, width, height.
int pn_host_start(pn_model_t *m, void *arena, size_t len, const void *data, uint32_t w, uint32_t h, uint32_t format,
    const uint32_t *roi) {
    pn_image_t image = { data, w, h, (pn_pixfmt_t)format, roi[0], roi[1], roi[2], roi[3] };
    return pn_start(m, arena, len, &image);
}

// How many int8 values a run gives.
uint32_t pn_host_outputs(const pn_model_t *m) {
    return m->outputs;
}

// The boxes of a run, six numbers each: x, y, w, h, label, score. `boxes` has room for as many as the blob allows.
uint32_t pn_host_boxes(pn_model_t *m, uint32_t iou, uint32_t *boxes) {
    uint32_t n = pn_boxes(m, iou);
    for (uint32_t i = 0; i < n; i++, boxes += 6) {
        pn_box_t b;
        pn_box(m, i, &b);
        const uint32_t numbers[6] = { b.x, b.y, b.w, b.h, b.label, b.score };
        for (int j = 0; j < 6; j++) {
            boxes[j] = numbers[j];
        }
    }
    return n;
}

// Layer of the next step.
uint32_t pn_host_index(const pn_model_t *m) {
    return m->index;
}

// Steps until the next layer begins, or the run ends.
int pn_host_run_layer(pn_model_t *m) {
    uint8_t index = m->index;
    int err;
    do {
        err = pn_step(m);
    } while (err == PN_MORE && m->index == index);
    return err;
}

// After a run, of all classes: logits with 8 fraction bits, int8 outputs, scores 0..65536.
void pn_host_results(const pn_model_t *m, int32_t *logits, int8_t *outputs, uint32_t *scores) {
    pn_softmax_t softmax;
    pn_softmax(m, &softmax);
    for (uint32_t i = 0; i < m->classes; i++) {
        logits[i] = pn_logit(m, i);
        outputs[i] = pn_output(m, i);
        scores[i] = pn_score(m, &softmax, i);
    }
}
