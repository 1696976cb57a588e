// An attempt on the engine: some bytes as a blob, opened and run in every way if they may be. Blob, arena, picture,
// buffer and outputs are each malloc'ed to the byte, so that a sanitizer sees what lies beside them. For corrupt.c and
// fuzz.c, which define ARENA_MOST, OUTPUTS_MOST and WORK_MOST: what is larger is opened and counted, not run. With
// PN_SHADOW each read of an arena is checked as well.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "patchnet.h"
#include "engine/blob/pn_arrays.h"
#include "engine/blob/pn_blob.h"

#ifdef PN_SHADOW
#include "shadow.c"
#else
#define UNWATCHED
#endif

#define ALL UINT32_MAX
static uint32_t choice = ALL; // of which pictures, buffers and bytes are tried; ALL of them

static unsigned long opened, too_large, refused[1 - PN_ERR_ROI];

// Whether number `i` of `n` is tried.
static bool chosen(uint32_t i, uint32_t n) {
    return choice == ALL || choice % n == i;
}

static void die(const char *what) {
    fprintf(stderr, "%s\n", what);
    abort();
}

static void *exactly(size_t n) {
    void *p = malloc(n ? n : 1);
    if (p == NULL) {
        die("out of memory");
    }
    return p;
}

static void put32(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++) {
        p[i] = (uint8_t)(v >> 8 * i);
    }
}

// Bytes of a picture or of an input: all the same, or by chance.
static void fill(void *p, size_t n) {
    uint32_t state = choice;
    uint8_t *at = p;
    for (; n > 0; n--) {
        state = state * 1664525 + 1013904223;
        *at++ = choice % 4 == 3 ? 0x7f : (uint8_t)(state >> 24);
    }
}

UNWATCHED static uint32_t crc32(uint32_t crc, const uint8_t *p, size_t n) {
    static uint32_t table[256];
    for (uint32_t i = 0; table[255] == 0 && i < 256; i++) {
        table[i] = i;
        for (int b = 0; b < 8; b++) {
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xedb88320u : 0);
        }
    }
    for (crc = ~crc; n > 0; n--) {
        crc = crc >> 8 ^ table[(crc ^ *p++) & 255];
    }
    return ~crc;
}

static void repair_crc(uint8_t *blob, size_t n) {
    if (n >= PN_HEADER_BYTES) {
        uint32_t crc = crc32(0, blob, PN_HEADER_CRC);
        put32(blob + PN_HEADER_CRC, crc32(crc, blob + PN_HEADER_CRC + 4, n - PN_HEADER_CRC - 4));
    }
}

static void check_boxes(pn_model_t *m) {
    const pn_image_t *p = &m->run.image;
    uint32_t n = pn_boxes(m, 29491);
    for (uint32_t i = 0; i < n; i++) {
        pn_box_t b;
        pn_box(m, i, &b);
        if (b.x < p->roi_x || b.y < p->roi_y || b.x + b.w > p->roi_x + p->roi_w || b.y + b.h > p->roi_y + p->roi_h
            || b.label >= m->classes || b.score > 65536) {
            die("a box outside the region, or of no class");
        }
    }
}

static void finish(pn_model_t *m) {
    while (pn_step(m) == PN_MORE) {
    }
    if (pn_finds(m)) {
        check_boxes(m);
    }
    if (!pn_classifies(m)) {
        return;
    }
    pn_softmax_t s;
    pn_softmax(m, &s);
    for (uint32_t i = 0; i < m->classes; i++) {
        if (pn_score(m, &s, i) > 65536) {
            die("a score above one");
        }
    }
}

static int32_t *kept; // logits of the run before, or outputs of the heads, or the last map
static int8_t *heads;

// From now on reads of the arena are checked against what was written to it.
static void watch(const pn_model_t *m, const uint8_t *arena) {
    #ifdef PN_SHADOW
    static uint32_t *tags;
    free(tags);
    tags = exactly(m->arena_bytes * sizeof(*tags));
    memset(tags, 0xff, m->arena_bytes * sizeof(*tags));
    shadow_begin(arena, m->arena_bytes, tags);
    #endif
    (void)m;
    (void)arena;
}

static void check_reads(void) {
    #ifdef PN_SHADOW
    uint32_t at, wanted, found;
    if (shadow_fault(&at, &wanted, &found)) {
        die("a byte of the arena was read that is another's");
    }
    #endif
}

