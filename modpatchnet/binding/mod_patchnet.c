// MicroPython module `_patchnet`: the engine of patchnet.h as two types. patchnet.py makes the public API of them, and
// host_tools/patchnet/engine/model.py is the same module for CPython: same names, same exceptions, same messages.
//
//     m = Model(src, arena=None, stream=None)   # src: path, open file or buffer. arena: writable buffer, else the
//       board's own
//                                               # memory for it (DTCM) if it has any and no other model has it, else of
//                                                 the heap
//     m.classify(img, top=None, roi=None, pixfmt=None)     -> [(label, score), ...], best first
//     m.detect(img, threshold=0.4, iou=0.45, roi=None, pixfmt=None) -> [(x, y, w, h, label, score), ...], best first
//     m.predict(x, out=None)       # int8 logits, in a new array('b') or in `out`, then without any allocation; of a
//                                  # detection network the outputs of its heads, scale after scale, row by row; of a
//                                  # heat map and of a network with raw output its last map. Of a float32 network
//                                  # array('f')
//     m.profile(x)                 -> [(name, op, microseconds), ...]
//     m.spot(pcm16, threshold=None, pause=None, smooth=None, every=None, background=None)  -> (label, score) or None
//     m.ram, m.arena, m.streamed, m.task, m.dtype, m.labels, m.input_shape, m.output_shape, m.input_scale, ...; m.deinit(), or
//       `with` it
//     img = Image(width, height, format, buffer)           # what a camera without image type returns
//
// `img` is anything with width(), height() and a buffer of bytes for reading (its own, or that of what its bytearray()
// returns), perhaps with format() in OpenMV's numbers. `x` is such a picture, or height * width * channels int8 values.
// Instead of a buffer it may have window(x, y, w, h), which returns a picture of that part of it: for each patch one is
// taken, so that never more than a patch is in memory. An audio model's classify takes a clip instead, a buffer of
// 16-bit samples, as its predict and profile take array('h'). A network whose input is no picture takes int8 values
// alone.
//
// A blob that lies in memory at a multiple of 4 (ROMFS, a buffer) is used in place, but for its prefix, which is copied
// where others may write to it (its weights may change, and answers with them); everything else is read into the heap.
// A file that does not fit there (stream=None), or is not to (True), is streamed: its prefix and a buffer for weights
// are in the heap, and the file is read during each run. The buffer takes a half of the heap's largest piece at most; a
// number for `stream` says how many bytes it is to have. What the engine points to is kept alive here: the blob's
// object, the arena's, and the picture's during a run. Between the engine's steps Ctrl-C and the scheduler get in; a
// run is then simply given up, and the next one starts afresh. While a model runs it refuses (RuntimeError) to be run
// again or closed from such a callback. Other models may be run from there, but no run may write where another one
// reads or writes (RuntimeError, "arena is in use" and the like): models with one arena run in turn.
//
// The same source is compiled into a firmware or linked into a native .mpy; mod_native.h has the differences.
#include <string.h>

#include "py/binary.h"
#include "py/runtime.h"

#include "binding/mod_native.h"
#include "patchnet.h"

// OpenMV's pixel formats: bytes per pixel in the low byte, from bit 24 on flags. RGB888 is our own, in their scheme.
#define FORMAT_GRAYSCALE (0x08020001)
#define FORMAT_RGB565 (0x0C030002)
#define FORMAT_RGB888 (0x0C090003)
#define FORMAT_JPEG (0x06060000)
#define FORMAT_COMPRESSED (1u << 25)
#define FORMAT_MUTABLE (1u << 27) // not set for Bayer, YUV and compressed pictures
#define FORMAT_NUMBERED (1u << 16) // smaller numbers are those of old firmware and say nothing

typedef struct model_obj {
    mp_obj_base_t base;
    pn_model_t model;
    mp_obj_t source; // what the blob lies in, MP_OBJ_NULL after deinit
    uint8_t *copy; // or where it, or its prefix, was read to; the prefix of one that others may write to
    size_t blob_bytes;
    mp_obj_t file; // of a streamed model, else MP_OBJ_NULL
    bool own_file;
    mp_obj_t arena; // the caller's, or None
    uint8_t *own_arena; // else this one, of the heap or the board's
    mp_obj_t input; // during a run, what is read: picture, values or samples
    const void *input_at; // where a run's picture or values are; NULL: nowhere yet, or copied
    size_t input_bytes;
    mp_obj_t camera, pixfmt; // during a run on windows: what gives them, and their format
    mp_obj_t out; // during a run that fills it, else MP_OBJ_NULL
    uint32_t *us; // during a profile, microseconds per layer, the last entry being what follows the layers; else NULL
    struct model_obj *next; // during a run, the one that was under way before
} model_obj_t;

// Those whose runs are under way, the latest first. The collector finds them on the stack. Not static: in a native .mpy
// what is static cannot be linked.
model_obj_t *patchnet_running;

typedef struct {
    mp_obj_base_t base;
    mp_obj_t data;
    mp_int_t width, height, format;
} image_obj_t;

// ---- errors ----

static __attribute__((noreturn)) void raise_memory(const char *what, size_t needed, size_t given) {
    mp_raise_msg_varg(&mp_type_MemoryError, MP_ERROR_TEXT("%s: needs %u bytes, has %u"), what, (unsigned int)needed,
        (unsigned int)given);
}

static __attribute__((noreturn)) void raise_bad_model(int err, unsigned int layer) {
    if (layer == PN_NO_LAYER) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("bad model: %s"), pn_error(err));
    }
    mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("bad model: %s of layer %u"), pn_error(err), layer);
}

// Heap of `n` bytes at a multiple of 8, or a MemoryError that tells the largest piece the heap has.
static uint8_t *allocate(const char *what, size_t n) {
    uint8_t *p = m_new_maybe(uint8_t, MAX(n, 1)); // none at all would give NULL as well
    if (p == NULL) {
        raise_memory(what, n, largest_piece(n));
    }
    return p;
}

static void check_open(const model_obj_t *self) {
    if (self->source == MP_OBJ_NULL) {
        mp_raise_ValueError(MP_ERROR_TEXT("model is closed"));
    }
}

// `fits`: whether a model that is open can do what is wanted.
static void check_task(const model_obj_t *self, bool fits, const char *wanted) {
    check_open(self);
    if (self->model.task == PN_TASK_RAW) {
        mp_raise_ValueError(MP_ERROR_TEXT("model has raw output: use predict"));
    }
    if (!fits) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("model is for %s, not for %s"), pn_task_name(&self->model),
            wanted);
    }
}

static bool is_busy(const model_obj_t *self) {
    const model_obj_t *it = patchnet_running;
    while (it != NULL && it != self) {
        it = it->next;
    }
    return it != NULL;
}

static void check_idle(const model_obj_t *self) {
    if (is_busy(self)) {
        mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("model is busy"));
    }
}

// `flags` is MP_BUFFER_READ or MP_BUFFER_WRITE; `what` names the argument.
static void get_buffer(const char *what, mp_obj_t obj, mp_uint_t flags, mp_buffer_info_t *buf) {
    if (!mp_get_buffer(obj, buf, flags)) {
        mp_raise_msg_varg(&mp_type_TypeError, MP_ERROR_TEXT("%s: wanted a %sbuffer"), what,
            flags == MP_BUFFER_READ ? "" : "writable ");
    }
}

static bool holds_bytes(const mp_buffer_info_t *buf) {
    return buf->typecode == 'b' || buf->typecode == 'B' || buf->typecode == BYTEARRAY_TYPECODE;
}

// ---- the board's own memory for an arena ----

#if PATCHNET_BOARD_ARENA

// Its linker script keeps it free for this. One model at a time has it, and gives it back by deinit() or by its
// finaliser. Which one is written down inverted: the collector must not take what is left of it in a register for a
// reference.
extern uint8_t _patchnet_arena_start[], _patchnet_arena_end[];
static uintptr_t not_board_arena_owner; // 0: nobody

#define new_model(type) mp_obj_malloc_with_finaliser(model_obj_t, type)

static bool has_board_arena(const model_obj_t *self) {
    return not_board_arena_owner == ~(uintptr_t)self;
}

// NULL if it is too small or another model has it.
static uint8_t *take_board_arena(const model_obj_t *self) {
    size_t size = _patchnet_arena_end - _patchnet_arena_start;
    if (self->model.arena_bytes <= size && not_board_arena_owner != 0) {
        gc_collect(); // the one that has it may be dead
    }
    if (self->model.arena_bytes > size || not_board_arena_owner != 0) {
        return NULL;
    }
    not_board_arena_owner = ~(uintptr_t)self;
    return memset(_patchnet_arena_start, 0, size); // memory with ECC must not be read before it is written
}

// Whether `self` had it.
static bool leave_board_arena(const model_obj_t *self) {
    bool had = has_board_arena(self);
    not_board_arena_owner = had ? 0 : not_board_arena_owner;
    return had;
}

