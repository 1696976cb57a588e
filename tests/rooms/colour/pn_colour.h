// Colour: the means of the last maps' channels, a label each, over all chains. See pn_task.h for what each function is
// asked.
#ifndef PN_COLOUR_H
#define PN_COLOUR_H

#include "engine/plan/pn_check.h"
#include "engine/plan/pn_plan.h"

int pn_colour_layer(const pn_model_t *m, const pn_layer_t *l);
void pn_colour_room(const pn_model_t *m, pn_room_t *room);
void pn_colour_begin(const pn_model_t *m);
void pn_colour_line(const pn_model_t *m, const pn_stage_t *s, uint32_t o, const int8_t *line);
bool pn_colour_step(const pn_model_t *m);

#endif