// Before every run: whatever a detection network may write.
static void prepare(pn_model_t *m, const uint8_t *arena) {
    watch(m, arena);
    free(heads);
    heads = pn_detects(m) ? exactly(m->outputs) : NULL;
    if (pn_finds(m)) {
        pn_boxes_prepare(m, 20000, heads);
    }
}

// Of a float32 network its bits; all that are no numbers are alike.
static int32_t value_bits(const pn_model_t *m, uint32_t i) {
    float value = pn_value(m, i);
    int32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return value == value ? bits : -1;
}

static int32_t result(const pn_model_t *m, uint32_t i) {
    if (pn_floats(m)) {
        return value_bits(m, i);
    }
    return pn_detects(m) ? heads[i] : pn_classifies(m) ? pn_logit(m, i) * 256 + pn_output(m, i) : pn_output(m, i);
}

static void keep_scores(const pn_model_t *m) {
    free(kept);
    kept = exactly(m->outputs * sizeof(*kept));
    for (uint32_t i = 0; i < m->outputs; i++) {
        kept[i] = result(m, i);
    }
    check_reads();
}

static void compare_scores(const pn_model_t *m, const char *trouble) {
    for (uint32_t i = 0; i < m->outputs; i++) {
        if (kept[i] != result(m, i)) {
            die(trouble);
        }
    }
    check_reads();
}

// The frame again, of which the engine gets window by window, each a block of just its size. It must give what
// run_picture kept.
static void run_windows(pn_model_t *m, uint8_t *arena, const pn_image_t *frame) {
    pn_image_t image = *frame;
    uint8_t *pixels = NULL;
    int err;
    image.data = NULL;
    prepare(m, arena);
    if (pn_start(m, arena, m->arena_bytes, &image) != PN_OK) {
        die("a run on windows did not start");
    }
    while ((err = pn_step(m)) == PN_MORE || err == PN_WINDOW) {
        if (err == PN_WINDOW) {
            pn_window_t w;
            pn_window(m, &w);
            if (w.x + w.w > image.w || w.y + w.h > image.h) {
                die("a window outside of the frame");
            }
            size_t row = (size_t)w.w * image.format, line = (size_t)image.w * image.format;
            free(pixels);
            pixels = exactly(row * w.h);
            for (size_t y = 0; y < w.h; y++) {
                memcpy(pixels + y * row, frame->data + (w.y + y) * line + w.x * image.format, row);
            }
            if (pn_give(m, pixels, image.format) != PN_OK) {
                die("a window was refused");
            }
        }
    }
    free(pixels);
    compare_scores(m, "windows give other scores");
}

static void run_picture(pn_model_t *m, uint8_t *arena, const pn_image_t *image) {
    size_t n = (size_t)image->w * image->h * image->format;
    uint8_t *pixels = exactly(n);
    fill(pixels, n);
    pn_image_t own = *image;
    own.data = pixels;
    prepare(m, arena);
    if (pn_start(m, arena, m->arena_bytes, &own) != PN_OK) {
        die("a run did not start");
    }
    finish(m);
    keep_scores(m);
    if (chosen(1, 2)) {
        run_windows(m, arena, &own);
    }
    free(pixels);
}

// What a run takes: for each pixel of a layer's output its weights, and its kernel.
static uint64_t work(const pn_model_t *m) {
    uint64_t sum = (uint64_t)m->classes * m->features;
    pn_layer_t l;
    for (uint32_t i = 0; i < m->all_layers; i++) {
        uint32_t end = 0;
        pn_layer_read(m, m->tunnels - 1u, i, &l);
        pn_check_layer_arrays(m, &l, &end);
        uint64_t pixel = end - l.weight_off + (uint64_t)l.y.kernel * l.x.kernel * l.cin;
        sum += pixel * l.oh * l.ow * (i < m->layers ? m->tunnels : 1u);
    }
    return sum;
}

static bool too_much(const pn_model_t *m) {
    return m->arena_bytes > ARENA_MOST || m->outputs > OUTPUTS_MOST || work(m) > WORK_MOST;
}

static int give_wanted(pn_model_t *m, const uint8_t *file, size_t n) {
    if (m->weights.want_to > m->weights.bytes || m->weights.want_bytes > m->weights.bytes - m->weights.want_to
        || m->weights.want_at > n || m->weights.want_bytes > n - m->weights.want_at) {
        die("more wanted than the buffer takes, or than the file has");
    }
    memcpy(m->weights.buffer + m->weights.want_to, file + m->weights.want_at, m->weights.want_bytes);
    return PN_MORE;
}

