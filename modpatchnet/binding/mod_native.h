// What mod_patchnet.c needs of MicroPython beyond the names that both kinds of build have: as a module compiled into a
// firmware (second half), and as a native .mpy, which may call only what py/dynruntime.h has (first half).
#ifndef MOD_NATIVE_H
#define MOD_NATIVE_H

#if MICROPY_ENABLE_DYNRUNTIME

#include "py/dynruntime.h"
#include "py/mperrno.h"
#include "py/nlr.h"

// Ports that catch exceptions with C's setjmp() do it in a macro, which cannot be called from outside.
static void check_firmware(void) {
    if (mp_fun_table.setjmp_ != NULL) {
        mp_raise_NotImplementedError(MP_ERROR_TEXT("patchnet: firmware catches exceptions by setjmp"));
    }
}

// What native.py, the Python part of a native .mpy, lends to this one.
typedef struct {
    mp_obj_t poll; // () runs what is pending
    mp_obj_t open; // (path) the file, opened
    mp_obj_t ticks_us; // ()
    mp_obj_t array; // (n, floats)
    mp_obj_t nothing; // () without letting others in
} hooks_t;
hooks_t hooks;

static mp_obj_t setup(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    hooks = (hooks_t) { args[0], args[1], args[2], args[3], args[4] };
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(setup_obj, 5, 5, setup);

static void poll(void) {
    mp_call_function_n_kw(hooks.poll, 0, 0, NULL);
}

// Asks for stack before it is too late, as every call of a Python function does. A run, or opening, takes at most 1,536
// bytes of a Cortex-M7's (a test measures it), of which these and 1,024 below MicroPython's limit are there then.
static __attribute__((noinline)) void check_stack(void) {
    volatile uint8_t room[512];
    room[0] = 0;
    mp_call_function_n_kw(hooks.nothing, 0, 0, NULL);
    (void)room[0]; // still there
}

static mp_obj_t open_path(mp_obj_t path) {
    return mp_call_function_n_kw(hooks.open, 1, 0, &path);
}

// array('f') or array('b')
static mp_obj_t new_array(size_t n, bool floats) {
    mp_obj_t args[2] = { MP_OBJ_NEW_SMALL_INT(n), mp_obj_new_bool(floats) };
    return mp_call_function_n_kw(hooks.array, 2, 0, args);
}

static uint32_t ticks_us(void) {
    return mp_obj_get_int_truncated(mp_call_function_n_kw(hooks.ticks_us, 0, 0, NULL));
}
#define TICKS_MASK (0x3fffffff) // where a small integer has 31 bits

// ---- the memory functions that compilers take for granted ----

void *memcpy(void *to, const void *from, size_t n) {
    return mp_fun_table.memmove_(to, from, n);
}

void *memset(void *to, int value, size_t n) {
    return mp_fun_table.memset_(to, value, n);
}

// ---- MicroPython's functions that py/dynruntime.h lacks ----

#define mp_type_MemoryError (*(const mp_obj_type_t *)mp_load_global(MP_QSTR_MemoryError))
#define mp_type_OverflowError (*(const mp_obj_type_t *)mp_load_global(MP_QSTR_OverflowError))
#define mp_call_method_n_kw(n_args, n_kw, args) (mp_fun_table.call_method_n_kw((n_args), (n_kw), (args)))
#define mp_print_str(print, text) (mp_printf((print), "%s", (text)))
#define m_malloc_maybe(n) (m_realloc_maybe(NULL, (n), false))
#define nlr_pop() (mp_fun_table.nlr_pop())
#define nlr_jump(value) (mp_raise_dyn(value))

// A firmware may have been configured to keep one word more in it than this header knows.
typedef struct {
    nlr_buf_t nlr;
    void *spare[2];
} nlr_room_t;
#define nlr_buf_t nlr_room_t
#define nlr_push(buf) (mp_fun_table.nlr_push(&(buf)->nlr))
#define ret_val nlr.ret_val

typedef struct {
    char text[160];
    size_t len;
} message_t;

static void message_add(void *data, const char *text, size_t len) {
    message_t *m = data;
    for (size_t i = 0; i < len && m->len < sizeof(m->text); ++i) {
        m->text[m->len++] = text[i];
    }
}

void mp_raise_msg_varg(const mp_obj_type_t *type, mp_rom_error_text_t text, ...) {
    message_t message = { .len = 0 };
    mp_print_t print = { &message, message_add };
    va_list args;
    va_start(args, text);
    mp_vprintf(&print, (const char *)text, args);
    va_end(args);
    mp_raise_type_arg(type, mp_obj_new_str(message.text, message.len));
}

// The table's own function takes the low bits of an integer that is too large.
static mp_int_t get_int(mp_obj_t obj) {
    mp_int_t n = mp_obj_get_int_truncated(obj);
    if (mp_obj_get_type(obj) == &mp_type_int
        && mp_binary_op(MP_BINARY_OP_EQUAL, mp_obj_new_int(n), obj) != mp_const_true) {
        mp_raise_msg(&mp_type_OverflowError, MP_ERROR_TEXT("integer too large"));
    }
    return n;
}
#undef mp_obj_get_int
#define mp_obj_get_int get_int

void mp_obj_get_array_fixed_n(mp_obj_t obj, size_t wanted, mp_obj_t **items) {
    size_t n;
    mp_obj_get_array(obj, &n, items);
    if (n != wanted) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("requested length %d but object has length %d"),
            (int)wanted, (int)n);
    }
}

