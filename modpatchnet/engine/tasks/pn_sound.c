// Samples become rows, runs over the last rows become answers (FORMAT.md, From samples to input, Spotting).
#include "engine/tasks/pn_sound.h"

#ifndef PN_NO_SOUND

#include <string.h>

#include "engine/blob/pn_blob.h"
#include "engine/blob/pn_container.h"
#include "engine/kernels/pn_round.h"
#include "engine/run/pn_arena.h"
#include "engine/tasks/pn_spectrum.h"

uint32_t pn_sound_at(const pn_model_t *m) {
    return pn_u32(pn_task_record(m) + PN_AUDIO_STREAM_AT);
}

// What lies in the arena from there on, one behind the other: averaged scores, the ring of a frame's samples, rows.
static int32_t *scores(const pn_model_t *m) {
    return (int32_t *)(void *)(m->run.arena + pn_sound_at(m));
}

static int16_t *frame(const pn_model_t *m) {
    return (int16_t *)(void *)(scores(m) + m->classes);
}

int8_t *pn_rows(const pn_model_t *m) {
    return (int8_t *)frame(m) + pn_padded(2u * m->state.hearing.frame);
}

pn_sound_t pn_sound(const pn_model_t *m) {
    const uint8_t *r = pn_task_record(m);
    uint32_t hop = pn_u16(r + PN_AUDIO_HOP);
    pn_sound_t s = {
        .rate = pn_u32(r + PN_AUDIO_RATE),
        .hop = hop,
        .samples = m->state.hearing.frame + (m->height - 1u) * hop,
        .every = pn_u16(r + PN_AUDIO_EVERY),
        .smooth = pn_u16(r + PN_AUDIO_SMOOTH),
        .pause = pn_u16(r + PN_AUDIO_PAUSE),
        .threshold = pn_u32(r + PN_AUDIO_THRESHOLD),
        .background = pn_u32(r + PN_AUDIO_BACKGROUND),
    };
    return s;
}

// Whether no twiddle is longer than 1, but for rounding: then no value of an FFT can leave 32 bits.
static bool twiddles_ok(const pn_spectrum_t *a) {
    for (uint32_t i = 0; i < a->fft; i += 2) {
        int32_t c = a->twiddle[i], s = a->twiddle[i + 1];
        if (c == INT16_MIN || c * c + s * s > PN_MAX_TWIDDLE) {
            return false;
        }
    }
    return true;
}