// The collector calls it, which frees the rest by itself. Anybody else closes a model with it.
static mp_obj_t model_del(mp_obj_t self_in) {
    model_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (!is_busy(self) && leave_board_arena(self)) {
        self->own_arena = NULL;
        self->source = MP_OBJ_NULL;
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(model_del_obj, model_del);
#define FINALISER(X) X(MP_QSTR___del__, model_del_obj)

#else

#define new_model(type) mp_obj_malloc(model_obj_t, type)
#define has_board_arena(self) (false)
#define take_board_arena(self) (NULL)
#define leave_board_arena(self) (false)
#define FINALISER(X)

#endif

static uint8_t *allocate_arena(const model_obj_t *self) {
    uint8_t *arena = take_board_arena(self);
    return arena ? arena : allocate("arena", self->model.arena_bytes);
}

// ---- opening ----

static mp_obj_t call_method(mp_obj_t obj, qstr name, size_t n_args, const mp_obj_t *args) {
    mp_obj_t method[2 + 4];
    mp_load_method(obj, name, method);
    for (size_t i = 0; i < n_args; i++) { // no memcpy: there may be none, at NULL
        method[2 + i] = args[i];
    }
    return mp_call_method_n_kw(n_args, 0, method);
}

// Reads `n` bytes from `at` of a file on, by its Python methods: they are what every kind of file has.
static void read_at(mp_obj_t file, size_t at, void *to, size_t n) {
    mp_obj_t arg = MP_OBJ_NEW_SMALL_INT(at);
    call_method(file, MP_QSTR_seek, 1, &arg);
    for (size_t done = 0; done < n;) {
        arg = mp_obj_new_bytearray_by_ref(n - done, (uint8_t *)to + done);
        mp_int_t got = mp_obj_get_int(call_method(file, MP_QSTR_readinto, 1, &arg));
        if (got <= 0 || (size_t)got > n - done) {
            mp_raise_OSError(MP_EIO);
        }
        done += got;
    }
}

// A file that was opened here is closed here.
static void close_file(model_obj_t *self) {
    mp_obj_t file = self->file;
    self->file = MP_OBJ_NULL; // first, as close() may raise
    if (self->own_file && file != MP_OBJ_NULL) {
        call_method(file, MP_QSTR_close, 0, NULL);
    }
}

// A caller's buffer may be resized, and so move, whenever Python code runs: the blob's since the model was made ...
static void check_blob(const model_obj_t *self) {
    mp_buffer_info_t buf;
    if (self->source != mp_const_none
        && (!mp_get_buffer(self->source, &buf, MP_BUFFER_READ) || buf.buf != self->model.weights.at
            || buf.len != self->blob_bytes)) {
        mp_raise_ValueError(MP_ERROR_TEXT("model: its buffer has moved"));
    }
}

// pn_open, or without `blob` pn_open_streamed. Ctrl-C gets in, and others, who may do what they like.
static int open_blob(model_obj_t *self, const void *prefix, const void *blob, size_t len) {
    void *work = allocate("model", PN_OPEN_BYTES);
    int err = pn_open_begin(&self->model, prefix, blob, len, work);
    for (err = err ? err : PN_MORE; err == PN_MORE;) {
        poll();
        check_blob(self);
        err = pn_open_step(&self->model);
    }
    m_del(uint8_t, work, PN_OPEN_BYTES);
    return err;
}

// The blob in a buffer, used in place or, misaligned, copied. Where others may write to it, the prefix is: all that
// could lead out of memory if it changed.
static int open_buffer(model_obj_t *self, mp_obj_t src, const mp_buffer_info_t *buf) {
    const void *blob = buf->buf, *prefix = blob;
    mp_buffer_info_t writable;
    self->source = src;
    self->blob_bytes = buf->len;
    if ((uintptr_t)blob % PN_ALIGN != 0) {
        self->copy = allocate("model", buf->len);
        prefix = blob = memcpy(self->copy, blob, buf->len);
        self->source = mp_const_none;
    } else if (buf->len >= PN_HEADER_BYTES && mp_get_buffer(src, &writable, MP_BUFFER_WRITE)) {
        size_t n = MIN(buf->len, MAX(PN_HEADER_BYTES, pn_prefix_bytes(blob)));
        self->copy = allocate("model", n);
        prefix = memcpy(self->copy, blob, n);
    }
    return open_blob(self, prefix, blob, buf->len);
}

// The whole file in the heap. PN_ERR_ARENA if `maybe` and there is no room for it and its arena.
static int open_whole(model_obj_t *self, size_t size, bool maybe, bool own_arena) {
    self->copy = maybe ? m_malloc_maybe(MAX(size, 1)) : allocate("model", size);
    if (self->copy == NULL) {
        return PN_ERR_ARENA;
    }
    self->blob_bytes = size;
    read_at(self->file, 0, self->copy, size);
    int err = open_blob(self, self->copy, self->copy, size);
    if (err == PN_OK && maybe && own_arena) {
        self->own_arena = take_board_arena(self);
        self->own_arena = self->own_arena ? self->own_arena : m_malloc_maybe(self->model.arena_bytes);
        err = self->own_arena == NULL ? PN_ERR_ARENA : PN_OK;
    }
    if (err == PN_ERR_ARENA) {
        m_del(uint8_t, self->copy, size);
        self->copy = NULL;
    }
    return err;
}

// The CRC of a streamed blob, which costs one reading of the file.
static int verify_file(model_obj_t *self, size_t size) {
    pn_model_t *m = &self->model;
    int err = PN_MORE;
    for (size_t at = self->blob_bytes; err == PN_MORE && at < size; at += m->weights.bytes) {
        size_t n = MIN(m->weights.bytes, size - at);
        poll();
        read_at(self->file, at, m->weights.buffer, n);
        err = pn_verify(m, m->weights.buffer, n);
    }
    return err == PN_MORE ? PN_ERR_LENGTH : err;
}

static bool has_room(uint64_t n) {
    void *p = n > SIZE_MAX ? NULL : m_malloc_maybe(n);
    if (p != NULL) {
        m_del(uint8_t, p, n);
    }
    return p != NULL;
}

// Bytes of the weights' buffer: as many as `stream` says, or as do some good and leave the heap as much again.
static size_t buffer_bytes(const pn_model_t *m, mp_obj_t stream) {
    bool chosen = stream != mp_const_none && stream != mp_const_true;
    size_t n = m->weights.most;
    if (chosen) {
        mp_int_t given = mp_obj_get_int(stream);
        n = given < 0 ? 0 : MIN((size_t)given, n);
    }
    if (n < m->weights.least) {
        raise_memory("stream", m->weights.least, n);
    }
    while (!chosen && n > m->weights.least && !has_room((uint64_t)2 * n)) {
        n = MAX(n / 2, m->weights.least);
    }
    return n;
}

static int open_streamed(model_obj_t *self, size_t size, mp_obj_t stream, bool own_arena) {
    uint32_t header[PN_HEADER_BYTES / 4];
    pn_model_t *m = &self->model;
    if (size < sizeof(header)) {
        return open_blob(self, header, NULL, 0);
    }
    read_at(self->file, 0, header, sizeof(header));
    self->blob_bytes = MIN(size, MAX(sizeof(header), pn_prefix_bytes(header)));
    self->copy = allocate("model", self->blob_bytes);
    read_at(self->file, 0, self->copy, self->blob_bytes);
    int err = open_blob(self, self->copy, NULL, self->blob_bytes);
    if (err == PN_OK) {
        self->own_arena = own_arena ? allocate_arena(self) : NULL; // first, as it is not to be had smaller
        size_t n = buffer_bytes(m, stream);
        pn_weights_buffer(m, allocate("stream", n), n);
        err = verify_file(self, size);
    }
    return err;
}

// `stream`: None, whether to stream the file, or by how large a buffer.
static int open_file(model_obj_t *self, mp_obj_t file, mp_obj_t stream, bool own_arena) {
    mp_obj_t method[2];
    mp_load_method_maybe(file, MP_QSTR_readinto, method);
    if (method[0] == MP_OBJ_NULL) {
        mp_raise_TypeError(MP_ERROR_TEXT("model: wanted a path, an open file or a buffer"));
    }
    self->source = mp_const_none;
    self->file = file;
    const mp_obj_t end[2] = { MP_OBJ_NEW_SMALL_INT(0), MP_OBJ_NEW_SMALL_INT(2) };
    size_t size = mp_obj_get_int(call_method(file, MP_QSTR_seek, 2, end));
    bool chosen = stream != mp_const_none;
    int err = chosen && mp_obj_is_true(stream) ? PN_ERR_ARENA : open_whole(self, size, !chosen, own_arena);
    bool streamed = err == PN_ERR_ARENA;
    err = streamed ? open_streamed(self, size, stream, own_arena) : err;
    if (err != PN_OK || !streamed) {
        close_file(self);
    }
    return err;
}

static int open_source(model_obj_t *self, mp_obj_t src, mp_obj_t stream, bool own_arena) {
    mp_buffer_info_t buf;
    self->own_file = mp_obj_is_str(src);
    if (self->own_file) {
        src = open_path(src);
    }
    return mp_get_buffer(src, &buf, MP_BUFFER_READ) ? open_buffer(self, src, &buf)
                                                    : open_file(self, src, stream, own_arena);
}

// The part of the caller's arena that begins at a multiple of 8.
static void arena_buffer(mp_obj_t arena, size_t needed, mp_buffer_info_t *buf) {
    get_buffer("arena", arena, MP_BUFFER_WRITE, buf);
    size_t skip = -(uintptr_t)buf->buf & (PN_ARENA_ALIGN - 1);
    buf->len = buf->len > skip ? buf->len - skip : 0;
    buf->buf = (uint8_t *)buf->buf + skip;
    if (buf->len < needed) {
        raise_memory("arena", needed, buf->len);
    }
}

static mp_obj_t model_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    enum { ARG_src, ARG_arena, ARG_stream };
    ARGS allowed[] = {
        { MP_QSTR_src, MP_ARG_REQUIRED | MP_ARG_OBJ, ARG_NONE },
        { MP_QSTR_arena, MP_ARG_OBJ, ARG_NONE },
        { MP_QSTR_stream, MP_ARG_OBJ, ARG_NONE },
    };
    mp_arg_val_t arg[MP_ARRAY_SIZE(allowed)];
    mp_arg_parse_all_kw_array(n_args, n_kw, args, MP_ARRAY_SIZE(allowed), allowed, arg);

    check_stack();
    model_obj_t *self = new_model(type);
    memset((uint8_t *)self + sizeof(self->base), 0, sizeof(*self) - sizeof(self->base));
    self->arena = arg[ARG_arena].u_obj;
    int err = open_source(self, arg[ARG_src].u_obj, arg[ARG_stream].u_obj, self->arena == mp_const_none);
    if (err != PN_OK) {
        raise_bad_model(err, self->model.fault_layer);
    }
    if (self->arena == mp_const_none) {
        self->own_arena = self->own_arena ? self->own_arena : allocate_arena(self);
    } else {
        mp_buffer_info_t buf;
        arena_buffer(self->arena, self->model.arena_bytes, &buf);
    }
    return MP_OBJ_FROM_PTR(self);
}

// Gives the heap back at once; the collector would too, later.
static mp_obj_t model_deinit(mp_obj_t self_in) {
    model_obj_t *self = MP_OBJ_TO_PTR(self_in);
    check_idle(self);
    uint8_t *copy = self->copy, *arena = leave_board_arena(self) ? NULL : self->own_arena;
    uint8_t *buffer = pn_weights_leave(&self->model);
    self->copy = self->own_arena = NULL; // first, as an interrupt may come
    self->source = self->arena = MP_OBJ_NULL;
    if (copy != NULL) {
        m_del(uint8_t, copy, self->blob_bytes);
    }
    if (arena != NULL) {
        m_del(uint8_t, arena, self->model.arena_bytes);
    }
    if (buffer != NULL) {
        m_del(uint8_t, buffer, self->model.weights.bytes);
    }
    close_file(self);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(model_deinit_obj, model_deinit);

static mp_obj_t model_exit(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    return model_deinit(args[0]);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(model_exit_obj, 4, 4, model_exit);

// ---- pictures ----

static bool is_picture(mp_obj_t obj) {
    mp_obj_t method[2];
    mp_load_method_maybe(obj, MP_QSTR_width, method);
    return method[0] != MP_OBJ_NULL;
}

// The object whose buffer holds the pixels: the picture, or what its bytearray() returns.
static mp_obj_t picture_buffer(mp_obj_t img, mp_buffer_info_t *buf) {
    if (!mp_get_buffer(img, buf, MP_BUFFER_READ)) {
        mp_obj_t method[2];
        mp_load_method_maybe(img, MP_QSTR_bytearray, method);
        if (method[0] != MP_OBJ_NULL) {
            img = mp_call_method_n_kw(0, 0, method);
        }
        get_buffer("picture", img, MP_BUFFER_READ, buf);
    }
    if (!holds_bytes(buf)) {
        mp_raise_TypeError(MP_ERROR_TEXT("picture: wanted a buffer of bytes"));
    }
    return img;
}

// Bytes per pixel as the picture's format() says, 0 if it says nothing.
static unsigned int format_bytes(mp_obj_t img) {
    mp_obj_t method[2];
    mp_load_method_maybe(img, MP_QSTR_format, method);
    if (method[0] == MP_OBJ_NULL) {
        return 0;
    }
    uint32_t format = mp_obj_get_int_truncated(mp_call_method_n_kw(0, 0, method));
    if (format < FORMAT_NUMBERED) {
        return 0;
    }
    if (format & FORMAT_COMPRESSED) {
        mp_raise_ValueError(MP_ERROR_TEXT("format: picture is JPEG or PNG, convert it first, as with to_rgb565()"));
    }
    if (!(format & FORMAT_MUTABLE) || (format & 0xff) < PN_GRAYSCALE || (format & 0xff) > PN_RGB888) {
        mp_raise_ValueError(MP_ERROR_TEXT("format: wanted GRAYSCALE, RGB565 or RGB888"));
    }
    return format & 0xff;
}

static bool gives_windows(mp_obj_t img) {
    mp_obj_t method[2];
    mp_load_method_maybe(img, MP_QSTR_window, method);
    return method[0] != MP_OBJ_NULL;
}

// A size or a position: what is out of range becomes so large that the engine refuses it.
static uint32_t get_size(mp_int_t n) {
    return n < 0 || n > INT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static void set_roi(pn_image_t *image, mp_obj_t roi) {
    image->roi_x = image->roi_y = 0;
    image->roi_w = image->w;
    image->roi_h = image->h;
    if (roi != mp_const_none) {
        mp_obj_t *part;
        mp_obj_get_array_fixed_n(roi, 4, &part);
        image->roi_x = get_size(mp_obj_get_int(part[0]));
        image->roi_y = get_size(mp_obj_get_int(part[1]));
        image->roi_w = get_size(mp_obj_get_int(part[2]));
        image->roi_h = get_size(mp_obj_get_int(part[3]));
    }
}

// Fills `image` from a picture object; returns the object that must stay alive.
static mp_obj_t get_image(pn_image_t *image, mp_obj_t img, mp_obj_t roi, mp_obj_t pixfmt) {
    if (!is_picture(img)) {
        mp_raise_TypeError(MP_ERROR_TEXT("picture: wanted width(), height() and a buffer"));
    }
    mp_buffer_info_t buf;
    mp_int_t w = mp_obj_get_int(call_method(img, MP_QSTR_width, 0, NULL));
    mp_int_t h = mp_obj_get_int(call_method(img, MP_QSTR_height, 0, NULL));
    image->w = get_size(w);
    image->h = get_size(h);
    set_roi(image, roi);
    if (gives_windows(img)) {
        image->data = NULL;
        image->format = PN_GRAYSCALE; // whatever, the windows have theirs
        return img;
    }
    unsigned int bytes = pixfmt == mp_const_none ? format_bytes(img) : mp_obj_get_int_truncated(pixfmt) & 0xff;
    img = picture_buffer(img, &buf);
    uint64_t pixels = (uint64_t)image->w * image->h;
    if (bytes == 0) {
        bytes = pixels * PN_RGB888 == buf.len ? PN_RGB888 : pixels * PN_RGB565 == buf.len ? PN_RGB565 : PN_GRAYSCALE;
    }
    if (pixels == 0 || pixels * bytes != buf.len) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("shape: %d x %d pixels of %u bytes, buffer has %u"),
            (int)w, (int)h, bytes, (unsigned int)buf.len);
    }
    image->data = buf.buf;
    image->format = bytes;
    return img;
}

// ---- running ----

// What a run is to read, as a caller gave it: a picture, raw values at image.data, or samples of a clip.
typedef struct {
    mp_obj_t keep, pixfmt;
    enum { PICTURE, VALUES, CLIP } kind;
    pn_image_t image;
} input_t;

// ... the arena's since the run began ...
static void check_arena(const model_obj_t *self) {
    mp_buffer_info_t buf;
    if (self->arena != mp_const_none) {
        arena_buffer(self->arena, self->model.arena_bytes, &buf);
        if (buf.buf != self->model.run.arena) {
            mp_raise_ValueError(MP_ERROR_TEXT("arena: its buffer has moved"));
        }
    }
}

// ... that of the picture or the values ...
static void check_input(const model_obj_t *self) {
    mp_buffer_info_t buf;
    if (self->input_at != NULL
        && (!mp_get_buffer(self->input, &buf, MP_BUFFER_READ) || buf.buf != self->input_at
            || buf.len != self->input_bytes)) {
        mp_raise_ValueError(MP_ERROR_TEXT("input: its buffer has moved"));
    }
}

// Keeps what a run reads: `at` is where that lies, in memory.
static void keep_input(model_obj_t *self, mp_obj_t input, const void *at) {
    mp_buffer_info_t buf;
    self->input = input;
    self->input_at = at;
    self->input_bytes = at != NULL && mp_get_buffer(input, &buf, MP_BUFFER_READ) ? buf.len : 0;
}

// The memory of a run: what it writes, then what it only reads. An area that is nowhere has no bytes.
enum { ARENA, STREAM, OUT, WRITTEN, MODEL = WRITTEN, INPUT, AREAS };

static void get_areas(const model_obj_t *self, void *arena, mp_obj_t input, mp_buffer_info_t area[AREAS]) {
    const pn_model_t *m = &self->model;
    memset(area, 0, AREAS * sizeof(*area));
    area[ARENA] = (mp_buffer_info_t) { .buf = arena, .len = m->arena_bytes };
    area[STREAM] = (mp_buffer_info_t) { .buf = m->weights.buffer, .len = m->weights.buffer ? m->weights.bytes : 0 };
    const void *blob = self->source != mp_const_none ? m->weights.at : m->blob;
    area[MODEL] = (mp_buffer_info_t) { .buf = (void *)blob, .len = self->blob_bytes };
    if (self->out != MP_OBJ_NULL) {
        mp_get_buffer(self->out, &area[OUT], MP_BUFFER_WRITE);
    }
    if (input != MP_OBJ_NULL) {
        mp_get_buffer(input, &area[INPUT], MP_BUFFER_READ);
    }
}

// Whether two of them have bytes in common.
static bool overlap(const mp_buffer_info_t *a, const mp_buffer_info_t *b) {
    uintptr_t at = (uintptr_t)a->buf, other = (uintptr_t)b->buf;
    return a->len > 0 && b->len > 0 && (other - at < a->len || at - other < b->len);
}

// No run may write where it, or another one that is under way, reads or writes otherwise.
static void check_areas(const mp_buffer_info_t *mine, const mp_buffer_info_t *others) {
    static const char name[AREAS][8] = { "arena", "stream", "out", "model", "input" };
    for (size_t i = 0; i < AREAS; ++i) {
        for (size_t j = 0; j < AREAS; ++j) {
            bool harmless = (i >= WRITTEN && j >= WRITTEN) || (mine == others && i == j);
            if (harmless || !overlap(&mine[i], &others[j])) {
                continue;
            }
            if (i == j) {
                mp_raise_msg_varg(&mp_type_RuntimeError, MP_ERROR_TEXT("%s is in use"), name[i]);
            }
            mp_raise_msg_varg(&mp_type_RuntimeError, MP_ERROR_TEXT("%s is in use as %s"), name[i], name[j]);
        }
    }
}

// Before a run of `self` in `arena` on `input` writes anything.
static void check_memory(const model_obj_t *self, void *arena, mp_obj_t input) {
    mp_buffer_info_t mine[AREAS], others[AREAS];
    get_areas(self, arena, input, mine);
    check_areas(mine, mine);
    for (const model_obj_t *it = patchnet_running; it != NULL; it = it->next) {
        if (it != self) {
            get_areas(it, it->model.run.arena, it->input, others);
            check_areas(mine, others);
        }
    }
}

// Takes the window of the frame that the engine wants next. The one before is let go first: there may be room for one
// only. Not in run_steps' frame, which lies below every step's.
static __attribute__((noinline)) void take_window(model_obj_t *self) {
    pn_window_t w;
    pn_image_t image;
    pn_window(&self->model, &w);
    keep_input(self, MP_OBJ_NULL, NULL);
    const mp_obj_t place[4] = {
        MP_OBJ_NEW_SMALL_INT(w.x),
        MP_OBJ_NEW_SMALL_INT(w.y),
        MP_OBJ_NEW_SMALL_INT(w.w),
        MP_OBJ_NEW_SMALL_INT(w.h),
    };
    mp_obj_t img = call_method(self->camera, MP_QSTR_window, 4, place);
    mp_obj_t input = get_image(&image, img, mp_const_none, self->pixfmt);
    keep_input(self, input, image.data);
    if (image.data == NULL || image.w != w.w || image.h != w.h) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("window: wanted %u x %u pixels, got %u x %u"),
            (unsigned int)w.w, (unsigned int)w.h, (unsigned int)image.w, (unsigned int)image.h);
    }
    check_memory(self, self->model.run.arena, self->input);
    int err = pn_give(&self->model, image.data, image.format);
    if (err != PN_OK) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("bad picture: %s"), pn_error(err));
    }
}

