// Module `hardtimer`: a callback in a hard interrupt, as machine.Timer(hard=True) or pyb.Timer has them on real boards.
//
//     hardtimer.every(us, f)   # from now on f() so often, from timer 0's interrupt: it may not allocate
//     hardtimer.every(0, None) # no more; the callback may call it, too
#include "py/gc.h"
#include "py/runtime.h"

#include "cmsdk_timer.h"

void hardtimer_handler(void);
void hardtimer_stop(void);

// Before a soft reset takes the heap away.
void hardtimer_stop(void) {
    TIMER0->ctrl = 0;
    MP_STATE_PORT(hardtimer_callback) = MP_OBJ_NULL;
}

void hardtimer_handler(void) {
    TIMER0->intclear = 1;
    mp_obj_t f = MP_STATE_PORT(hardtimer_callback);
    if (f == MP_OBJ_NULL || f == mp_const_none) {
        return;
    }
    mp_sched_lock();
    gc_lock();
    nlr_buf_t nlr;
    if (nlr_push(&nlr) == 0) {
        mp_call_function_0(f);
        nlr_pop();
    } else {
        TIMER0->ctrl = 0; // its callback should have caught that
    }
    gc_unlock();
    mp_sched_unlock();
}

static mp_obj_t hardtimer_every(mp_obj_t us, mp_obj_t f) {
    TIMER0->ctrl = 0;
    MP_STATE_PORT(hardtimer_callback) = f;
    TIMER0->reload = TIMER0->value = mp_obj_get_int(us) * TIMER_TICKS_PER_US;
    TIMER0->ctrl = f == mp_const_none ? 0 : TIMER_CTRL_EN | TIMER_CTRL_INT_EN;
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_2(hardtimer_every_obj, hardtimer_every);

static const mp_rom_map_elem_t hardtimer_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_hardtimer) },
    { MP_ROM_QSTR(MP_QSTR_every), MP_ROM_PTR(&hardtimer_every_obj) },
};
static MP_DEFINE_CONST_DICT(hardtimer_globals, hardtimer_table);

const mp_obj_module_t hardtimer_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&hardtimer_globals,
};

MP_REGISTER_MODULE(MP_QSTR_hardtimer, hardtimer_module);
MP_REGISTER_ROOT_POINTER(mp_obj_t hardtimer_callback);
