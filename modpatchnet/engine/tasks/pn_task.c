// Which task does it. An audio model is a classifier of what was heard: what comes after the rows is pn_classify.c's. A
// heat map is a raw one that is looked at.
#include "engine/tasks/pn_task.h"

#include "engine/tasks/pn_classify.h"
#include "engine/tasks/pn_detect.h"
#include "engine/tasks/pn_heatmap.h"
#include "engine/tasks/pn_raw.h"
#include "engine/tasks/pn_sound.h"

const char *pn_task_name(const pn_model_t *m) {
    switch (m->task) {
        case PN_TASK_DETECT:
            return "detect";
        case PN_TASK_AUDIO:
            return "audio";
        case PN_TASK_RAW:
            return "raw";
        case PN_TASK_HEATMAP:
            return "heatmap";
        default:
            return "classify";
    }
}

int pn_task_read(pn_model_t *m) {
    m->pools = m->task == PN_TASK_CLASSIFY || m->task == PN_TASK_AUDIO;
    m->dense = m->pools && pn_u32(m->blob + PN_HEADER_FC_OFF) != 0;
    bool record = pn_u32(m->blob + PN_HEADER_TASK_OFF) != 0;
    switch (m->task) {
        case PN_TASK_CLASSIFY:
            if (!record) {
                return PN_OK;
            } // fall through
        case PN_TASK_DETECT:
            #ifdef PN_NO_DETECT
            return PN_ERR_NO_DETECT;
            #else
            return pn_detect_read(m);
            #endif
        case PN_TASK_AUDIO:
            #ifdef PN_NO_SOUND
            return PN_ERR_NO_SOUND;
            #else
            m->state.hearing.missing = 0;
            return PN_OK;
            #endif
        case PN_TASK_RAW:
            return record ? PN_ERR_SHAPE : pn_raw_read(m);
        case PN_TASK_HEATMAP:
            #ifdef PN_NO_HEATMAP
            return PN_ERR_NO_HEATMAP;
            #else
            return pn_heatmap_read(m);
            #endif
        default:
            return PN_ERR_TASK;
    }
}

int pn_task_check(pn_model_t *m) {
    return pn_hears(m) ? pn_sound_check(m) : PN_OK;
}

int pn_task_layer(pn_model_t *m, const pn_layer_t *l) {
    if (pn_detects(m) || (pn_merges(m) && l->index + 1 < m->all_layers)) {
        return pn_detect_layer(m, l);
    }
    if (pn_heats(m)) {
        return pn_heatmap_layer(m, l);
    }
    if (pn_merges(m)) {
        m->features = l->cout;
        m->outputs = l->flags & PN_FLAG_HEAD ? m->classes : 0;
    }
    return pn_maps(m) ? pn_raw_layer(m, l) : m->outputs ? pn_classify_layer(m, l) : PN_ERR_TASK;
}

void pn_task_room(const pn_model_t *m, pn_room_t *room) {
    room->bytes = pn_hears(m) ? pn_sound_at(m) : m->arena_bytes;
    if (pn_detects(m)) {
        pn_detect_room(m, room);
    } else if (pn_heats(m)) {
        pn_heatmap_room(m, room);
    } else if (pn_maps(m)) {
        pn_raw_room(m, room);
    } else {
        pn_classify_room(m, room);
        if (pn_merges(m)) {
            pn_detect_room(m, room);
        }
    }
}

int16_t pn_task_zero(const pn_model_t *m) {
    return pn_detects(m) ? pn_detect_zero(m) : pn_maps(m) ? pn_raw_zero(m) : pn_classify_zero(m);
}

void pn_task_begin(pn_model_t *m) {
    if (pn_detects(m) || pn_merges(m)) {
        pn_detect_begin(m);
    } else if (pn_heats(m)) {
        pn_heatmap_begin(m);
    } else if (pn_classifies(m)) {
        pn_classify_begin(m);
    }
}

void pn_task_segment(pn_model_t *m) {
    pn_classify_segment(m);
}

void pn_task_line(pn_model_t *m, const pn_stage_t *s, uint32_t o, const int8_t *line) {
    if (m->run.segment.sink == PN_TO_SUMS) {
        pn_classify_line(m, s, o, line);
    } else if (pn_maps(m)) {
        pn_raw_line(m, s, o, line);
    } else if (pn_detects(m) || pn_merges(m)) {
        pn_detect_line(m, s, o, line);
    }
}

void pn_task_channels(pn_model_t *m, const pn_stage_t *s, uint32_t n) {
    pn_classify_channels(m, s, n);
}

void pn_task_chain(pn_model_t *m) {
    if (m->run.segment.sink == PN_TO_SUMS) {
        pn_classify_chain(m);
    } else if (pn_detects(m) || pn_merges(m)) {
        pn_detect_chain(m);
    }
}

bool pn_task_step(pn_model_t *m) {
    return pn_heats(m) ? pn_heatmap_step(m) : pn_maps(m) || pn_classify_step(m);
}

void pn_task_release(pn_model_t *m) {
    if (pn_detects(m)) {
        pn_detect_release(m);
    }
}

int8_t pn_output(const pn_model_t *m, uint32_t i) {
    return pn_maps(m) ? pn_raw_output(m, i) : pn_classify_output(m, i);
}

void pn_boxes_prepare(pn_model_t *m, uint32_t threshold, int8_t *outputs) {
    (void)outputs;
    if (pn_detects(m)) {
        pn_detect_prepare(m, threshold, outputs);
    } else if (pn_heats(m)) {
        pn_heatmap_prepare(m, threshold);
    }
}

uint32_t pn_boxes(pn_model_t *m, uint32_t iou) {
    (void)iou;
    return pn_detects(m) ? pn_detect_boxes(m, iou) : pn_heats(m) ? pn_heatmap_boxes(m) : 0;
}

void pn_box(const pn_model_t *m, uint32_t i, pn_box_t *box) {
    if (pn_detects(m)) {
        pn_detect_box(m, i, box);
    } else if (pn_heats(m)) {
        pn_heatmap_box(m, i, box);
    }
    box->label = box->label < m->classes ? box->label : 0; // it lay in the arena, where others may write
}