static int8_t *get_out(const model_obj_t *self, mp_obj_t out) {
    mp_buffer_info_t buf;
    get_buffer("out", out, MP_BUFFER_WRITE, &buf);
    size_t bytes = self->model.outputs * (pn_floats(&self->model) ? sizeof(float) : 1);
    if (buf.len != bytes) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("out: wanted %u bytes, got %u"), (unsigned int)bytes,
            (unsigned int)buf.len);
    }
    return buf.buf;
}

// ... and that of the outputs that a detection network fills as it goes.
static void check_out(const model_obj_t *self) {
    if (pn_detects(&self->model) && self->out != MP_OBJ_NULL
        && get_out(self, self->out) != self->model.state.detecting.outputs) {
        mp_raise_ValueError(MP_ERROR_TEXT("out: its buffer has moved"));
    }
}

// Before a run on `input`: nothing else runs in its memory, and everything is where it was. The arena to run in.
static mp_buffer_info_t get_ready(const model_obj_t *self, mp_obj_t input) {
    mp_buffer_info_t arena = { .buf = self->own_arena, .len = self->model.arena_bytes };
    check_open(self);
    check_blob(self);
    if (self->arena != mp_const_none) {
        arena_buffer(self->arena, self->model.arena_bytes, &arena);
    }
    check_memory(self, arena.buf, input);
    return arena;
}

