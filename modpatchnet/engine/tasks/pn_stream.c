// A stream of samples becomes rows, runs over the last rows become answers (FORMAT.md, From samples to input, Spotting).
#include "patchnet.h"

#include <string.h>

#include "engine/tasks/pn_audio.h"
#include "engine/blob/pn_blob.h"
#include "engine/run/pn_move.h"
#include "engine/kernels/pn_round.h"

// What lies in the arena from stream_at on, one behind the other: averaged scores, the ring of a frame's samples, rows.
static int32_t *scores(const pn_model_t *m) {
    return (int32_t *)(void *)(m->arena + pn_u32(pn_task_record(m) + PN_AUDIO_STREAM_AT));
}

static int16_t *frame(const pn_model_t *m) {
    return (int16_t *)(void *)(scores(m) + m->classes);
}

int8_t *pn_rows(const pn_model_t *m) {
    return (int8_t *)frame(m) + pn_padded(2u * m->frame);
}

pn_sound_t pn_sound(const pn_model_t *m) {
    const uint8_t *r = pn_task_record(m);
    uint32_t hop = pn_u16(r + PN_AUDIO_HOP);
    pn_sound_t s = {
        .rate = pn_u32(r + PN_AUDIO_RATE), .hop = hop, .samples = m->frame + (m->height - 1u) * hop,
        .every = pn_u16(r + PN_AUDIO_EVERY), .smooth = pn_u16(r + PN_AUDIO_SMOOTH), .pause = pn_u16(r + PN_AUDIO_PAUSE),
        .threshold = pn_u32(r + PN_AUDIO_THRESHOLD), .background = pn_u32(r + PN_AUDIO_BACKGROUND),
    };
    return s;
}

int pn_listen(pn_model_t *m, void *arena, size_t len) {
    int err = pn_take_arena(m, arena, len);
    if (err) {
        return err;
    }
    int32_t silence = (int32_t)pn_u32(pn_task_record(m) + PN_AUDIO_LOG_OFFSET) >> 16;
    memset(scores(m), 0, (size_t)(pn_rows(m) - (int8_t *)scores(m)));
    memset(pn_rows(m), pn_clamp(silence, INT8_MIN, INT8_MAX), (size_t)m->height * m->width);
    m->frame_at = m->fresh = m->pause = 0;
    m->missing = m->frame;
    return PN_OK;
}

uint32_t pn_hear(pn_model_t *m, const void *pcm, uint32_t n) {
    pn_audio_t a;
    pn_audio_read(&a, m->blob, pn_task_record(m), m->width);
    int16_t *ring = frame(m);
    n = n < m->missing ? n : m->missing;
    for (uint32_t i = 0; i < n; i++) {
        ring[m->frame_at] = pcm ? (int16_t)pn_u16((const uint8_t *)pcm + 2 * i) : 0;
        m->frame_at = (uint16_t)(m->frame_at + 1 < a.frame ? m->frame_at + 1 : 0);
    }
    m->missing = (uint16_t)(m->missing - n);
    if (m->missing == 0) {
        uint32_t last = (m->height - 1u) * m->width;
        uint8_t *rows = (uint8_t *)pn_rows(m);
        pn_move(rows, rows + m->width, last);
        pn_audio_row(&a, ring, m->frame_at, (pn_bin_t *)(void *)m->arena, (int8_t *)rows + last);
        m->missing = a.hop;
        m->fresh = (uint16_t)(m->fresh + (m->fresh < UINT16_MAX));
    }
    return n;
}

int32_t pn_spot(pn_model_t *m, const pn_sound_t *s, uint32_t *score) {
    pn_softmax_t softmax;
    pn_softmax(m, &softmax);
    int32_t *mean = scores(m), best = 0;
    for (uint32_t i = 0; i < m->classes; i++) {
        mean[i] += ((int32_t)pn_score(m, &softmax, i) - (mean[i] >> 8)) * (int32_t)s->smooth;
        best = mean[i] > mean[best] ? (int32_t)i : best;
    }
    m->pause = (uint16_t)(m->pause > m->fresh ? m->pause - m->fresh : 0);
    m->fresh = 0;
    *score = (uint32_t)mean[best] >> 8;
    if (m->pause || (uint32_t)best == s->background || *score < s->threshold) {
        return -1;
    }
    m->pause = (uint16_t)s->pause;
    return best;
}
