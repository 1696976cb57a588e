// Classification: the last map's channels are pooled into features, of which a fully connected layer makes logits; or
// into logits right away (FORMAT.md, The arithmetic). See pn_task.h for what each function is asked.
#ifndef PN_CLASSIFY_H
#define PN_CLASSIFY_H

#include "engine/plan/pn_check.h"
#include "engine/plan/pn_plan.h"

int pn_classify_layer(const pn_model_t *m, const pn_layer_t *l);
void pn_classify_room(const pn_model_t *m, pn_room_t *room);
int16_t pn_classify_zero(const pn_model_t *m);
void pn_classify_begin(const pn_model_t *m);
void pn_classify_segment(const pn_model_t *m);
void pn_classify_line(const pn_model_t *m, const pn_stage_t *s, uint32_t o, const int8_t *line);
void pn_classify_channels(const pn_model_t *m, const pn_stage_t *s, uint32_t n);
void pn_classify_chain(const pn_model_t *m);
bool pn_classify_step(pn_model_t *m);

// As pn_output.
int8_t pn_classify_output(const pn_model_t *m, uint32_t i);

#endif