// Begins a run on a picture, or on raw values.
static void start(model_obj_t *self, const input_t *in) {
    mp_buffer_info_t arena = get_ready(self, in->keep);
    keep_input(self, in->keep, in->image.data);
    self->camera = in->keep;
    self->pixfmt = in->pixfmt;
    int err = in->kind == PICTURE ? pn_start(&self->model, arena.buf, arena.len, &in->image)
                                  : pn_start_raw(&self->model, arena.buf, arena.len, (const int8_t *)in->image.data);
    if (err != PN_OK) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("bad picture: %s"), pn_error(err));
    }
}

// Lets others work; then everything must be where it was.
static void let_others_in(const model_obj_t *self) {
    poll();
    check_blob(self);
    check_arena(self);
    check_input(self);
    check_out(self);
}

// A sum over what a run keeps in an arena that others may write to.
static uint32_t state_of(const model_obj_t *self) {
    return self->arena == mp_const_none ? 0 : pn_state(&self->model);
}

// The part of a streamed blob that the engine waits for.
static __attribute__((noinline)) int read_wanted(const model_obj_t *self) {
    const pn_weights_t *w = &self->model.weights;
    uint32_t *us = self->us ? &self->us[self->model.run.index] : NULL, began = us ? ticks_us() : 0;
    read_at(self->file, w->want_at, w->buffer + w->want_to, w->want_bytes);
    if (us) {
        *us += (ticks_us() - began) & TICKS_MASK;
    }
    return PN_MORE;
}

// A step by the clock. Not in run_steps' frame, which lies below every step's.
static __attribute__((noinline)) int timed_step(model_obj_t *self) {
    uint32_t *us = &self->us[self->model.run.index]; // of the step that comes
    uint32_t began = ticks_us();
    int err = pn_step(&self->model);
    *us += (ticks_us() - began) & TICKS_MASK;
    return err;
}

// Runs to the end.
static void run_steps(model_obj_t *self) {
    uint32_t state = state_of(self);
    int err;
    do {
        let_others_in(self);
        if (state_of(self) != state) {
            mp_raise_ValueError(MP_ERROR_TEXT("arena: others wrote to it"));
        }
        err = self->us ? timed_step(self) : pn_step(&self->model);
        state = state_of(self);
        err = err == PN_WANT ? read_wanted(self) : err;
        if (err == PN_WINDOW) {
            take_window(self);
        }
    } while (err == PN_MORE || err == PN_WINDOW);
    if (err != PN_OK) {
        raise_bad_model(err, self->model.fault_layer);
    }
}

static void end_running(const model_obj_t *self) {
    model_obj_t **link = &patchnet_running;
    while (*link != self) { // the first, unless threads end in another order than they began
        link = &(*link)->next;
    }
    *link = self->next;
}

// Does `work`, the model being busy meanwhile, whatever it raises: a run from the first look at its memory until its
// answer is an object, as an interrupt that runs models may come at any moment.
static void guarded(model_obj_t *self, void (*work)(model_obj_t *, void *), void *arg) {
    nlr_buf_t nlr;
    check_stack();
    check_idle(self);
    self->next = patchnet_running;
    patchnet_running = self;
    bool fine = nlr_push(&nlr) == 0;
    if (fine) {
        work(self, arg);
        nlr_pop();
    }
    end_running(self);
    keep_input(self, MP_OBJ_NULL, NULL);
    self->camera = self->out = MP_OBJ_NULL;
    self->us = NULL;
    pn_release(&self->model);
    if (!fine) {
        nlr_jump(nlr.ret_val);
    }
}

// ---- sound ----

#ifdef PN_NO_SOUND

#define check_not_audio(self) ((void)0)
#define start_clip(self, pcm) ((void)0)

#else

static void check_not_audio(const model_obj_t *self) {
    if (pn_hears(&self->model)) {
        mp_raise_ValueError(MP_ERROR_TEXT("model is for audio: wanted 16-bit samples"));
    }
}

// Samples of a clip or chunk that are still to be heard: `n` of them from `from` on; zeros if `pcm` is MP_OBJ_NULL. In `sound`, if not NULL,
// spot's settings, and then the class it found, or -1, and its score.
typedef struct {
    mp_obj_t pcm;
    size_t from, n;
    const pn_sound_t *sound;
    int32_t found;
    uint32_t score;
} hear_t;

static size_t get_samples(mp_obj_t pcm, mp_buffer_info_t *buf) {
    get_buffer("pcm16", pcm, MP_BUFFER_READ, buf);
    if (buf->typecode != 'h' && !holds_bytes(buf)) {
        mp_raise_TypeError(MP_ERROR_TEXT("pcm16: wanted a buffer of 16-bit samples"));
    }
    if (buf->len % 2) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("pcm16: wanted whole 16-bit samples, got %u bytes"),
            (unsigned int)buf->len);
    }
    return buf->len / 2;
}