// Bytes of the largest piece of heap that can be had, found by trying; less than `n`, which cannot.
static size_t largest_piece(size_t n) {
    size_t least = 0;
    while (n - least > 16) {
        size_t some = least + (n - least) / 2;
        void *p = m_malloc_maybe(some);
        if (p == NULL) {
            n = some;
        } else {
            m_free(p);
            least = some;
        }
    }
    return least;
}

// Names get their numbers when the file is loaded, so nothing that holds one is constant.
#define ARGS const mp_arg_t
#define ARG_NONE { .u_obj = mp_const_none }

#else // compiled into a firmware

#include "py/builtin.h"
#include "py/cstack.h"
#include "py/gc.h"
#include "py/mperrno.h"
#include "py/mphal.h"
#include "py/objarray.h"
#include "extmod/vfs.h"

static void poll(void) {
    mp_event_handle_nowait();
}

// A run, or opening, takes at most 1,536 bytes of a Cortex-M7's stack (a test measures it). Boards leave 1,024 below
// MicroPython's limit, of which interrupts take some.
static void check_stack(void) {
    #if MICROPY_STACK_CHECK
    if (mp_cstack_usage() + 1024 >= MP_STATE_THREAD(stack_limit)) {
        mp_raise_recursion_depth();
    }
    #endif
}

static mp_obj_t open_path(mp_obj_t path) {
    // asked first because open() says ENODEV where nothing is mounted, and on some ports opens a folder
    mp_import_stat_t stat = mp_import_stat(mp_obj_str_get_str(path));
    if (stat != MP_IMPORT_STAT_FILE) {
        mp_raise_OSError_with_filename(stat == MP_IMPORT_STAT_DIR ? MP_EISDIR : MP_ENOENT, mp_obj_str_get_str(path));
    }
    // no MP_QSTR_ in a header: MicroPython 1.29 counts it to the .c file before, and stops if there is none
    return mp_call_function_2(MP_OBJ_FROM_PTR(&mp_builtin_open_obj), path, mp_obj_new_str("rb", 2));
}

// array('f') or array('b')
static mp_obj_t new_array(size_t n, bool floats) {
    mp_obj_array_t *array = mp_obj_malloc(mp_obj_array_t, &mp_type_array);
    array->typecode = floats ? 'f' : 'b';
    array->free = 0;
    array->len = n;
    array->items = m_new(uint8_t, n *(floats ? sizeof(float) : 1));
    return MP_OBJ_FROM_PTR(array);
}

static uint32_t ticks_us(void) {
    return mp_hal_ticks_us();
}
#define TICKS_MASK (0xffffffff)

// Bytes of the largest piece of heap.
static size_t largest_piece(size_t n) {
    (void)n;
    gc_info_t info;
    gc_info(&info);
    return info.max_free * MICROPY_BYTES_PER_GC_BLOCK;
}

#define ARGS static const mp_arg_t
#define ARG_NONE { .u_rom_obj = MP_ROM_NONE }

#endif

#endif
