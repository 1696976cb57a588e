// Raw output: the last map, as it is (FORMAT.md, Raw output). A heat map begins as one. See pn_task.h for what each
// function is asked.
#ifndef PN_RAW_H
#define PN_RAW_H

#include "engine/plan/pn_check.h"
#include "engine/plan/pn_plan.h"

int pn_raw_read(const pn_model_t *m);
int pn_raw_layer(pn_model_t *m, const pn_layer_t *l);
void pn_raw_room(const pn_model_t *m, pn_room_t *room);
int16_t pn_raw_zero(const pn_model_t *m);
void pn_raw_line(const pn_model_t *m, const pn_stage_t *s, uint32_t o, const int8_t *line);

// The map: map_h x map_w x features.
int8_t *pn_raw_map(const pn_model_t *m);

// As pn_output.
int8_t pn_raw_output(const pn_model_t *m, uint32_t i);

#endif