static bool bands_ok(const pn_spectrum_t *a) {
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

static bool settings_ok(const pn_model_t *m, const pn_spectrum_t *a) {
    pn_sound_t s = pn_sound(m);
    return m->channels == 1 && a->fft >= PN_MIN_FFT && a->fft <= PN_MAX_FFT && (a->fft & (a->fft - 1)) == 0
        && a->frame >= 1 && a->frame <= a->fft && a->hop >= 1 && a->hop <= a->frame && a->rate >= 1 && s.every >= 1
        && s.smooth >= 1 && s.smooth <= 256 && s.threshold <= 65536
        && (s.background < m->classes || s.background == PN_NO_CLASS) && a->log_mult >= 1 && a->log_mult <= INT16_MAX
        && a->log_offset >= -(1 << 30) && a->log_offset <= 1 << 30;
}

static bool tables_ok(const pn_model_t *m, const pn_spectrum_t *a, const uint8_t *r) {
    return pn_in_prefix(m, pn_u32(r + PN_AUDIO_WINDOW_OFF), 2u * a->frame)
        && pn_in_prefix(m, pn_u32(r + PN_AUDIO_TWIDDLE_OFF), 2u * a->fft)
        && pn_in_prefix(m, pn_u32(r + PN_AUDIO_BAND_OFF), 4u * a->width)
        && pn_in_prefix(m, pn_u32(r + PN_AUDIO_WEIGHT_OFF), a->weight_bytes);
}

int pn_sound_check(pn_model_t *m) {
    if (!pn_in_prefix(m, pn_u32(m->blob + PN_HEADER_TASK_OFF), PN_AUDIO_BYTES)) {
        return PN_ERR_SHAPE;
    }
    const uint8_t *r = pn_task_record(m);
    pn_spectrum_t a;
    pn_spectrum_numbers(&a, r, m->width);
    m->state.hearing.frame = a.frame;
    if (!settings_ok(m, &a)) {
        return PN_ERR_SHAPE;
    }
    if (!tables_ok(m, &a, r)) {
        return PN_ERR_WEIGHTS;
    }
    pn_spectrum_read(&a, m->blob, r, m->width);
    if (!twiddles_ok(&a) || !bands_ok(&a)) {
        return PN_ERR_WEIGHTS;
    }
    uint32_t at = pn_sound_at(m);
    uint64_t bytes = 4ull * m->classes + pn_padded(2 * a.frame) + (uint64_t)m->height * m->width;
    return at % 4 == 0 && at >= 4u * a.fft && at + bytes <= m->arena_bytes ? PN_OK : PN_ERR_PLAN;
}

int pn_listen(pn_model_t *m, void *arena, size_t len) {
    pn_hearing_t *h = &m->state.hearing;
    int err = pn_arena_take(m, arena, len);
    if (err) {
        return err;
    }
    int32_t silence = (int32_t)pn_u32(pn_task_record(m) + PN_AUDIO_LOG_OFFSET) >> 16;
    memset(scores(m), 0, (size_t)(pn_rows(m) - (int8_t *)scores(m)));
    memset(pn_rows(m), pn_clamp(silence, INT8_MIN, INT8_MAX), (size_t)m->height * m->width);
    h->frame_at = h->fresh = h->pause = 0;
    h->missing = h->frame;
    return PN_OK;
}

// Of all that the arena keeps between calls.
static uint32_t heard_crc(const pn_model_t *m) {
    const uint8_t *from = (const uint8_t *)scores(m), *to = (const uint8_t *)pn_rows(m) + (size_t)m->height * m->width;
    return pn_crc32(0, from, (size_t)(to - from));
}

void pn_listen_pause(pn_model_t *m) {
    m->state.hearing.crc = heard_crc(m);
}

bool pn_listen_goes_on(const pn_model_t *m, const void *arena) {
    const pn_hearing_t *h = &m->state.hearing;
    return h->missing > 0 && m->run.arena == arena && h->crc == heard_crc(m);
}

void pn_listen_end(pn_model_t *m) {
    m->state.hearing.missing = 0;
}

uint32_t pn_hear(pn_model_t *m, const void *pcm, uint32_t n) {
    pn_hearing_t *h = &m->state.hearing;
    pn_spectrum_t a;
    pn_spectrum_read(&a, m->blob, pn_task_record(m), m->width);
    int16_t *ring = frame(m);
    n = n < h->missing ? n : h->missing;
    for (uint32_t i = 0; i < n; i++) {
        ring[h->frame_at] = pcm ? (int16_t)pn_u16((const uint8_t *)pcm + 2 * i) : 0;
        h->frame_at = (uint16_t)(h->frame_at + 1 < a.frame ? h->frame_at + 1 : 0);
    }
    h->missing = (uint16_t)(h->missing - n);
    if (h->missing == 0) {
        uint32_t last = (m->height - 1u) * m->width;
        uint8_t *rows = (uint8_t *)pn_rows(m);
        pn_arena_move(rows, rows + m->width, last);
        pn_spectrum_row(&a, ring, h->frame_at, (pn_bin_t *)(void *)m->run.arena, (int8_t *)rows + last);
        h->missing = a.hop;
        h->fresh = (uint16_t)(h->fresh + (h->fresh < UINT16_MAX));
    }
    return n;
}

int32_t pn_spot(pn_model_t *m, const pn_sound_t *s, uint32_t *score) {
    pn_hearing_t *h = &m->state.hearing;
    pn_softmax_t softmax;
    pn_softmax(m, &softmax);
    int32_t *mean = scores(m), best = 0;
    for (uint32_t i = 0; i < m->classes; i++) {
        mean[i] += ((int32_t)pn_score(m, &softmax, i) - (mean[i] >> 8)) * (int32_t)s->smooth;
        best = mean[i] > mean[best] ? (int32_t)i : best;
    }
    h->pause = (uint16_t)(h->pause > h->fresh ? h->pause - h->fresh : 0);
    h->fresh = 0;
    *score = (uint32_t)mean[best] >> 8;
    if (h->pause || (uint32_t)best == s->background || *score < s->threshold) {
        return -1;
    }
    h->pause = (uint16_t)s->pause;
    return best;
}

#endif