// Where those that are left are now; NULL: zeros. Not in hear()'s frame, which lies below every step's.
static __attribute__((noinline)) const uint8_t *next_samples(const hear_t *h) {
    mp_buffer_info_t buf;
    if (h->pcm == MP_OBJ_NULL) {
        return NULL;
    }
    if (get_samples(h->pcm, &buf) < h->from + h->n) {
        mp_raise_ValueError(MP_ERROR_TEXT("pcm16: its buffer has shrunk"));
    }
    return (const uint8_t *)buf.buf + 2 * h->from;
}

// Hears samples, row by row, and, for spot, runs as often as it is to.
static void hear(model_obj_t *self, hear_t *h) {
    pn_model_t *m = &self->model;
    while (h->n > 0) {
        let_others_in(self);
        uint32_t heard = pn_hear(m, next_samples(h), h->n);
        h->from += heard;
        h->n -= heard;
        if (h->sound && m->state.hearing.fresh >= h->sound->every) {
            pn_start_raw(m, m->run.arena, m->arena_bytes, pn_rows(m));
            run_steps(self);
            uint32_t score;
            int32_t found = pn_spot(m, h->sound, &score);
            if (found >= 0) {
                h->found = found;
                h->score = score;
            }
        }
    }
}

// Hears a clip between zeros, as many as it is too short by.
static void hear_clip(model_obj_t *self, hear_t *clip) {
    size_t lacking = pn_sound(&self->model).samples - clip->n;
    hear_t before = { .pcm = MP_OBJ_NULL, .n = lacking / 2 }, after = { .pcm = MP_OBJ_NULL, .n = lacking - before.n };
    hear(self, &before);
    hear(self, clip);
    hear(self, &after);
}

// Begins a run on a whole clip: its middle, or the clip between zeros.
static void start_clip(model_obj_t *self, mp_obj_t pcm) {
    pn_model_t *m = &self->model;
    mp_buffer_info_t buf, arena = get_ready(self, pcm);
    size_t have = get_samples(pcm, &buf), n = MIN(have, pn_sound(m).samples);
    hear_t clip = { .pcm = pcm, .from = (have - n) / 2, .n = n };
    keep_input(self, pcm, NULL);
    pn_listen(m, arena.buf, arena.len);
    hear_clip(self, &clip);
    keep_input(self, MP_OBJ_NULL, NULL);
    pn_listen_end(m);
    pn_start_raw(m, arena.buf, arena.len, pn_rows(m));
}

#endif

static __attribute__((noinline)) void start_any(model_obj_t *self, const input_t *in) {
    if (in->kind == CLIP) {
        start_clip(self, in->keep);
    } else {
        start(self, in);
    }
}

// Values that the network reads.
static size_t inputs(const pn_model_t *m) {
    return (size_t)m->height * m->width * m->channels;
}

// Raw values in any buffer of bytes of the right length.
static void get_values(const model_obj_t *self, mp_obj_t x, const mp_buffer_info_t *buf, input_t *in) {
    const pn_model_t *m = &self->model;
    if (!holds_bytes(buf)) {
        mp_raise_msg_varg(&mp_type_TypeError, MP_ERROR_TEXT("x: wanted int8 values, got an array of '%c'"),
            buf->typecode);
    }
    if (buf->len != inputs(m)) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("shape: wanted %u x %u x %u = %u bytes, got %u"),
            m->height, m->width, m->channels, (unsigned int)inputs(m), (unsigned int)buf->len);
    }
    *in = (input_t) { .keep = x, .pixfmt = mp_const_none, .kind = VALUES, .image.data = buf->buf };
}

// What classify and detect are given: a picture, or raw values where the network's input is none.
static void get_seen(const model_obj_t *self, mp_obj_t img, mp_obj_t roi, mp_obj_t pixfmt, input_t *in) {
    const pn_model_t *m = &self->model;
    mp_buffer_info_t buf;
    if (pn_sees(m)) {
        *in = (input_t) { .pixfmt = pixfmt };
        in->keep = get_image(&in->image, img, roi, pixfmt);
    } else if (is_picture(img)) {
        mp_raise_msg_varg(&mp_type_TypeError, MP_ERROR_TEXT("input is %ux%ux%u, raw: wanted %u int8 values"), m->height,
            m->width, m->channels, (unsigned int)inputs(m));
    } else {
        get_buffer("x", img, MP_BUFFER_READ, &buf);
        get_values(self, img, &buf, in);
    }
}

// A picture or, for an audio model, array('h') of samples; or raw values.
static void get_any(const model_obj_t *self, mp_obj_t x, input_t *in) {
    check_open(self);
    if (is_picture(x)) {
        check_not_audio(self);
        get_seen(self, x, mp_const_none, mp_const_none, in);
        return;
    }
    mp_buffer_info_t buf;
    get_buffer("x", x, MP_BUFFER_READ, &buf);
    if (pn_hears(&self->model) && buf.typecode == 'h') {
        *in = (input_t) { .keep = x, .kind = CLIP };
        return;
    }
    get_values(self, x, &buf, in);
}

// ---- results ----

static const char *label_end(const char *text) {
    while (*text != '\n') {
        ++text;
    }
    return text;
}

// The label at `text`, which then points to the next one.
static mp_obj_t next_label(const char **text) {
    const char *begin = *text;
    const char *end = label_end(begin);
    *text = end + 1;
    return mp_obj_new_str(begin, end - begin);
}

static mp_obj_t label_of(const pn_model_t *m, uint32_t i) {
    const char *text;
    pn_labels(m, &text);
    for (; i > 0; --i) {
        text = label_end(text) + 1;
    }
    return next_label(&text);
}

// A score or the like of 65536 as a number 0..1.
static mp_obj_t fraction(uint32_t n) {
    return mp_obj_new_float(n / MICROPY_FLOAT_CONST(65536.0));
}

// The best class of those that come after (`logit`, `index`): smaller logit, or same logit and larger index.
static uint32_t next_best(const pn_model_t *m, int32_t logit, int32_t index) {
    int32_t best = -1;
    int32_t best_logit = 0;
    for (int32_t i = 0; i < m->classes; ++i) {
        int32_t it = pn_logit(m, i);
        if ((it < logit || (it == logit && i > index)) && (best < 0 || it > best_logit)) {
            best = i;
            best_logit = it;
        }
    }
    return best;
}

// (label, score) of class `i`.
static mp_obj_t answer(const model_obj_t *self, uint32_t i, uint32_t score) {
    mp_obj_t pair[2] = { label_of(&self->model, i), fraction(score) };
    return mp_obj_new_tuple(2, pair);
}

// Of a frame of its own, which is not there yet while the network runs.
static __attribute__((noinline)) mp_obj_t ranking(const model_obj_t *self, uint32_t n) {
    mp_obj_t list = mp_obj_new_list(0, NULL);
    pn_softmax_t softmax;
    pn_softmax(&self->model, &softmax);
    int32_t logit = INT32_MAX;
    for (int32_t i = -1; n > 0; --n) {
        i = next_best(&self->model, logit, i);
        logit = pn_logit(&self->model, i);
        mp_obj_list_append(list, answer(self, i, pn_score(&self->model, &softmax, i)));
    }
    return list;
}

typedef struct {
    input_t in;
    mp_int_t top;
    mp_obj_t answer;
} classify_t;

static void classify_work(model_obj_t *self, void *arg) {
    classify_t *c = arg;
    start_any(self, &c->in);
    run_steps(self);
    c->answer = ranking(self, c->top);
}

static mp_obj_t model_classify(size_t n_args, const mp_obj_t *args, mp_map_t *kw) {
    enum { ARG_img, ARG_top, ARG_roi, ARG_pixfmt };
    ARGS allowed[] = {
        { MP_QSTR_img, MP_ARG_REQUIRED | MP_ARG_OBJ, ARG_NONE },
        { MP_QSTR_top, MP_ARG_OBJ, ARG_NONE },
        { MP_QSTR_roi, MP_ARG_OBJ, ARG_NONE },
        { MP_QSTR_pixfmt, MP_ARG_OBJ, ARG_NONE },
    };
    mp_arg_val_t arg[MP_ARRAY_SIZE(allowed)];
    mp_arg_parse_all(n_args - 1, args + 1, kw, MP_ARRAY_SIZE(allowed), allowed, arg);

    model_obj_t *self = MP_OBJ_TO_PTR(args[0]);
    check_task(self, pn_classifies(&self->model), "classify");
    classify_t c = { .top = self->model.classes };
    if (arg[ARG_top].u_obj != mp_const_none) {
        mp_int_t wanted = mp_obj_get_int(arg[ARG_top].u_obj); // once: it may be an object that says something else then
        c.top = MIN(c.top, wanted);
    }
    if (c.top < 1) {
        mp_raise_ValueError(MP_ERROR_TEXT("top: wanted 1 or more"));
    }
    if (pn_hears(&self->model)) {
        if (is_picture(arg[ARG_img].u_obj) || arg[ARG_roi].u_obj != mp_const_none
            || arg[ARG_pixfmt].u_obj != mp_const_none) {
            check_not_audio(self);
        }
        c.in = (input_t) { .keep = arg[ARG_img].u_obj, .kind = CLIP };
    } else {
        get_seen(self, arg[ARG_img].u_obj, arg[ARG_roi].u_obj, arg[ARG_pixfmt].u_obj, &c.in);
    }
    guarded(self, classify_work, &c);
    return c.answer;
}
static MP_DEFINE_CONST_FUN_OBJ_KW(model_classify_obj, 2, model_classify);

