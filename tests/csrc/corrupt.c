// Damages a blob in every way that this file knows and lets the engine at it, under sanitizers: whatever the bytes say,
// pn_open refuses by name or a whole run stays inside blob, arena and picture, each of which is malloc'ed to the byte.
// The same for the blob streamed, whose head and buffer are malloc'ed as well, with the same outcome and the same
// scores.
//
//     corrupt BLOB                         every truncation, several flips of every byte, CRC left and CRC repaired
//     corrupt BLOB random SEED TIMES       several bytes at once, CRC repaired
//
// Prints how often each outcome occurred.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "patchnet.h"
#include "engine/blob/pn_format.h"

#define ARENA_MOST (1u << 26) // larger ones are counted, not run
#define OUTPUTS_MOST (1u << 22) // likewise

static unsigned long opened, too_large, refast[16];

static void die(const char *what) {
    fprintf(stderr, "corrupt: %s\n", what);
    exit(1);
}

static void *exactly(size_t n) {
    void *p = malloc(n ? n : 1);
    if (p == NULL) {
        die("out of memory");
    }
    return p;
}

static uint32_t get32(const uint8_t *p) {
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put32(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++) {
        p[i] = (uint8_t)(v >> 8 * i);
    }
}

static uint32_t crc32(uint32_t crc, const uint8_t *p, size_t n) {
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

// Before every run: whatever a detection network may write.
static void prepare(pn_model_t *m) {
    free(heads);
    heads = pn_detects(m) ? exactly(m->outputs) : NULL;
    if (pn_finds(m)) {
        pn_boxes_prepare(m, 20000, heads);
    }
}

static int32_t result(const pn_model_t *m, uint32_t i) {
    return pn_detects(m) ? heads[i] : pn_classifies(m) ? pn_logit(m, i) : pn_output(m, i);
}

static void keep_scores(const pn_model_t *m) {
    free(kept);
    kept = exactly(m->outputs * sizeof(*kept));
    for (uint32_t i = 0; i < m->outputs; i++) {
        kept[i] = result(m, i);
    }
}

static void compare_scores(const pn_model_t *m, const char *trouble) {
    for (uint32_t i = 0; i < m->outputs; i++) {
        if (kept[i] != result(m, i)) {
            die(trouble);
        }
    }
}

static void run_picture(pn_model_t *m, uint8_t *arena, const pn_image_t *image) {
    size_t n = (size_t)image->w * image->h * image->format;
    uint8_t *pixels = exactly(n);
    memset(pixels, 0xc3, n);
    pn_image_t own = *image;
    own.data = pixels;
    prepare(m);
    if (pn_start(m, arena, m->arena_bytes, &own) != PN_OK) {
        die("a run did not start");
    }
    finish(m);
    keep_scores(m);
    free(pixels);
}

// The same picture window by window, each a block of just its size. Comes after run_picture, whose logits it must give.
static void run_windows(pn_model_t *m, uint8_t *arena, const pn_image_t *image) {
    uint8_t *pixels = NULL;
    prepare(m);
    int err = pn_start(m, arena, m->arena_bytes, image);
    while ((err = pn_step(m)) == PN_MORE || err == PN_WINDOW) {
        if (err == PN_WINDOW) {
            pn_window_t w;
            pn_window(m, &w);
            free(pixels);
            pixels = exactly((size_t)w.w * w.h * image->format);
            memset(pixels, 0xc3, (size_t)w.w * w.h * image->format);
            if (w.x + w.w > image->w || w.y + w.h > image->h || pn_give(m, pixels, image->format) != PN_OK) {
                die("a window outside of the frame");
            }
        }
    }
    free(pixels);
    compare_scores(m, "windows give other scores");
}

static int read_wanted(pn_model_t *m, const uint8_t *file, size_t n) {
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
    memset(x, 0x7f, inputs);
    prepare(m);
    int err = pn_start_raw(m, arena, m->arena_bytes, x);
    while (err == PN_OK || err == PN_MORE || err == PN_WANT) {
        err = pn_step(m);
        if (err == PN_OK) {
            break;
        }
        err = err == PN_WANT ? read_wanted(m, file, n) : err;
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
    err = err ? err : run_streamed(m, file, n);
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
        err = run_buffered(m, least + (uint32_t)((uint64_t)more * i / 3), file, n);
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
        uint32_t size = get32(file + PN_HEADER_SIZE), at = pn_prefix_bytes(file);
        int more = size > n ? PN_ERR_LENGTH : pn_verify(&m, NULL, 0);
        while (more == PN_MORE) { // pieces of any size
            uint32_t piece = size - at < 7 ? size - at : 7;
            more = pn_verify(&m, file + at, piece);
            at += piece;
        }
        err = more;
    }
    if (err == PN_OK && (m.arena_bytes > ARENA_MOST || m.outputs > OUTPUTS_MOST)) {
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
    memset(x, 0x7f, n);
    prepare(m);
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
}

// Runs on part of a small picture, on a larger one, on windows of both, and on raw input.
static void run(pn_model_t *m) {
    static const pn_image_t images[] = {
        { NULL, 5, 3, PN_RGB565, 1, 0, 4, 3, 0, 0 },
        { NULL, 23, 19, PN_RGB888, 0, 0, 23, 19, 0, 0 },
    };
    uint8_t *arena = exactly(m->arena_bytes);
    memset(arena, 0xa5, m->arena_bytes);
    for (int i = 0; i < 2 && pn_sees(m); i++) {
        run_picture(m, arena, &images[i]);
        run_windows(m, arena, &images[i]);
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
static int try(const uint8_t *bytes, size_t n) {
    uint8_t *blob = exactly(n);
    memcpy(blob, bytes, n);
    pn_model_t m;
    int err = pn_open(&m, blob, n);
    if (err != PN_OK) {
        if (err > 0 || err < PN_ERR_ROI || strcmp(pn_error(err), pn_error(PN_OK)) == 0) {
            die("an error without a name");
        }
        refast[-err]++;
    } else if (m.arena_bytes > ARENA_MOST || m.outputs > OUTPUTS_MOST) {
        too_large++;
    } else {
        opened++;
        run(&m);
    }
    free(blob);
    int streamed = try_streamed(bytes, n);
    if (streamed != PN_MORE && (streamed == PN_OK) != (err == PN_OK)) {
        die("a streamed blob is judged otherwise");
    }
    return err;
}

static void truncations(uint8_t *blob, size_t n) {
    for (size_t len = 0; len < n; len++) {
        if (try(blob, len) != PN_ERR_LENGTH) {
            die("a truncated blob was not refast for its length");
        }
        if (len >= PN_HEADER_BYTES) {
            uint8_t *shorter = exactly(len);
            memcpy(shorter, blob, len);
            put32(shorter + PN_HEADER_SIZE, (uint32_t)len);
            repair_crc(shorter, len);
            try(shorter, len);
            free(shorter);
        }
    }
}

static void every_byte(uint8_t *blob, size_t n) {
    static const uint8_t flips[] = { 0x01, 0x02, 0x04, 0x10, 0x40, 0x80, 0xff };
    for (size_t at = 0; at < n; at++) {
        uint8_t was = blob[at];
        for (size_t i = 0; i < sizeof(flips); i++) {
            blob[at] = was ^ flips[i];
            if (try(blob, n) == PN_OK) {
                die("damage was not noticed");
            }
            repair_crc(blob, n);
            try(blob, n);
            blob[at] = was;
            repair_crc(blob, n);
        }
    }
}

static uint32_t chance(uint64_t *state, uint32_t below) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % below;
}

// 1 to 4 places, half of them in the tables, which end where the labels begin: a random byte, or a small or extreme
// number.
static void random_damage(const uint8_t *good, size_t n, uint64_t seed, unsigned long times) {
    static const uint8_t likely[] = { 0, 1, 2, 3, 4, 7, 8, 16, 0x7f, 0x80, 0xff };
    uint8_t *blob = exactly(n);
    uint32_t tables = get32(good + PN_HEADER_LABEL_OFF);
    while (times-- > 0) {
        memcpy(blob, good, n);
        for (uint32_t k = chance(&seed, 4) + 1; k > 0; k--) {
            uint32_t at = chance(&seed, chance(&seed, 2) ? tables : (uint32_t)n);
            blob[at] = chance(&seed, 2) ? likely[chance(&seed, sizeof(likely))] : (uint8_t)chance(&seed, 256);
        }
        repair_crc(blob, n);
        try(blob, n);
    }
    free(blob);
}

static uint8_t *read_file(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    if (f == NULL || fseek(f, 0, SEEK_END) != 0) {
        die("cannot read the blob");
    }
    *n = (size_t)ftell(f);
    rewind(f);
    uint8_t *blob = exactly(*n);
    if (fread(blob, 1, *n, f) != *n) {
        die("cannot read the blob");
    }
    fclose(f);
    return blob;
}

int main(int argc, char **argv) {
    if (argc != 2 && argc != 5) {
        die("usage: corrupt BLOB [random SEED TIMES]");
    }
    size_t n;
    uint8_t *blob = read_file(argv[1], &n);
    if (try(blob, n) != PN_OK) {
        die("the blob is bad before any damage");
    }
    if (argc == 2) {
        truncations(blob, n);
        every_byte(blob, n);
    } else {
        random_damage(blob, n, strtoull(argv[3], NULL, 10), strtoul(argv[4], NULL, 10));
    }
    printf("ran %lu\ntoo large %lu\n", opened, too_large);
    for (int err = 1; err <= -PN_ERR_ROI; err++) {
        printf("%s %lu\n", pn_error(-err), refast[err]);
    }
    free(blob);
    return 0;
}
