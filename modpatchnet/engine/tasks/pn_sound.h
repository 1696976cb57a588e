// Sound: what of it the engine asks beside the functions of patchnet.h. See pn_task.h.
#ifndef PN_SOUND_H
#define PN_SOUND_H

#include "patchnet.h"

int pn_sound_check(pn_model_t *m);

// Where in the arena what was heard begins; runs have what lies below.
uint32_t pn_sound_at(const pn_model_t *m);

#endif