#ifdef PN_NO_SOUND
#define SPOT(X)
#else

// A number from 0 to `most` in units, rounded; `otherwise` for None.
static uint32_t get_part(const char *name, mp_obj_t value, uint32_t otherwise, mp_float_t unit, mp_float_t most) {
    if (value == mp_const_none) {
        return otherwise;
    }
    mp_float_t v = mp_obj_get_float(value);
    if (!(v >= 0 && v <= most)) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("%s: wanted 0 to %u"), name, (unsigned int)most);
    }
    return (uint32_t)(v * unit + MICROPY_FLOAT_CONST(0.5));
}

// The class of that name; none for "".
static uint32_t get_background(const model_obj_t *self, mp_obj_t label) {
    size_t len;
    const char *text;
    mp_obj_str_get_data(label, &len);
    if (len == 0) {
        return UINT32_MAX;
    }
    pn_labels(&self->model, &text);
    for (uint32_t i = 0; i < self->model.classes; ++i) {
        if (mp_binary_op(MP_BINARY_OP_EQUAL, next_label(&text), label) == mp_const_true) {
            return i;
        }
    }
    mp_raise_ValueError(MP_ERROR_TEXT("background: wanted one of the labels"));
}

// Reads spot's arguments into *s; returns the samples. The frame that this takes is gone when the network runs.
static __attribute__((noinline)) mp_obj_t get_spot(size_t n_args, const mp_obj_t *args, mp_map_t *kw, pn_sound_t *s) {
    enum { ARG_pcm16, ARG_threshold, ARG_pause, ARG_smooth, ARG_every, ARG_background };
    ARGS allowed[] = {
        { MP_QSTR_pcm16, MP_ARG_REQUIRED | MP_ARG_OBJ, ARG_NONE },
        { MP_QSTR_threshold, MP_ARG_OBJ, ARG_NONE },
        { MP_QSTR_pause, MP_ARG_OBJ, ARG_NONE },
        { MP_QSTR_smooth, MP_ARG_OBJ, ARG_NONE },
        { MP_QSTR_every, MP_ARG_OBJ, ARG_NONE },
        { MP_QSTR_background, MP_ARG_OBJ, ARG_NONE },
    };
    mp_arg_val_t arg[MP_ARRAY_SIZE(allowed)];
    mp_arg_parse_all(n_args - 1, args + 1, kw, MP_ARRAY_SIZE(allowed), allowed, arg);

    model_obj_t *self = MP_OBJ_TO_PTR(args[0]);
    pn_model_t *m = &self->model;
    check_task(self, pn_hears(m), "spot");
    *s = pn_sound(m);
    mp_float_t rows = (mp_float_t)s->rate / (mp_float_t)s->hop; // a second
    if (arg[ARG_every].u_obj != mp_const_none) {
        s->every = get_size(mp_obj_get_int(arg[ARG_every].u_obj));
    }
    if (s->every < 1 || s->every > UINT16_MAX) {
        mp_raise_ValueError(MP_ERROR_TEXT("every: wanted 1 to 65535"));
    }
    s->pause = get_part("pause", arg[ARG_pause].u_obj, s->pause, rows, UINT16_MAX / rows);
    s->smooth = get_part("smooth", arg[ARG_smooth].u_obj, s->smooth, 256, 1);
    s->smooth = MAX(1, s->smooth);
    s->threshold = get_part("threshold", arg[ARG_threshold].u_obj, s->threshold, 65536, 1);
    check_open(self); // again: numbers may be objects that close it
    if (arg[ARG_background].u_obj != mp_const_none) {
        s->background = get_background(self, arg[ARG_background].u_obj);
    }
    return arg[ARG_pcm16].u_obj;
}

// Goes on with the stream, or begins it. Returns the number of samples.
static __attribute__((noinline)) size_t start_spot(model_obj_t *self, mp_obj_t pcm) {
    mp_buffer_info_t buf, arena = get_ready(self, pcm);
    size_t n = get_samples(pcm, &buf);
    keep_input(self, pcm, NULL);
    if (!pn_listen_goes_on(&self->model, arena.buf)) {
        pn_listen(&self->model, arena.buf, arena.len);
    }
    return n;
}

// Leaves the answer where the samples were.
static void spot_work(model_obj_t *self, void *arg) {
    hear_t *h = arg;
    h->n = start_spot(self, h->pcm);
    hear(self, h);
    pn_listen_pause(&self->model);
    h->pcm = h->found < 0 ? mp_const_none : answer(self, h->found, h->score);
}

static mp_obj_t model_spot(size_t n_args, const mp_obj_t *args, mp_map_t *kw) {
    model_obj_t *self = MP_OBJ_TO_PTR(args[0]);
    pn_sound_t s;
    hear_t h = { .pcm = get_spot(n_args, args, kw, &s), .sound = &s, .found = -1 };
    guarded(self, spot_work, &h);
    return h.pcm;
}
static MP_DEFINE_CONST_FUN_OBJ_KW(model_spot_obj, 2, model_spot);
#define SPOT(X) X(MP_QSTR_spot, model_spot_obj)

#endif
#if defined(PN_NO_DETECT) && defined(PN_NO_HEATMAP)

#define DETECT(X)

#else

// A number 0..1 in parts of 65536.
static uint32_t get_fraction(const char *what, mp_obj_t obj, uint32_t otherwise) {
    if (obj == MP_OBJ_NULL) {
        return otherwise;
    }
    mp_float_t x = mp_obj_get_float(obj);
    if (!(x >= 0 && x <= 1)) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("%s: wanted 0..1"), what);
    }
    return (uint32_t)(x * 65536 + MICROPY_FLOAT_CONST(0.5));
}

// As ranking().
static __attribute__((noinline)) mp_obj_t boxes(model_obj_t *self, uint32_t iou) {
    uint32_t n = pn_boxes(&self->model, iou);
    mp_obj_t list = mp_obj_new_list(0, NULL);
    for (uint32_t i = 0; i < n; ++i) {
        pn_box_t b;
        pn_box(&self->model, i, &b);
        mp_obj_t items[6] = {
            mp_obj_new_int(b.x),
            mp_obj_new_int(b.y),
            mp_obj_new_int(b.w),
            mp_obj_new_int(b.h),
            label_of(&self->model, b.label),
            fraction(b.score),
        };
        mp_obj_list_append(list, mp_obj_new_tuple(6, items));
    }
    return list;
}

typedef struct {
    input_t in;
    uint32_t threshold, iou;
    mp_obj_t answer;
} detect_t;

static void detect_work(model_obj_t *self, void *arg) {
    detect_t *d = arg;
    start_any(self, &d->in);
    pn_boxes_prepare(&self->model, d->threshold, NULL);
    run_steps(self);
    d->answer = boxes(self, d->iou);
}

static mp_obj_t model_detect(size_t n_args, const mp_obj_t *args, mp_map_t *kw) {
    enum { ARG_img, ARG_threshold, ARG_iou, ARG_roi, ARG_pixfmt };
    ARGS allowed[] = {
        { MP_QSTR_img, MP_ARG_REQUIRED | MP_ARG_OBJ, ARG_NONE },
        { MP_QSTR_threshold, MP_ARG_OBJ, { .u_obj = MP_OBJ_NULL } },
        { MP_QSTR_iou, MP_ARG_OBJ, { .u_obj = MP_OBJ_NULL } },
        { MP_QSTR_roi, MP_ARG_OBJ, ARG_NONE },
        { MP_QSTR_pixfmt, MP_ARG_OBJ, ARG_NONE },
    };
    mp_arg_val_t arg[MP_ARRAY_SIZE(allowed)];
    mp_arg_parse_all(n_args - 1, args + 1, kw, MP_ARRAY_SIZE(allowed), allowed, arg);

    model_obj_t *self = MP_OBJ_TO_PTR(args[0]);
    check_task(self, pn_finds(&self->model), "detect");
    detect_t d;
    d.threshold = get_fraction("threshold", arg[ARG_threshold].u_obj, 26214); // 0.4
    d.iou = get_fraction("iou", arg[ARG_iou].u_obj, 29491); // 0.45
    get_seen(self, arg[ARG_img].u_obj, arg[ARG_roi].u_obj, arg[ARG_pixfmt].u_obj, &d.in);
    guarded(self, detect_work, &d);
    return d.answer;
}
static MP_DEFINE_CONST_FUN_OBJ_KW(model_detect_obj, 2, model_detect);
#define DETECT(X) X(MP_QSTR_detect, model_detect_obj)

#endif

typedef struct {
    input_t in;
    mp_obj_t out;
} predict_t;

