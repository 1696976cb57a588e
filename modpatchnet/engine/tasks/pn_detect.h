// Detection: tunnels' maps become one, heads' lines become candidates, candidates become boxes (FORMAT.md, Detection).
#ifndef PN_DETECT_H
#define PN_DETECT_H

#include "engine/plan/pn_plan.h"

// A candidate in the arena, PN_CANDIDATE_BYTES: corners in 1/32768 of the picture, class, the class's value.
typedef struct {
    uint16_t x0, y0, x1, y1, label;
    int16_t value;
} pn_candidate_t;

// Begins a run: a stitched map full of zeros, no candidates.
void pn_detect_begin(pn_model_t *m);

// Adds the part of line `o` of a chain's last map that counts to the stitched map.
void pn_stitch_line(const pn_model_t *m, const pn_stage_t *s, uint32_t o, const int8_t *line);

// Looks for candidates in row `y` of a head's output.
void pn_head_line(pn_model_t *m, const pn_stage_t *s, uint32_t y, const int8_t *line);

#endif
