// Blobs between pages that nobody may touch, on the PC or under qemu-arm: what a run gives is printed as one number,
// for tests to compare processors, word sizes and kernels. Blob, arena, picture, input and buffer each end where a page
// without access begins, or begin where one ends. Without a C library, so that a bare compiler's objects run under
// Linux.
//
//     replay < FILE    blobs, each behind its length as u32; prints "<what pn_open said> <hash>" for each
#include <stdint.h>
#include <string.h>

#include "patchnet.h"
#include "engine/blob/pn_arrays.h"
#include "engine/blob/pn_blob.h"

#define PAGE 4096
#define ARENA_MOST (1u << 20)
#define WORK_MOST 2000000

#ifdef __arm__
enum { SYS_EXIT = 1, SYS_READ = 3, SYS_WRITE = 4, SYS_MUNMAP = 91, SYS_MPROTECT = 125, SYS_MMAP = 192 };

static long call(long n, long a, long b, long c, long d) {
    register long r7 __asm__("r7") = n, r0 __asm__("r0") = a, r1 __asm__("r1") = b, r2 __asm__("r2") = c,
                       r3 __asm__("r3") = d, r4 __asm__("r4") = -1, r5 __asm__("r5") = 0;
    __asm__ volatile("svc 0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2), "r"(r3), "r"(r4), "r"(r5) : "memory");
    return r0;
}

#define read(file, p, n) call(SYS_READ, file, (long)(p), (long)(n), 0)
#define write(file, p, n) call(SYS_WRITE, file, (long)(p), (long)(n), 0)
#define munmap(p, n) call(SYS_MUNMAP, (long)(p), (long)(n), 0, 0)
#define mprotect(p, n, how) call(SYS_MPROTECT, (long)(p), (long)(n), how, 0)
#define mmap(at, n, how, flags, file, from) (void *)call(SYS_MMAP, at, (long)(n), how, flags)
#define _exit(n) call(SYS_EXIT, n, 0, 0, 0)
#define PROT_NONE 0
#define PROT_READ 1
#define PROT_WRITE 2
#define MAP_PRIVATE 2
#define MAP_ANONYMOUS 32
int main(void);
void _start(void);
void _start(void) {
    _exit(main());
}
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

static void say(const char *text) {
    if (write(1, text, strlen(text)) < 0) {
        _exit(2);
    }
}

static void say_hex(uint32_t v) {
    char text[9];
    for (int i = 0; i < 8; i++) {
        text[i] = "0123456789abcdef"[v >> (28 - 4 * i) & 15];
    }
    text[8] = 0;
    say(text);
}

static void die(const char *what) {
    say(what);
    say("\n");
    _exit(1);
}

// `n` bytes at a multiple of `align`, with pages around that nobody may touch: the one behind as near as that allows,
// or (`front`) the one before.
typedef struct {
    uint8_t *pages, *at;
    size_t bytes, n;
} guarded_t;

static guarded_t guarded(size_t n, size_t align, bool front) {
    guarded_t g = { .n = n, .bytes = (n + PAGE - 1) / PAGE * PAGE + 2 * PAGE };
    g.pages = mmap(0, g.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if ((uintptr_t)g.pages > UINTPTR_MAX - PAGE) {
        die("no memory");
    }
    memset(g.pages, 0xa5, g.bytes);
    mprotect(g.pages, PAGE, PROT_NONE);
    mprotect(g.pages + g.bytes - PAGE, PAGE, PROT_NONE);
    g.at = front ? g.pages + PAGE : g.pages + g.bytes - PAGE - (n + align - 1) / align * align;
    return g;
}

static void give_back(guarded_t *g) {
    for (uint8_t *p = g->pages + PAGE; p < g->pages + g->bytes - PAGE; p++) {
        if ((p < g->at || p >= g->at + g->n) && *p != 0xa5) {
            die("bytes beside were written");
        }
    }
    munmap(g->pages, g->bytes);
}

static uint32_t hash;

static void mix(uint32_t v) {
    hash = (hash ^ v) * 16777619u;
}

static void fill(uint8_t *p, size_t n) {
    uint32_t state = (uint32_t)n;
    for (; n > 0; n--) {
        state = state * 1664525 + 1013904223;
        *p++ = (uint8_t)(state >> 24);
    }
}

// Of a float32 network; all that are no numbers are alike.
static void mix_value(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    mix(value == value ? bits : UINT32_MAX);
}

static void mix_results(pn_model_t *m, const guarded_t *heads) {
    for (uint32_t i = 0; i < m->outputs; i++) {
        if (pn_floats(m)) {
            mix_value(pn_value(m, i));
            continue;
        }
        mix((uint32_t)(pn_detects(m) ? ((int8_t *)heads->at)[i] : pn_classifies(m) ? pn_logit(m, i) : pn_output(m, i)));
    }
    uint32_t n = pn_boxes(m, 29491);
    for (uint32_t i = 0; i < n; i++) {
        pn_box_t b;
        pn_box(m, i, &b);
        mix(b.x ^ b.y << 16);
        mix(b.w ^ b.h << 16);
        mix(b.label);
        mix(b.score);
    }
    if (pn_classifies(m)) {
        pn_softmax_t s;
        pn_softmax(m, &s);
        for (uint32_t i = 0; i < m->classes; i++) {
            mix(pn_score(m, &s, i));
        }
    }
}

// To its end; a streamed blob's weights come from `file`.
static void finish(pn_model_t *m, const uint8_t *file, const guarded_t *heads) {
    int err;
    while ((err = pn_step(m)) > PN_OK) {
        if (err == PN_WANT) {
            memcpy(m->weights.buffer + m->weights.want_to, file + m->weights.want_at, m->weights.want_bytes);
        }
    }
    if (err != PN_OK) {
        die("a run did not end well");
    }
    mix_results(m, heads);
}

static void run_picture(pn_model_t *m, guarded_t *arena, const guarded_t *heads, pn_pixfmt_t format) {
    pn_image_t image = { NULL, 29, 17, format, 1, 2, 27, 15, 0, 0 };
    guarded_t pixels = guarded((size_t)29 * 17 * format, 1, format == PN_RGB565);
    fill(pixels.at, pixels.n);
    image.data = pixels.at;
    if (pn_sees(m)) {
        pn_boxes_prepare(m, 20000, (int8_t *)heads->at);
        if (pn_start(m, arena->at, arena->n, &image) != PN_OK) {
            die("a picture was refused");
        }
        finish(m, NULL, heads);
    }
    give_back(&pixels);
}

static void run_raw(pn_model_t *m, guarded_t *arena, const guarded_t *heads, const uint8_t *file) {
    guarded_t x = guarded((size_t)m->height * m->width * m->channels, 1, file != NULL);
    fill(x.at, x.n);
    pn_boxes_prepare(m, 20000, (int8_t *)heads->at);
    if (pn_start_raw(m, arena->at, arena->n, (int8_t *)x.at) != PN_OK) {
        die("an input was refused");
    }
    finish(m, file, heads);
    give_back(&x);
}

static void hear(pn_model_t *m, guarded_t *arena, const guarded_t *heads) {
    guarded_t pcm = guarded(14, 1, false);
    pn_sound_t s = pn_sound(m);
    uint32_t score = 0;
    fill(pcm.at, pcm.n);
    pn_listen(m, arena->at, arena->n);
    while (m->state.hearing.fresh < 3) {
        pn_hear(m, pcm.at, 7);
    }
    pn_start_raw(m, arena->at, arena->n, pn_rows(m));
    finish(m, NULL, heads);
    mix((uint32_t)pn_spot(m, &s, &score));
    mix(score);
    give_back(&pcm);
}

static void run_streamed(const uint8_t *blob, guarded_t *arena, const guarded_t *heads, bool most) {
    uint32_t n = pn_prefix_bytes(blob);
    guarded_t prefix = guarded(n, 4, most);
    memcpy(prefix.at, blob, n);
    pn_model_t m;
    if (pn_open_streamed(&m, prefix.at, n) != PN_OK) {
        die("a streamed blob was refused");
    }
    guarded_t buffer = guarded(most ? m.weights.most : m.weights.least, 4, false);
    pn_weights_buffer(&m, buffer.at, (uint32_t)buffer.n);
    run_raw(&m, arena, heads, blob);
    give_back(&buffer);
    give_back(&prefix);
}

static uint64_t work(const pn_model_t *m) {
    pn_layer_t l;
    uint64_t sum = 0;
    uint32_t end;
    for (uint32_t i = 0; i < m->all_layers; i++) {
        pn_layer_read(m, m->tunnels - 1u, i, &l);
        pn_check_layer_arrays(m, &l, &end);
        sum += (end - l.weight_off + (uint64_t)l.y.kernel * l.x.kernel * l.cin) * l.oh * l.ow * m->tunnels;
    }
    return sum;
}

static int replay(const uint8_t *bytes, size_t n) {
    guarded_t blob = guarded(n, 4, false);
    memcpy(blob.at, bytes, n);
    mprotect(blob.pages + PAGE, blob.bytes - 2 * PAGE, PROT_READ);
    pn_model_t m;
    int err = pn_open(&m, blob.at, n);
    mix(m.fault_layer);
    if (err == PN_OK && m.arena_bytes <= ARENA_MOST && m.outputs <= ARENA_MOST && work(&m) <= WORK_MOST) {
        guarded_t arena = guarded(m.arena_bytes, 8, false), heads = guarded(m.outputs, 1, false);
        run_picture(&m, &arena, &heads, PN_RGB565);
        run_picture(&m, &arena, &heads, PN_RGB888);
        if (pn_hears(&m)) {
            hear(&m, &arena, &heads);
        }
        run_raw(&m, &arena, &heads, NULL);
        run_streamed(blob.at, &arena, &heads, false);
        run_streamed(blob.at, &arena, &heads, true);
        give_back(&arena);
        give_back(&heads);
    }
    munmap(blob.pages, blob.bytes);
    return err;
}

static bool read_all(uint8_t *p, size_t n) {
    while (n > 0) {
        long got = read(0, p, n);
        if (got <= 0) {
            return false;
        }
        p += got;
        n -= (size_t)got;
    }
    return true;
}

int main(void) {
    static uint8_t head[4], bytes[1 << 17];
    while (read_all(head, 4)) {
        uint32_t n = pn_u32(head);
        if (n > sizeof(bytes) || !read_all(bytes, n)) {
            die("a blob that is too long, or cut off");
        }
        hash = 2166136261u;
        int err = replay(bytes, n);
        say(err == PN_OK ? "ran" : pn_error(err));
        say(" ");
        say_hex(hash);
        say("\n");
    }
    return 0;
}