// Runs and fills `out`: with the outputs of heads as it goes, with others at the end. No boxes are looked for.
static void predict_work(model_obj_t *self, void *arg) {
    const predict_t *p = arg;
    const pn_model_t *m = &self->model;
    start_any(self, &p->in);
    self->out = p->out;
    check_memory(self, m->run.arena, self->input);
    if (pn_finds(m)) {
        pn_boxes_prepare(&self->model, 65537, get_out(self, self->out));
    }
    run_steps(self);
    int8_t *to = get_out(self, self->out); // again, it may have moved
    for (size_t i = 0; i < m->outputs && !pn_detects(m); ++i) {
        #ifndef PN_NO_FLOAT32
        if (pn_floats(m)) {
            float value = pn_value(m, i);
            memcpy(to + sizeof(value) * i, &value, sizeof(value));
            continue;
        }
        #endif
        to[i] = pn_output(m, i);
    }
}

static mp_obj_t model_predict(size_t n_args, const mp_obj_t *args, mp_map_t *kw) {
    enum { ARG_x, ARG_out };
    ARGS allowed[] = {
        { MP_QSTR_x, MP_ARG_REQUIRED | MP_ARG_OBJ, ARG_NONE },
        { MP_QSTR_out, MP_ARG_OBJ, ARG_NONE },
    };
    mp_arg_val_t arg[MP_ARRAY_SIZE(allowed)];
    mp_arg_parse_all(n_args - 1, args + 1, kw, MP_ARRAY_SIZE(allowed), allowed, arg);

    model_obj_t *self = MP_OBJ_TO_PTR(args[0]);
    check_open(self);
    predict_t p;
    p.out = arg[ARG_out].u_obj;
    if (p.out == mp_const_none) {
        p.out = new_array(self->model.outputs, pn_floats(&self->model));
    }
    get_out(self, p.out);
    get_any(self, arg[ARG_x].u_obj, &p.in);
    guarded(self, predict_work, &p);
    return p.out;
}
static MP_DEFINE_CONST_FUN_OBJ_KW(model_predict_obj, 2, model_predict);

// ---- what a person wants to know ----

#define TEXT(literal) mp_obj_new_str(literal, sizeof(literal) - 1)

// One number where all input channels share it, else a tuple of one per channel.
static mp_obj_t input_zero_point(const model_obj_t *self, const int8_t *zero) {
    mp_obj_t all[3];
    bool same = true;
    size_t n = pn_sees(&self->model) ? self->model.channels : 1;
    for (size_t i = 0; i < n; ++i) {
        all[i] = MP_OBJ_NEW_SMALL_INT(zero[i]);
        same = same && zero[i] == zero[0];
    }
    return same ? all[0] : mp_obj_new_tuple(n, all);
}

static mp_obj_t labels(const model_obj_t *self) {
    mp_obj_tuple_t *tuple = MP_OBJ_TO_PTR(mp_obj_new_tuple(self->model.classes, NULL));
    const char *text;
    pn_labels(&self->model, &text);
    for (size_t i = 0; i < self->model.classes; ++i) {
        tuple->items[i] = next_label(&text);
    }
    return MP_OBJ_FROM_PTR(tuple);
}

static mp_obj_t shape(size_t n, const mp_int_t *sizes) {
    mp_obj_t items[3];
    for (size_t i = 0; i < n; ++i) {
        items[i] = MP_OBJ_NEW_SMALL_INT(sizes[i]);
    }
    return mp_obj_new_tuple(n, items);
}

// Bytes of RAM that the model needs: the arena and, where it is streamed, its prefix and the weights' buffer.
static size_t ram(const model_obj_t *self) {
    const pn_weights_t *w = &self->model.weights;
    return self->model.arena_bytes + (w->buffer == NULL ? 0 : self->blob_bytes + w->bytes);
}

// MP_OBJ_NULL if `name` is no fact that an audio model has beside the others.
static mp_obj_t get_sound_fact(const pn_model_t *m, qstr name) {
    #ifndef PN_NO_SOUND
    if (name == MP_QSTR_sample_rate && pn_hears(m)) {
        return mp_obj_new_int_from_uint(pn_sound(m).rate);
    } else if (name == MP_QSTR_clip_samples && pn_hears(m)) {
        return mp_obj_new_int_from_uint(pn_sound(m).samples);
    }
    #endif
    return (void)m, (void)name, MP_OBJ_NULL;
}

// m.task
static qstr task_of(const pn_model_t *m) {
    if (pn_detects(m)) {
        return MP_QSTR_detect;
    }
    if (pn_hears(m)) {
        return MP_QSTR_audio;
    }
    if (pn_heats(m)) {
        return MP_QSTR_heatmap;
    }
    return pn_maps(m) ? MP_QSTR_raw : MP_QSTR_classify;
}

// MP_OBJ_NULL if `name` is no fact. No switch: in a native .mpy names are not constant.
static mp_obj_t get_fact(const model_obj_t *self, qstr name) {
    const pn_model_t *m = &self->model;
    uint8_t *volatile copy = self->copy; // an interrupt may close the model: then the collector finds its blob by these
    volatile mp_obj_t source = self->source;
    (void)copy, (void)source;
    pn_info_t info;
    pn_info(m, &info);
    if (name == MP_QSTR_ram) {
        return mp_obj_new_int_from_uint(ram(self));
    } else if (name == MP_QSTR_arena) {
        return self->arena != mp_const_none ? TEXT("given") : has_board_arena(self) ? TEXT("DTCM") : TEXT("heap");
    } else if (name == MP_QSTR_streamed) {
        return mp_obj_new_int_from_uint(m->weights.buffer == NULL ? 0 : m->weights.bytes);
    } else if (name == MP_QSTR_task) {
        return MP_OBJ_NEW_QSTR(task_of(m));
    } else if (name == MP_QSTR_dtype) {
        return pn_floats(m) ? MP_OBJ_NEW_QSTR(MP_QSTR_float32) : MP_OBJ_NEW_QSTR(MP_QSTR_int8);
    } else if (name == MP_QSTR_labels) {
        return labels(self);
    } else if (name == MP_QSTR_input_shape) {
        return shape(3, (const mp_int_t[]) { m->height, m->width, m->channels });
    } else if (name == MP_QSTR_output_shape) {
        return pn_maps(m) ? shape(3, (const mp_int_t[]) { m->map_h, m->map_w, m->features })
                          : shape(1, (const mp_int_t[]) { m->outputs });
    } else if (name == MP_QSTR_input_scale) {
        return mp_obj_new_float((mp_float_t)info.input_scale);
    } else if (name == MP_QSTR_output_scale) {
        return mp_obj_new_float((mp_float_t)info.output_scale);
    } else if (name == MP_QSTR_input_zero_point) {
        return input_zero_point(self, info.input_zero);
    } else if (name == MP_QSTR_output_zero_point) {
        return MP_OBJ_NEW_SMALL_INT(info.output_zero);
    }
    return get_sound_fact(m, name);
}

static void model_print(const mp_print_t *print, mp_obj_t self_in, mp_print_kind_t kind) {
    (void)kind;
    const model_obj_t *self = MP_OBJ_TO_PTR(self_in);
    const pn_model_t *m = &self->model;
    if (self->source == MP_OBJ_NULL) {
        mp_print_str(print, "<Model closed>");
        return;
    }
    mp_printf(print, "<Model %s %u x %u x %u -> ", pn_task_name(m), m->height, m->width, m->channels);
    if (pn_maps(m)) {
        mp_printf(print, "%u x %u x ", m->map_h, m->map_w);
    }
    mp_printf(print, "%u, ram %u%s>", pn_maps(m) ? (unsigned int)m->features : m->classes, (unsigned int)ram(self),
        m->weights.buffer == NULL ? "" : ", streamed");
}

// `format` % `values`, as in Python.
static mp_obj_t filled(mp_obj_t format, size_t n, const mp_obj_t *values) {
    return mp_binary_op(MP_BINARY_OP_MODULO, format, mp_obj_new_tuple(n, values));
}

static mp_obj_t kind_name(uint8_t kind) {
    switch (kind) {
        case PN_KIND_CONV:
            return TEXT("conv");
        case PN_KIND_BOTTLENECK:
            return TEXT("bottleneck");
        case PN_KIND_BLOCK:
            return TEXT("block");
        case PN_KIND_MAXPOOL:
            return TEXT("maxpool");
        case PN_KIND_MEANPOOL:
            return TEXT("meanpool");
        default:
            return kind == PN_KIND_INT4 ? TEXT("int4") : TEXT("int8");
    }
}

// (name, op, microseconds) of layer `i`, or of what follows the layers.
static __attribute__((noinline)) mp_obj_t profile_row(const model_obj_t *self, size_t i, uint32_t us) {
    const pn_model_t *m = &self->model;
    mp_obj_t what_ends = pn_heats(m) ? TEXT("cells") : m->dense ? TEXT("pool, dense") : TEXT("pool");
    mp_obj_t row[3] = { TEXT("head"), what_ends, mp_obj_new_int_from_uint(us) };
    if (i < m->all_layers) {
        pn_op_t what = pn_op(m, i);
        bool same = what.y.stride == what.x.stride;
        mp_obj_t number = MP_OBJ_NEW_SMALL_INT(i);
        row[0] = filled(TEXT("layer %u"), 1, &number);
        row[1] = filled(same ? TEXT("%s %ux%u stride %u") : TEXT("%s %ux%u stride %ux%u"), 5 - same,
            (const mp_obj_t[]) { kind_name(what.kind), MP_OBJ_NEW_SMALL_INT(what.y.kernel),
                MP_OBJ_NEW_SMALL_INT(what.x.kernel), MP_OBJ_NEW_SMALL_INT(what.y.stride),
                MP_OBJ_NEW_SMALL_INT(what.x.stride) });
    }
    return mp_obj_new_tuple(3, row);
}