// A raw run whose arrays come from `file`.
static int run_streamed(pn_model_t *m, const uint8_t *file, size_t n) {
    uint8_t *arena = exactly(m->arena_bytes);
    size_t inputs = (size_t)m->height * m->width * m->channels;
    int8_t *x = exactly(inputs);
    fill(x, inputs);
    prepare(m, arena);
    int err = pn_start_raw(m, arena, m->arena_bytes, x);
    while (err == PN_OK || err == PN_MORE || err == PN_WANT) {
        err = pn_step(m);
        if (err == PN_OK) {
            break;
        }
        err = err == PN_WANT ? give_wanted(m, file, n) : err;
    }
    if (err == PN_OK) {
        compare_scores(m, "a streamed blob has other scores");
        if (pn_step(m) != PN_OK) {
            die("a run that has ended goes on");
        }
    }
    free(x);
    free(arena);
    return err;
}

// The same with a buffer of just `bytes`.
static int run_buffered(pn_model_t *m, uint32_t bytes, const uint8_t *file, size_t n) {
    uint8_t *buffer = exactly(bytes);
    int err = pn_weights_buffer(m, buffer, bytes);
    if (err == PN_OK && pn_weights_buffer(m, buffer + 1, bytes) != PN_ERR_ALIGN) {
        die("a buffer that is askew was taken");
    }
    err = err ? err : run_streamed(m, file, n);
    if (err == PN_OK && pn_weights_leave(m) != buffer) {
        die("a buffer that is lost");
    }
    free(buffer);
    return err;
}

// With the smallest buffer, the largest, and some in between.
static int run_with_buffers(pn_model_t *m, const uint8_t *file, size_t n) {
    uint32_t least = m->weights.least, more = m->weights.most - least;
    if (least > 0 && run_buffered(m, least - 1, file, n) != PN_ERR_ARENA) {
        die("a buffer that is too small was taken");
    }
    int err = PN_OK;
    for (uint32_t i = 0; i < 4 && err == PN_OK; i++) {
        err = !chosen(i, 4) ? PN_OK : run_buffered(m, least + (uint32_t)((uint64_t)more * i / 3), file, n);
    }
    return err;
}

// What becomes of the bytes as a file. PN_MORE: too large to be run, so that its arrays were not looked at.
static int try_streamed(const uint8_t *file, size_t n) {
    pn_model_t m;
    size_t len = n < PN_HEADER_BYTES ? n : pn_prefix_bytes(file);
    len = len < n ? len : n;
    uint8_t *head = exactly(len);
    memcpy(head, file, len);
    int err = pn_open_streamed(&m, head, len);
    if (err == PN_OK) {
        uint32_t size = pn_u32(file + PN_HEADER_SIZE), at = pn_prefix_bytes(file);
        int more = size > n ? PN_ERR_LENGTH : pn_verify(&m, NULL, 0);
        while (more == PN_MORE) { // pieces of any size
            uint32_t piece = size - at < 7 ? size - at : 7;
            more = pn_verify(&m, file + at, piece);
            at += piece;
        }
        err = more;
    }
    if (err == PN_OK && too_much(&m)) {
        err = PN_MORE;
    } else if (err == PN_OK) {
        err = run_with_buffers(&m, file, n);
    }
    free(head);
    return err;
}

static void run_raw(pn_model_t *m, uint8_t *arena) {
    size_t n = (size_t)m->height * m->width * m->channels;
    int8_t *x = exactly(n);
    fill(x, n);
    prepare(m, arena);
    pn_start_raw(m, arena, m->arena_bytes, x); // a run that is given up after some steps
    for (uint32_t steps = choice % 64; steps > 0 && pn_step(m) == PN_MORE; steps--) {
    }
    pn_state(m);
    pn_release(m);
    prepare(m, arena);
    if (pn_start_raw(m, arena, m->arena_bytes, x) != PN_OK) {
        die("a raw run did not start");
    }
    finish(m);
    keep_scores(m);
    free(x);
}

