// Detection: tunnels' maps become one, heads' lines become candidates, candidates become boxes (FORMAT.md, Detection).
// See pn_task.h for what each function is asked.
#ifndef PN_DETECT_H
#define PN_DETECT_H

#include "engine/plan/pn_check.h"
#include "engine/plan/pn_plan.h"

int pn_detect_read(pn_model_t *m);
int pn_detect_layer(pn_model_t *m, const pn_layer_t *l);
void pn_detect_room(const pn_model_t *m, pn_room_t *room);
int16_t pn_detect_zero(const pn_model_t *m);
void pn_detect_begin(pn_model_t *m);
void pn_detect_line(pn_model_t *m, const pn_stage_t *s, uint32_t o, const int8_t *line);
void pn_detect_chain(pn_model_t *m);
void pn_detect_release(pn_model_t *m);

// As pn_boxes_prepare, pn_boxes and pn_box.
void pn_detect_prepare(pn_model_t *m, uint32_t threshold, int8_t *outputs);
uint32_t pn_detect_boxes(pn_model_t *m, uint32_t iou);
void pn_detect_box(const pn_model_t *m, uint32_t i, pn_box_t *box);

#endif
