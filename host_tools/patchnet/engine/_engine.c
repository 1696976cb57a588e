// What ctypes needs beside patchnet.h, so that no struct of the engine is described a second time in Python.
#define _POSIX_C_SOURCE 199309L // clock_gettime
#include <time.h>

#include "patchnet.h"
#include "engine/tasks/pn_spectrum.h"

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

// A streamed blob: the least and the most bytes of a buffer; after PN_WANT from where in the blob how many bytes are
// wanted at which place in it.
void pn_host_buffer_sizes(const pn_model_t *m, uint32_t sizes[2]) {
    sizes[0] = m->weights.least;
    sizes[1] = m->weights.most;
}

void pn_host_wanted(const pn_model_t *m, uint32_t part[3]) {
    part[0] = m->weights.want_at;
    part[1] = m->weights.want_bytes;
    part[2] = m->weights.want_to;
}

// pn_start with the picture's fields one by one; `roi` is x, y, width, height.
int pn_host_start(pn_model_t *m, void *arena, size_t len, const void *data, uint32_t w, uint32_t h, uint32_t format,
    const uint32_t *roi) {
    pn_image_t image = { data, w, h, (pn_pixfmt_t)format, roi[0], roi[1], roi[2], roi[3], 0, 0 };
    return pn_start(m, arena, len, &image);
}

// pn_window as x, y, width, height.
void pn_host_window(const pn_model_t *m, uint32_t *window) {
    pn_window_t w;
    pn_window(m, &w);
    window[0] = w.x;
    window[1] = w.y;
    window[2] = w.w;
    window[3] = w.h;
}

// Layers of a chain, and those that follow the chains.
uint32_t pn_host_layers(const pn_model_t *m) {
    return m->all_layers;
}

// How many int8 values a run gives, and the shape of a map that they are: 0 x 0 if they are none.
uint32_t pn_host_outputs(const pn_model_t *m, uint32_t shape[3]) {
    shape[0] = pn_maps(m) ? m->map_h : 0;
    shape[1] = pn_maps(m) ? m->map_w : 0;
    shape[2] = m->features;
    return m->outputs;
}

int32_t pn_host_output_zero(const pn_model_t *m) {
    pn_info_t info;
    pn_info(m, &info);
    return info.output_zero;
}

// After a run, all of its values, if they are not those of heads.
void pn_host_values(const pn_model_t *m, int8_t *values) {
    for (uint32_t i = 0; i < m->outputs; i++) {
        values[i] = pn_output(m, i);
    }
}

// Whether the model is a float32 one, and after a run all of its values then.
uint32_t pn_host_is_float(const pn_model_t *m) {
    return pn_floats(m);
}

void pn_host_floats(const pn_model_t *m, float *values) {
    for (uint32_t i = 0; i < m->outputs; i++) {
        values[i] = pn_value(m, i);
    }
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
    return m->run.index;
}

static uint64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// Steps until the run ends or waits, or for so long that someone who interrupts it notices. Each layer's nanoseconds are
// added to its own in `times`, the last of which are those of what follows the layers.
int pn_host_run(pn_model_t *m, uint64_t *times) {
    uint64_t began = nanoseconds(), before = began, now;
    int err;
    do {
        uint8_t index = m->run.index;
        do {
            err = pn_step(m);
        } while (err == PN_MORE && m->run.index == index);
        now = nanoseconds();
        times[index] += now - before;
        before = now;
    } while (err == PN_MORE && now - began < 20000000);
    return err;
}

// After a run, of all classes: logits with 8 fraction bits, scores 0..65536.
void pn_host_results(const pn_model_t *m, int32_t *logits, uint32_t *scores) {
    pn_softmax_t softmax;
    pn_softmax(m, &softmax);
    for (uint32_t i = 0; i < m->classes; i++) {
        logits[i] = pn_logit(m, i);
        scores[i] = pn_score(m, &softmax, i);
    }
}

// Rows of the spectrogram of a whole clip, by the front-end whose task record lies `record` bytes behind `base`.
void pn_host_spectrogram(const uint8_t *base, uint32_t record, uint32_t width, const int16_t *pcm, uint32_t rows,
    pn_bin_t *bins, int8_t *out) {
    pn_spectrum_t a;
    pn_spectrum_read(&a, base, base + record, width);
    for (uint32_t i = 0; i < rows; i++) {
        pn_spectrum_row(&a, pcm + (size_t)i * a.hop, 0, bins, out + (size_t)i * width);
    }
}

// What an audio model hears, and how it answers: the fields of pn_sound_t.
void pn_host_sound(const pn_model_t *m, uint32_t *fields) {
    pn_sound_t s = pn_sound(m);
    const uint32_t all[8] = { s.rate, s.hop, s.samples, s.every, s.pause, s.smooth, s.threshold, s.background };
    for (int i = 0; i < 8; i++) {
        fields[i] = all[i];
    }
}

// pn_spot with those fields.
int32_t pn_host_spot(pn_model_t *m, const uint32_t *fields, uint32_t *score) {
    pn_sound_t s = { fields[0], fields[1], fields[2], fields[3], fields[4], fields[5], fields[6], fields[7] };
    return pn_spot(m, &s, score);
}

// The rows since the last answer.
uint32_t pn_host_fresh(const pn_model_t *m) {
    return m->state.hearing.fresh;
}
