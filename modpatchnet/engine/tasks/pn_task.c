// Which task does it. An audio model is a classifier of what was heard: what comes after the rows is pn_classify.c's.
#include "engine/tasks/pn_task.h"

#include "engine/tasks/pn_classify.h"
#include "engine/tasks/pn_detect.h"
#include "engine/tasks/pn_sound.h"

int pn_task_read(pn_model_t *m) {
    m->task = m->blob[PN_HEADER_TASK];
    m->dense = true;
    switch (m->task) {
        case PN_TASK_CLASSIFY:
            return pn_u32(m->blob + PN_HEADER_TASK_OFF) == 0 ? PN_OK : PN_ERR_SHAPE;
        case PN_TASK_DETECT:
            #ifdef PN_NO_DETECT
            return PN_ERR_NO_DETECT;
            #else
            m->dense = false;
            return pn_detect_read(m);
            #endif
        case PN_TASK_AUDIO:
            #ifdef PN_NO_SOUND
            return PN_ERR_NO_SOUND;
            #else
            m->state.hearing.missing = 0;
            return PN_OK;
            #endif
        default:
            return PN_ERR_TASK;
    }
}

int pn_task_check(pn_model_t *m) {
    return pn_hears(m) ? pn_sound_check(m) : PN_OK;
}

int pn_task_layer(pn_model_t *m, const pn_layer_t *l) {
    return pn_detects(m) ? pn_detect_layer(m, l) : pn_classify_layer(m, l);
}

void pn_task_room(const pn_model_t *m, pn_room_t *room) {
    room->bytes = pn_hears(m) ? pn_sound_at(m) : m->arena_bytes;
    if (pn_detects(m)) {
        pn_detect_room(m, room);
    } else {
        pn_classify_room(m, room);
    }
}

int16_t pn_task_zero(const pn_model_t *m) {
    return pn_detects(m) ? pn_detect_zero(m) : (int8_t)m->blob[PN_HEADER_FC_ZERO];
}

void pn_task_begin(pn_model_t *m) {
    if (pn_detects(m)) {
        pn_detect_begin(m);
    } else {
        pn_classify_begin(m);
    }
}

void pn_task_segment(pn_model_t *m) {
    pn_classify_segment(m);
}

void pn_task_line(pn_model_t *m, const pn_stage_t *s, uint32_t o, const int8_t *line) {
    if (pn_detects(m)) {
        pn_detect_line(m, s, o, line);
    } else {
        pn_classify_line(m, s, o, line);
    }
}

void pn_task_channels(pn_model_t *m, const pn_stage_t *s, uint32_t n) {
    pn_classify_channels(m, s, n);
}

void pn_task_chain(pn_model_t *m) {
    if (pn_detects(m)) {
        pn_detect_chain(m);
    } else {
        pn_classify_chain(m);
    }
}

bool pn_task_step(pn_model_t *m) {
    return pn_classify_step(m);
}

void pn_task_release(pn_model_t *m) {
    if (pn_detects(m)) {
        pn_detect_release(m);
    }
}