typedef struct {
    input_t in;
    uint32_t *us; // per layer, and what follows the layers
    mp_obj_t answer;
} profile_t;

static void profile_work(model_obj_t *self, void *arg) {
    profile_t *p = arg;
    const pn_model_t *m = &self->model;
    size_t rows = m->all_layers + (pn_classifies(m) || pn_heats(m)); // others end with their layers
    uint32_t began = ticks_us();
    start_any(self, &p->in);
    uint32_t heard = (ticks_us() - began) & TICKS_MASK;
    self->us = p->us;
    run_steps(self);
    p->answer = mp_obj_new_list(0, NULL);
    if (p->in.kind == CLIP) {
        mp_obj_t row[3] = { MP_OBJ_NEW_QSTR(MP_QSTR_audio), TEXT("spectrogram"), mp_obj_new_int_from_uint(heard) };
        mp_obj_list_append(p->answer, mp_obj_new_tuple(3, row));
    }
    for (size_t i = 0; i < rows; ++i) {
        mp_obj_list_append(p->answer, profile_row(self, i, p->us[i]));
    }
}

static mp_obj_t model_profile(mp_obj_t self_in, mp_obj_t x) {
    model_obj_t *self = MP_OBJ_TO_PTR(self_in);
    profile_t p;
    get_any(self, x, &p.in);
    size_t bytes = (self->model.all_layers + 1) * sizeof(uint32_t);
    p.us = memset(m_malloc(bytes), 0, bytes);
    guarded(self, profile_work, &p);
    return p.answer;
}
static MP_DEFINE_CONST_FUN_OBJ_2(model_profile_obj, model_profile);

static mp_obj_t model_enter(mp_obj_t self) {
    return self;
}
static MP_DEFINE_CONST_FUN_OBJ_1(model_enter_obj, model_enter);

#define MODEL_METHODS(X) \
    X(MP_QSTR_classify, model_classify_obj) \
    SPOT(X) \
    DETECT(X) \
    X(MP_QSTR_predict, model_predict_obj) \
    X(MP_QSTR_profile, model_profile_obj) \
    X(MP_QSTR_deinit, model_deinit_obj) \
    FINALISER(X) \
    X(MP_QSTR___enter__, model_enter_obj) \
    X(MP_QSTR___exit__, model_exit_obj)

static bool is_method(qstr name) {
#define IS_NAME(method, obj) name == method ||
    return MODEL_METHODS(IS_NAME) false;
}

static void model_attr(mp_obj_t self_in, qstr name, mp_obj_t *dest) {
    const model_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (dest[0] != MP_OBJ_NULL) {
        return; // nothing can be set
    }
    if (is_method(name)) {
        dest[1] = MP_OBJ_SENTINEL; // looked up as usual
    } else {
        check_open(self);
        dest[0] = get_fact(self, name);
    }
}

// ---- Image ----

static mp_obj_t image_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    mp_arg_check_num(n_args, n_kw, 4, 4, false);
    mp_buffer_info_t buf;
    get_buffer("image", args[3], MP_BUFFER_READ, &buf);
    image_obj_t *self = mp_obj_malloc(image_obj_t, type);
    self->width = mp_obj_get_int(args[0]);
    self->height = mp_obj_get_int(args[1]);
    self->format = mp_obj_get_int(args[2]);
    self->data = args[3];
    return MP_OBJ_FROM_PTR(self);
}

static mp_int_t image_get_buffer(mp_obj_t self_in, mp_buffer_info_t *buf, mp_uint_t flags) {
    const image_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (flags != MP_BUFFER_READ || !mp_get_buffer(self->data, buf, flags)) {
        return 1;
    }
    buf->typecode = 'B';
    return 0;
}

static void image_print(const mp_print_t *print, mp_obj_t self_in, mp_print_kind_t kind) {
    (void)kind;
    const image_obj_t *self = MP_OBJ_TO_PTR(self_in);
    mp_printf(print, "<Image %d x %d, format 0x%08x>", (int)self->width, (int)self->height, (int)self->format);
}

static mp_obj_t image_width(mp_obj_t self_in) {
    return mp_obj_new_int(((image_obj_t *)MP_OBJ_TO_PTR(self_in))->width);
}
static MP_DEFINE_CONST_FUN_OBJ_1(image_width_obj, image_width);

static mp_obj_t image_height(mp_obj_t self_in) {
    return mp_obj_new_int(((image_obj_t *)MP_OBJ_TO_PTR(self_in))->height);
}
static MP_DEFINE_CONST_FUN_OBJ_1(image_height_obj, image_height);

static mp_obj_t image_format(mp_obj_t self_in) {
    return mp_obj_new_int(((image_obj_t *)MP_OBJ_TO_PTR(self_in))->format);
}
static MP_DEFINE_CONST_FUN_OBJ_1(image_format_obj, image_format);

#define IMAGE_METHODS(X) \
    X(MP_QSTR_width, image_width_obj) \
    X(MP_QSTR_height, image_height_obj) \
    X(MP_QSTR_format, image_format_obj)

// ---- module ----

#define MODULE_NUMBERS(X) \
    X(MP_QSTR_GRAYSCALE, FORMAT_GRAYSCALE) \
    X(MP_QSTR_RGB565, FORMAT_RGB565) \
    X(MP_QSTR_RGB888, FORMAT_RGB888) \
    X(MP_QSTR_JPEG, FORMAT_JPEG)

#if MICROPY_ENABLE_DYNRUNTIME

#define STORE_METHOD(name, obj) mp_obj_dict_store(methods, MP_OBJ_NEW_QSTR(name), MP_OBJ_FROM_PTR(&obj));
#define STORE_NUMBER(name, number) mp_store_global(name, MP_OBJ_NEW_SMALL_INT(number));

mp_obj_full_type_t model_type, image_type;

static mp_obj_t new_type(mp_obj_full_type_t *type, qstr name, const void *make_new, const void *print) {
    mp_obj_t methods = mp_obj_new_dict(0);
    type->base.type = &mp_type_type;
    type->name = name;
    MP_OBJ_TYPE_SET_SLOT(type, make_new, make_new, 0);
    MP_OBJ_TYPE_SET_SLOT(type, print, print, 1);
    MP_OBJ_TYPE_SET_SLOT(type, locals_dict, MP_OBJ_TO_PTR(methods), 2);
    mp_store_global(name, MP_OBJ_FROM_PTR(type));
    return methods;
}

// Runs when the file is imported, before native.py.
mp_obj_t mpy_init(mp_obj_fun_bc_t *self, size_t n_args, size_t n_kw, mp_obj_t *args) {
    MP_DYNRUNTIME_INIT_ENTRY
    check_firmware();
    mp_obj_t methods = new_type(&model_type, MP_QSTR_Model, model_make_new, model_print);
    MP_OBJ_TYPE_SET_SLOT(&model_type, attr, model_attr, 3);
    MODEL_METHODS(STORE_METHOD)
    methods = new_type(&image_type, MP_QSTR_Image, image_make_new, image_print);
    MP_OBJ_TYPE_SET_SLOT(&image_type, buffer, image_get_buffer, 3);
    IMAGE_METHODS(STORE_METHOD)
    MODULE_NUMBERS(STORE_NUMBER)
    mp_store_global(MP_QSTR__setup, MP_OBJ_FROM_PTR(&setup_obj));
    MP_DYNRUNTIME_INIT_EXIT
}

#else

#define ROM_OBJ(name, obj) { MP_ROM_QSTR(name), MP_ROM_PTR(&obj) },
#define ROM_NUMBER(name, number) { MP_ROM_QSTR(name), MP_ROM_INT(number) },

static const mp_rom_map_elem_t model_locals_table[] = { MODEL_METHODS(ROM_OBJ) };
static MP_DEFINE_CONST_DICT(model_locals, model_locals_table);

// clang-format off
static MP_DEFINE_CONST_OBJ_TYPE(
    model_type, MP_QSTR_Model, MP_TYPE_FLAG_NONE,
    make_new, model_make_new,
    print, model_print,
    attr, model_attr,
    locals_dict, &model_locals
    );
// clang-format on

static const mp_rom_map_elem_t image_locals_table[] = { IMAGE_METHODS(ROM_OBJ) };
static MP_DEFINE_CONST_DICT(image_locals, image_locals_table);

// clang-format off
static MP_DEFINE_CONST_OBJ_TYPE(
    image_type, MP_QSTR_Image, MP_TYPE_FLAG_NONE,
    make_new, image_make_new,
    print, image_print,
    buffer, image_get_buffer,
    locals_dict, &image_locals
    );

static const mp_rom_map_elem_t module_globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__patchnet) },
    ROM_OBJ(MP_QSTR_Model, model_type)
    ROM_OBJ(MP_QSTR_Image, image_type)
    MODULE_NUMBERS(ROM_NUMBER)
};
// clang-format on
static MP_DEFINE_CONST_DICT(module_globals, module_globals_table);

const mp_obj_module_t _patchnet_user_cmodule = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&module_globals,
};

MP_REGISTER_MODULE(MP_QSTR__patchnet, _patchnet_user_cmodule);

#endif