// Hears samples as loud as can be, in chunks of seven, until two rows more than the network sees have come.
static void hear(pn_model_t *m, uint8_t *arena) {
    uint8_t pcm[14] = { 0, 0x80, 0xff, 0x7f, 0, 0x80, 0, 0x80, 0xff, 0x7f, 0xff, 0x7f, 0, 0 };
    pn_sound_t s = pn_sound(m);
    uint32_t most = 2 + (m->height < 50 ? m->height : 50u), score, at = 0;
    watch(m, arena);
    if (pn_listen(m, arena, m->arena_bytes) != PN_OK) {
        die("a stream did not begin");
    }
    while (m->state.hearing.fresh < most) {
        at += pn_hear(m, pcm + 2 * at, 7 - at);
        at = at < 7 ? at : 0;
    }
    if (pn_start_raw(m, arena, m->arena_bytes, pn_rows(m)) != PN_OK) {
        die("a run over rows did not start");
    }
    finish(m);
    if (pn_spot(m, &s, &score) >= (int32_t)m->classes || score > 65536) {
        die("an answer that is none");
    }
    check_reads();
    pn_listen_pause(m);
    if (!pn_listen_goes_on(m, arena)) {
        die("what was heard is gone");
    }
    pn_listen_end(m);
}

// What may be asked of any model, and what no model takes.
static void ask(pn_model_t *m, uint8_t *arena) {
    pn_model_t other;
    pn_info_t info;
    const char *text;
    pn_info(m, &info);
    if (pn_open(&other, m->blob + 1, pn_u32(m->blob + PN_HEADER_SIZE) - 1) != PN_ERR_ALIGN) {
        die("a blob that is askew was opened");
    }
    pn_op_t op = pn_op(m, m->layers - 1u);
    if (pn_labels(m, &text) > pn_u32(m->blob + PN_HEADER_SIZE) || op.kind > PN_KIND_INT8 || *pn_task_name(m) == 0) {
        die("a description that is none");
    }
    if (pn_start_raw(m, arena, m->arena_bytes - 1, (int8_t *)arena) != PN_ERR_ARENA
        || pn_start_raw(m, arena + 4, m->arena_bytes, (int8_t *)arena) != PN_ERR_ALIGN) {
        die("an arena was taken that is too small or askew");
    }
    if (pn_hears(m) && pn_listen(m, arena, m->arena_bytes - 1) != PN_ERR_ARENA) {
        die("a stream in an arena that is too small");
    }
}

// Runs on part of a small picture, on a larger one, on windows of both, and on raw input.
static void run(pn_model_t *m) {
    static const pn_image_t images[] = {
        { NULL, 5, 3, PN_RGB565, 1, 0, 4, 3, 0, 0 },
        { NULL, 23, 19, PN_RGB888, 0, 0, 23, 19, 0, 0 },
        { NULL, 40, 1, PN_GRAYSCALE, 0, 0, 40, 1, 0, 0 },
    };
    uint8_t *arena = exactly(m->arena_bytes);
    memset(arena, 0xa5, m->arena_bytes);
    ask(m, arena);
    for (uint32_t i = 0; i < 3 && pn_sees(m); i++) {
        if (chosen(i, 3)) {
            run_picture(m, arena, &images[i]);
        }
    }
    if (!pn_sees(m) && pn_start(m, arena, m->arena_bytes, &images[0]) != PN_ERR_PIXFMT) {
        die("a picture for a network that takes none");
    }
    if (pn_hears(m)) {
        hear(m, arena);
    }
    run_raw(m, arena);
    free(arena);
}

// Opens `n` bytes (copied to a block of just that size) and runs them if it may. Returns what pn_open said.
static int try
    (const uint8_t *bytes, size_t n) {
        uint8_t *blob = exactly(n);
        memcpy(blob, bytes, n);
        pn_model_t m;
        int err = pn_open(&m, blob, n);
        if (err != PN_OK) {
            if (err > 0 || err < PN_ERR_ROI || strcmp(pn_error(err), pn_error(PN_OK)) == 0) {
                die("an error without a name");
            }
            refused[-err]++;
        } else if (too_much(&m)) {
            too_large++;
        } else {
            opened++;
            run(&m);
        }
        free(blob);
        if (err != PN_OK && !chosen(0, 8)) {
            return err;
        }
        int streamed = try_streamed(bytes, n);
        if (streamed != PN_MORE && (streamed == PN_OK) != (err == PN_OK)) {
            die("a streamed blob is judged otherwise");
        }
        return err;
    }
