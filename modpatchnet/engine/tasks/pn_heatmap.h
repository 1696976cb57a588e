// Heat maps: the cells of the last map are classified, and neighbours of one class are a box (FORMAT.md, Heat maps).
// See pn_task.h for what each function is asked.
#ifndef PN_HEATMAP_H
#define PN_HEATMAP_H

#include "engine/plan/pn_check.h"

int pn_heatmap_read(pn_model_t *m);
int pn_heatmap_layer(pn_model_t *m, const pn_layer_t *l);
void pn_heatmap_room(const pn_model_t *m, pn_room_t *room);
void pn_heatmap_begin(pn_model_t *m);
bool pn_heatmap_step(pn_model_t *m);

// As pn_boxes_prepare, pn_boxes and pn_box.
void pn_heatmap_prepare(pn_model_t *m, uint32_t threshold);
uint32_t pn_heatmap_boxes(const pn_model_t *m);
void pn_heatmap_box(const pn_model_t *m, uint32_t i, pn_box_t *box);

#endif
