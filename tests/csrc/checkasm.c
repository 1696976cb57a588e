// Runs on the bare emulated Cortex-M7 (test_checkasm.py): the kernels of modpatchnet/engine/kernels/armv7em against the
// portable C of the same image, which is compiled under names that begin with ref_. Random shapes and integers, half of
// them extreme; every area lies between guard bytes. Prints the failing parameters, or how much was compared.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/kernels/pn_conv.h"
#include "engine/kernels/pn_fast.h"

#if !PN_DSP
#error "this compares the kernels of modpatchnet/engine/kernels/armv7em, which need the DSP extension"
#endif

pn_fast_area_t ref_fast_area(const pn_fast_t *f);
void ref_fast_begin(const pn_fast_t *f);
void ref_fast_take(const pn_fast_t *f, pn_pixels_t in, uint32_t y, uint32_t from, uint32_t to);
void ref_fast_line(const pn_fast_t *f, const pn_fast_lines_t *l, uint32_t from, uint32_t to);

void ref_conv_pixels(const pn_conv_t *c, int x0, uint32_t pixels, int8_t *out, int step);
void ref_pool_add(const int8_t *in, int n, int channels, int zero, int32_t *acc);
int32_t ref_dot(const int8_t *a, const int8_t *b, int n, int32_t bias);
void ref_dots(const int8_t *x, const int8_t *w, int n, int step, int outputs, int32_t *sums);
void ref_add_products(const uint8_t *in, bool is_signed, const int8_t *weight, int n, int32_t *acc);
void ref_add_rows(const uint8_t *in, bool is_signed, int count, const int8_t *weight, int step, int n, int32_t *acc);

// ---------------------------------------------------------------- the machine

extern uint32_t bss_begin, bss_end, stack_top;
void reset(void);
void fault(void);

// clang-format off
__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    &stack_top, reset, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault,
};
// clang-format on

// A call of the debugger that the emulator plays.
static void semihosting(uint32_t op, const void *argument) {
    register uint32_t r0 __asm("r0") = op;
    register const void *r1 __asm("r1") = argument;
    __asm volatile ("bkpt 0xab" : "+r" (r0) : "r" (r1) : "memory");
}

static void print(const char *text) {
    semihosting(4, text);
}

static void number(const char *name, int32_t value) {
    char text[12], *p = text + sizeof(text) - 1;
    uint32_t left = value < 0 ? 0u - (uint32_t)value : (uint32_t)value;
    *p = 0;
    do {
        *--p = (char)('0' + left % 10);
        left /= 10;
    } while (left);
    print(name);
    print(value < 0 ? "-" : "");
    print(p);
}

static void leave(bool ok) {
    semihosting(0x18, (const void *)(ok ? 0x20026 : 0x20023));
    for (;;) {
    }
}

void fault(void) {
    print("a fault of the processor\n");
    leave(false);
}

// the only library that the engine needs; -fno-builtin keeps these loops from calling themselves
void *memset(void *to, int value, size_t n) {
    for (uint8_t *p = to; n > 0; n--) {
        *p++ = (uint8_t)value;
    }
    return to;
}

void *memcpy(void *to, const void *from, size_t n) {
    const uint8_t *in = from;
    for (uint8_t *p = to; n > 0; n--) {
        *p++ = *in++;
    }
    return to;
}

static uint32_t random_state = SEED;

static uint32_t any(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state >> 3;
}

static uint32_t from_to(uint32_t lo, uint32_t hi) {
    return lo + any() % (hi - lo + 1);
}

static bool one_in(uint32_t n) {
    return any() % n == 0;
}

// ---------------------------------------------------------------- memory with guards

#define GUARD 32
#define GUARD_BYTE 0x5a

// Room for an area that begins `offset` bytes after a multiple of 16.
typedef struct {
    uint8_t *room, *at;
    uint32_t size, used, offset;
} area_t;

// `used` bytes of an area, filled with `fill`, guards around them. False if there is not room for so many.
static bool lay_out(area_t *a, uint32_t used, uint32_t offset, uint8_t fill) {
    a->at = a->room + GUARD + offset;
    a->used = used;
    if (used + offset + 2 * GUARD > a->size) {
        return false;
    }
    memset(a->room, GUARD_BYTE, offset + used + 2 * GUARD);
    memset(a->at, fill, used);
    return true;
}

static bool guarded(const area_t *a) {
    for (const uint8_t *p = a->room; p < a->at + a->used + GUARD; p++) {
        if ((p < a->at || p >= a->at + a->used) && *p != GUARD_BYTE) {
            return false;
        }
    }
    return true;
}

#define AREA(name, bytes) \
    static uint8_t name##_room[bytes] __attribute__((aligned(16))); \
    static area_t name = { name##_room, NULL, sizeof(name##_room), 0, 0 }

AREA(input, 120000);
AREA(arrays, 220000);
AREA(output, 120000);
AREA(wanted, 120000);
AREA(wide, 300000);
AREA(work, 300000);

// ---------------------------------------------------------------- bottlenecks

// The map of a case: lines of pixels, line after line or, `across`, pixel after pixel; what the kernel reaches above
// and below it, before and behind its lines; and the strips of a line's output pixels.
typedef struct {
    uint32_t lines_in, lines_out, cross_in, cross_out, strip;
    uint32_t above, below, before, behind;
    bool across, residual, extreme, parts;
    pn_fast_t f;
} fast_t;

// Which implementation runs.
typedef struct {
    void (*begin)(const pn_fast_t *f);
    void (*take)(const pn_fast_t *f, pn_pixels_t in, uint32_t y, uint32_t from, uint32_t to);
    void (*line)(const pn_fast_t *f, const pn_fast_lines_t *l, uint32_t from, uint32_t to);
    bool parts; // group by group, if the case is such a one
} fast_kernels_t;

static const fast_kernels_t tested = { pn_fast_begin, pn_fast_take, pn_fast_line, true };
static const fast_kernels_t reference = { ref_fast_begin, ref_fast_take, ref_fast_line, false };

// What the kernel reaches outside the map at both ends of `n` lines or pixels. Returns how many come out.
static uint32_t random_pads(const fast_t *c, uint32_t n, uint32_t *first, uint32_t *last) {
    uint32_t most = c->f.kernel - 1u;
    *first = one_in(2) ? most / 2 : from_to(0, most);
    *last = c->residual ? most - *first : one_in(2) ? most / 2 : from_to(0, most);
    *last = n + *first + *last > most ? *last : most;
    return (n + *first + *last - c->f.kernel) / c->f.stride + 1;
}

static void random_fast(fast_t *c) {
    static const uint16_t cins[] = { 1, 2, 3, 3, 4, 5, 7, 8, 8, 8, 9, 12, 16, 20, 24, 28, 31, 32, 36, 40, 64, 68, 72,
        96, 132, 260, 508 };
    static const uint8_t kernels[] = { 3, 3, 3, 5, 7 };
    pn_fast_t *f = &c->f;
    memset(c, 0, sizeof(*c));
    f->expands = !one_in(5);
    f->kernel = f->expands ? kernels[any() % sizeof(kernels)] : 3;
    f->stride = (uint8_t)from_to(1, 2);
    f->sweep = f->expands && one_in(2);
    f->sums24 = one_in(2);
    f->cexp = (uint16_t)(4 * (one_in(8) ? one_in(4) ? from_to(71, 200) : from_to(13, 70) : from_to(1, 12)));
    f->sums24 = f->sums24 && f->cexp <= 256; // whatever the weights
    f->cin = f->expands ? cins[any() % (sizeof(cins) / sizeof(cins[0]))] : f->cexp;
    f->as_bytes = f->expands && f->cin % 4 == 0 && one_in(2);
    c->residual = f->stride == 1 && f->cin % 2 == 0 && one_in(2);
    f->cout = c->residual ? f->cin : (uint16_t)(2 * from_to(1, 14));
    f->group = one_in(2) ? f->cexp : (uint16_t)(4 * from_to(1, f->cexp / 4));
    f->group = f->group < f->cexp && f->group > 256 ? 256 : f->group;
    c->lines_in = from_to(1, 9);
    c->cross_in = one_in(6) ? from_to(10, 22) : from_to(1, 9);
    c->lines_out = random_pads(c, c->lines_in, &c->above, &c->below);
    c->cross_out = random_pads(c, c->cross_in, &c->before, &c->behind);
    f->lines = (uint16_t)(f->sweep ? from_to(1, c->lines_out) : 1);
    c->strip = one_in(2) ? c->cross_out : from_to(1, c->cross_out);
    c->across = one_in(2);
    c->extreme = one_in(2);
    c->parts = one_in(2);
    f->zero_in = (int8_t)any();
    f->shift = (uint8_t)(one_in(3) ? from_to(1, 3) : 0);
    f->shift_expand = (uint8_t)(f->expands && one_in(3) ? from_to(1, PN_FAST_SHIFT) : 0);
    f->shift_expand = f->cin > 128 && f->shift_expand > 5 ? 5 : f->shift_expand; // sums of so many are refused
    f->shift_depthwise = (uint8_t)(one_in(3) ? from_to(1, PN_FAST_SHIFT) : 0);
    f->res_mult = c->residual ? (int32_t)from_to(1, one_in(4) ? 32767 : 500) : 0;
    f->zero_q8 = 256 * (int8_t)any() + 128 - f->res_mult * f->zero_in;
}

static int8_t random_value(bool extreme, int8_t least) {
    int8_t v = (int8_t)any();
    return extreme ? (one_in(2) ? 127 : least) : v < least ? least : v;
}

static void put32(uint8_t *p, int32_t v) {
    memcpy(p, &v, 4);
}

// A bias with which sums of `products` products fit int32 when they are shifted, one in eight as large as may be; and a
// multiplier that makes few bits of the largest ones, or any.
static void random_scale(uint8_t *bias_at, uint8_t *mult_at, uint32_t products, uint32_t shift) {
    uint32_t sums = products << 15, room = (INT32_MAX >> shift) - sums, small = room < 8192 ? room : 8192;
    uint32_t size = one_in(8) ? room - from_to(0, small) : from_to(0, small);
    uint64_t most = (1ull << (32 + from_to(7, 17))) / ((uint64_t)(sums + size) << shift);
    most = most < INT32_MAX && !one_in(6) ? most + 1 : INT32_MAX - from_to(0, 1 << from_to(0, 30));
    put32(bias_at, one_in(2) ? (int32_t)size : -(int32_t)size);
    put32(mult_at, (int32_t)most);
}

static void random_weights(uint8_t *p, uint32_t n, bool extreme) {
    bool most = extreme && one_in(3); // of sums, too
    for (uint32_t i = 0; i < n; i++) {
        p[i] = most ? 127 : (uint8_t)random_value(extreme, -128);
    }
}

// The depthwise weights of a channel: those that lie there twice are the same, those that are none are zero.
static void random_taps(const pn_fast_t *f, uint8_t *p, bool extreme) {
    random_weights(p, (uint32_t)f->kernel * (f->kernel - 1) * 2, extreme);
    if (f->kernel == 3 && f->stride == 2) {
        p[9] = p[10] = p[11] = 0;
    } else if (f->kernel == 3 && f->expands) {
        p[8] = p[7];
        p[9] = p[11] = 0;
    } else {
        for (uint32_t i = 0; i < f->kernel * (f->kernel - 1u) * 2; i += 4) {
            p[i + 2] = p[i + 1];
            if (i % ((f->kernel - 1u) * 2) > 0) {
                p[i] = p[i - 1];
            }
        }
    }
}

// The arrays of `n` channels; returns what comes behind them.
static uint8_t *random_group(const fast_t *c, uint8_t *p, uint32_t n) {
    const pn_fast_t *f = &c->f;
    pn_fast_arrays_t a = pn_fast_arrays(f);
    for (uint32_t i = 0; i < n / 2 && f->expands; i++, p += a.pair) {
        random_scale(p, p + 8, f->cin, f->shift_expand);
        random_scale(p + 4, p + 12, f->cin, f->shift_expand);
        random_weights(p + 16, a.pair - 16, c->extreme);
    }
    random_weights(p, n * f->cout, c->extreme);
    p += n * a.project;
    for (uint32_t i = 0; i < n; i++, p += a.channel) {
        random_taps(f, p, c->extreme);
        random_scale(p + a.channel - 8, p + a.channel - 4, (uint32_t)f->kernel * f->kernel, f->shift_depthwise);
    }
    return p;
}

static bool random_arrays(fast_t *c) {
    pn_fast_t *f = &c->f;
    pn_fast_arrays_t a = pn_fast_arrays(f);
    if (!lay_out(&arrays, a.narrow + f->cexp * a.each, 0, 0)) {
        return false;
    }
    uint8_t *p = arrays.at;
    f->narrow = (const int32_t *)(const void *)p;
    for (uint32_t i = 0; i < f->cout / 2u; i++, p += 16) {
        for (uint32_t j = 0; j < 8; j += 4) {
            int32_t room = (1 << 23) - 1 - 255 * 128 * (int32_t)f->cexp,
                    bias = (int32_t)from_to(0, 1 << 15) - (1 << 14);
            bias = f->sums24 && one_in(4) ? (one_in(2) ? room : -room) : bias;
            put32(p + j, bias);
            put32(p + 8 + j, (int32_t)(from_to(1 << 24, INT32_MAX >> 1) >> from_to(0, 4)));
        }
    }
    f->arrays = p;
    for (uint32_t from = 0; from < f->cexp; from += f->group) {
        p = random_group(c, p, pn_fast_group(f, from));
    }
    return true;
}

static pn_pixels_t pixels_at(const fast_t *c, uint8_t *map, uint32_t lines, uint32_t cross, uint32_t channels,
    uint32_t line, uint32_t pixel) {
    pn_pixels_t p = { (int8_t *)map, (int)(c->across ? lines * channels : channels) };
    p.at += (c->across ? pixel * lines + line : line * cross + pixel) * channels;
    return p;
}

// The layer when its channels from..to-1 are done now, in parts with their arrays alone.
static pn_fast_t part_of(const fast_t *c, const fast_kernels_t *kernels, uint32_t from) {
    pn_fast_t f = c->f;
    if (kernels->parts && c->parts) {
        f.arrays += from * pn_fast_arrays(&f).each;
        f.first = (uint16_t)from;
    }
    return f;
}

// Channels that are done together from `from` on.
static uint32_t together(const fast_t *c, const fast_kernels_t *kernels, uint32_t from) {
    const pn_fast_t *f = &c->f;
    return f->sweep || (kernels->parts && c->parts) ? from + pn_fast_group(f, from) : f->cexp;
}

// Input line `y` of the strip.
static pn_pixels_t in_line(const fast_t *c, int y, uint32_t pixel) {
    pn_pixels_t outside = { NULL, 0 };
    return y < 0 || y >= (int)c->lines_in
        ? outside
        : pixels_at(c, input.at, c->lines_in, c->cross_in, c->f.cin, (uint32_t)y, pixel);
}

// Takes in the lines that output line `o` finds there, those below the map too; mode 6: channels from..to-1.
static void take_lines(const fast_t *c, const fast_kernels_t *kernels, uint32_t o, uint32_t pixel, uint32_t from,
    uint32_t to) {
    int top = (int)(o * c->f.stride) - (int)c->above;
    for (int y = top < 0 ? 0 : top; y < top + c->f.kernel - c->f.stride; y++) {
        for (uint32_t at = from, end; at < to; at = end) {
            pn_fast_t part = part_of(c, kernels, at);
            end = together(c, kernels, at);
            kernels->take(&part, in_line(c, y, pixel), (uint32_t)y, at, end);
        }
    }
}

// Output line `o` of a strip, `line` of its chunk; mode 6: channels from..to-1.
static void fast_line(const fast_t *c, const fast_kernels_t *kernels, uint32_t o, uint32_t line, uint32_t pixel,
    uint32_t out_from, uint32_t from, uint32_t to, uint8_t *map) {
    const pn_fast_t *f = &c->f;
    pn_fast_lines_t l = { .top = (int)(o * f->stride) - (int)c->above };
    uint32_t n = pn_fast_lines(f);
    for (uint32_t i = 0; i < n; i++) {
        l.in[i] = in_line(c, l.top + (int)(f->kernel - n + i), pixel);
    }
    if (c->residual) {
        l.residual = pixels_at(c, input.at, c->lines_in, c->cross_in, f->cin, o, out_from);
    }
    l.out = pixels_at(c, map, c->lines_out, c->cross_out, f->cout, o, out_from);
    for (uint32_t at = from, end; at < to; at = end) {
        pn_fast_t part = part_of(c, kernels, at);
        part.line = (uint16_t)line;
        end = together(c, kernels, at);
        kernels->line(&part, &l, at, end);
    }
}

// The lines of a strip in mode 5 ...
static void roll(const fast_t *c, const fast_kernels_t *kernels, uint32_t pixel, uint32_t out_from, uint8_t *map) {
    if (c->f.expands) {
        kernels->begin(&c->f);
        take_lines(c, kernels, 0, pixel, 0, c->f.cexp);
    }
    for (uint32_t o = 0; o < c->lines_out; o++) {
        fast_line(c, kernels, o, 0, pixel, out_from, 0, c->f.cexp, map);
    }
}

// ... and in mode 6.
static void sweep(const fast_t *c, const fast_kernels_t *kernels, uint32_t pixel, uint32_t out_from, uint8_t *map) {
    const pn_fast_t *f = &c->f;
    for (uint32_t first = 0; first < c->lines_out; first += f->lines) {
        for (uint32_t from = 0; from < f->cexp; from += f->group) {
            uint32_t to = from + pn_fast_group(f, from);
            kernels->begin(f);
            take_lines(c, kernels, first, pixel, from, to);
            for (uint32_t i = 0; i < f->lines && first + i < c->lines_out; i++) {
                fast_line(c, kernels, first + i, i, pixel, out_from, from, to, map);
            }
        }
    }
}

// The whole map, strip after strip, into `to`. False if a guard was touched.
static bool run_fast(fast_t *c, const fast_kernels_t *kernels, uint8_t *to) {
    pn_fast_t *f = &c->f;
    for (uint32_t out_from = 0; out_from < c->cross_out; out_from += c->strip) {
        uint32_t left = c->cross_out - out_from;
        int first = (int)(out_from * f->stride) - (int)c->before, in_from = first < 0 ? 0 : first;
        f->out = (uint16_t)(left < c->strip ? left : c->strip);
        int end = first + (f->out - 1) * f->stride + f->kernel;
        f->in = (uint16_t)((end < (int)c->cross_in ? end : (int)c->cross_in) - in_from);
        f->pad = (uint8_t)(in_from - first);
        pn_fast_area_t a = pn_fast_area(f);
        if (!lay_out(&wide, a.wide, wide.offset, (uint8_t)any())
            || !lay_out(&work, a.work, work.offset, (uint8_t)any())) {
            return false;
        }
        f->wide = wide.at;
        f->work = work.at;
        (f->sweep ? sweep : roll)(c, kernels, (uint32_t)in_from, out_from, to);
        if (!guarded(&wide) || !guarded(&work)) {
            return false;
        }
    }
    return true;
}

static void print_fast(const fast_t *c) {
    const pn_fast_t *f = &c->f;
    number(": kernel ", f->kernel);
    number(", stride ", f->stride);
    number(", channels ", f->cin);
    number(" ", f->cexp);
    number(" ", f->cout);
    number(", expansion ", f->expands);
    number(", sweep ", f->sweep);
    number(", lines ", f->lines);
    number(", group ", f->group);
    number(", 24-bit sums ", f->sums24);
    number(", as bytes ", f->as_bytes);
    number(", shifts ", f->shift);
    number(" ", f->shift_expand);
    number(" ", f->shift_depthwise);
    number(", residual ", c->residual);
    number(", lines ", (int32_t)c->lines_in);
    number(" of ", (int32_t)c->cross_in);
    number(", pads ", (int32_t)c->above);
    number(" ", (int32_t)c->below);
    number(" ", (int32_t)c->before);
    number(" ", (int32_t)c->behind);
    number(", strip ", (int32_t)c->strip);
    number(", across ", c->across);
    number(", extreme ", c->extreme);
    print("\n");
}

// One random bottleneck by both: how many values were compared; 0: it is too large for this image; -1: they differ.
static int32_t check_fast(void) {
    fast_t c;
    random_fast(&c);
    uint32_t in = c.lines_in * c.cross_in * c.f.cin, out = c.lines_out * c.cross_out * c.f.cout, offset = from_to(0, 3);
    wide.offset = 4 * from_to(0, 3);
    work.offset = 4 * from_to(0, 3);
    if (!random_arrays(&c) || !lay_out(&input, in, offset, 0) || !lay_out(&output, out, offset, 0)
        || !lay_out(&wanted, out, 0, 1)) {
        return 0;
    }
    for (uint32_t i = 0; i < in; i++) {
        input.at[i] = (uint8_t)random_value(c.extreme, -128);
    }
    bool ok = run_fast(&c, &reference, wanted.at) && guarded(&wanted);
    print(ok ? "" : "portable C leaves its memory");
    if (ok) {
        ok = run_fast(&c, &tested, output.at) && guarded(&output) && guarded(&input) && guarded(&arrays);
        print(ok ? "" : "a kernel leaves its memory");
    }
    for (uint32_t i = 0; i < out && ok; i++) {
        ok = output.at[i] == wanted.at[i];
        if (!ok) {
            number("value ", (int32_t)i);
            number(": wanted ", (int8_t)wanted.at[i]);
            number(", got ", (int8_t)output.at[i]);
        }
    }
    if (!ok) {
        print_fast(&c);
    }
    return ok ? (int32_t)out : -1;
}

// ---------------------------------------------------------------- convolutions

// A line of output pixels, `chunk` at a time; `before`: pixels that the kernel reaches before the input line.
typedef struct {
    pn_conv_t c;
    uint32_t pixels, chunk;
    int before, step;
    bool extreme;
} conv_t;

static void random_conv(conv_t *t) {
    static const uint8_t kernels[] = { 1, 1, 3, 3, 5, 7 };
    pn_conv_t *c = &t->c;
    memset(t, 0, sizeof(*t));
    t->extreme = one_in(2);
    c->in.lines = kernels[any() % sizeof(kernels)];
    c->in.pixels = one_in(4) ? (int)from_to(1, 15) : c->in.lines;
    c->cin = (int)(one_in(4) ? from_to(9, c->in.lines * c->in.pixels > 9 ? 12 : 70) : from_to(1, 8));
    c->cout = (int)from_to(1, 19);
    c->stride = (int)from_to(1, 3);
    c->shift = (int)from_to(0, 2);
    c->res_mult = one_in(3) ? (int)from_to(1, 32767) : 0;
    c->zero_q8 = 256 * (int8_t)any() + 128 - c->res_mult * (int8_t)any();
    c->zero_step = c->cin <= 3 && one_in(2);
    c->in.w = (int)(one_in(6) ? from_to(10, 40) : from_to(1, 9));
    c->in.step = c->cin * (int)from_to(1, 3);
    bool across = one_in(2);
    if (one_in(4)) { // a picture's
        c->cin = c->in.lines = c->in.pixels = c->in.step = 3;
        across = one_in(4);
        c->zero_step = one_in(2);
    }
    c->in.line_step = across ? c->cin : c->cin * c->in.pixels;
    c->in.pixel_step = across ? c->cin * c->in.lines : c->cin;
    t->before = (int)from_to(0, (uint32_t)c->in.pixels - 1);
    t->pixels = (uint32_t)(c->in.w - 1 + t->before) / (uint32_t)c->stride + 1;
    t->chunk = 2 * from_to(1, 8);
    t->step = c->cout * (int)from_to(1, 3);
    c->x_step = c->cout * (int)from_to(1, 2);
}

static void random_scales(uint8_t *p, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        put32(p + 4 * i, (int32_t)from_to(0, 1 << 15) - (1 << 14));
        put32(p + 4 * (n + i), (int32_t)(from_to(1 << 24, INT32_MAX >> 1) >> from_to(0, 4)));
    }
}

// Two outputs: what makes weights fours is zero.
static void random_pair(uint8_t *p, uint32_t products, bool extreme) {
    static const uint8_t places[4] = { 0, 2, 1, 3 };
    uint8_t *end = p + (products + 3) / 4 * 8;
    random_weights(p, (uint32_t)(end - p), extreme);
    for (uint32_t i = products % 4; i % 4 > 0; i++) {
        memset(end - 8 + 2 * places[i], 0, 2);
    }
    random_scales(end, 2);
}

// Arrays one behind the other, as they lie in a blob, in pairs or not; the lines at `input`, some of them outside the map.
static bool random_conv_arrays(conv_t *t) {
    pn_conv_t *c = &t->c;
    uint32_t n = (uint32_t)c->cout, products = (uint32_t)(c->in.lines * c->in.pixels * c->cin);
    uint32_t line = (uint32_t)(c->in.w * c->in.step), lines = line * (uint32_t)c->in.lines;
    uint32_t added = c->res_mult ? t->pixels * (uint32_t)c->x_step : 0;
    uint32_t pair = n > 1 && !one_in(8) ? pn_pair_bytes((products + 3) / 4) : 0, bytes = (n + 1) / 2 * pair;
    if (!lay_out(&arrays, pair ? bytes : 8 * n + n * products, 0, 0)
        || !lay_out(&input, lines + added, from_to(0, 3), 0)) {
        return false;
    }
    c->pairs = pair ? arrays.at : NULL;
    for (uint32_t i = 0; i < bytes; i += pair) {
        random_pair(arrays.at + i, products, t->extreme);
    }
    if (!pair) {
        random_scales(arrays.at, n);
        random_weights(arrays.at + 8 * n, n * products, t->extreme);
    }
    c->bias = (const int32_t *)(const void *)arrays.at;
    c->mult = c->bias + n;
    c->weight = (const int8_t *)arrays.at + 8 * n;
    for (uint32_t i = 0; i < input.used; i++) {
        input.at[i] = (uint8_t)random_value(t->extreme, -128);
    }
    c->x = c->res_mult ? (int8_t *)input.at + lines : NULL;
    int inside = (int)from_to(0, (uint32_t)c->in.lines - 1);
    for (int l = 0; l < c->in.lines; l++) {
        c->in.rows[l] = l == inside || !one_in(6) ? input.at + (uint32_t)l * line : NULL;
    }
    return true;
}

static bool run_conv(conv_t *t, void (*make)(const pn_conv_t *c, int x0, uint32_t pixels, int8_t *out, int step),
    uint8_t *to) {
    pn_conv_t *c = &t->c;
    const int8_t *added = c->x;
    uint32_t quads = pn_window_quads(c);
    for (uint32_t x = 0; x < t->pixels; x += t->chunk) {
        uint32_t left = t->pixels - x, n = left < t->chunk ? left : t->chunk;
        if (!lay_out(&work, pn_conv_bytes(quads, n + n % 2), work.offset, (uint8_t)any())) {
            return false;
        }
        c->work = work.at;
        c->x = added == NULL ? NULL : added + x * (uint32_t)c->x_step;
        make(c, (int)x * c->stride - t->before, n, (int8_t *)to + x * (uint32_t)t->step, t->step);
        if (!guarded(&work)) {
            return false;
        }
    }
    c->x = added;
    return true;
}

static void print_conv(const conv_t *t) {
    number(": kernel ", t->c.in.lines);
    number(" ", t->c.in.pixels);
    number(", before ", t->before);
    number(", added ", t->c.res_mult);
    number(", stride ", t->c.stride);
    number(", channels ", t->c.cin);
    number(" ", t->c.cout);
    number(", pixels ", t->c.in.w);
    number(", at a time ", (int32_t)t->chunk);
    number(", shift ", t->c.shift);
    number(", step ", t->c.in.step);
    number(", extreme ", t->extreme);
    print("\n");
}

// One line of a random convolution by both; the bytes between its pixels belong to others.
static int32_t check_conv(void) {
    static const int8_t zeros[3] = { -128, 127, 5 };
    conv_t t;
    random_conv(&t);
    t.c.zero = zeros;
    work.offset = 4 * from_to(0, 3);
    uint32_t out = (t.pixels - 1) * (uint32_t)t.step + (uint32_t)t.c.cout;
    if (!random_conv_arrays(&t) || !lay_out(&output, out, from_to(0, 3), 0) || !lay_out(&wanted, out, 0, 0)) {
        return 0;
    }
    bool ok = run_conv(&t, ref_conv_pixels, wanted.at) && guarded(&wanted);
    print(ok ? "" : "portable C leaves its memory");
    if (ok) {
        ok = run_conv(&t, pn_conv_pixels, output.at) && guarded(&output) && guarded(&input) && guarded(&arrays);
        print(ok ? "" : "a kernel leaves its memory");
    }
    for (uint32_t i = 0; i < out && ok; i++) {
        ok = output.at[i] == wanted.at[i];
        print(ok ? "" : "another value than wanted");
    }
    if (!ok) {
        print_conv(&t);
    }
    return ok ? (int32_t)(t.pixels * (uint32_t)t.c.cout) : -1;
}

// Sums over pixels, a dot product, one for each channel, and products of values with a row of weights each.
static int32_t check_sums(void) {
    uint32_t n = one_in(4) ? from_to(100, 700) : from_to(1, 40), channels = from_to(1, 19);
    int zero = (int8_t)any();
    bool extreme = one_in(2);
    int32_t seed = (int32_t)any();
    if (!lay_out(&input, n * channels, from_to(0, 3), 0) || !lay_out(&arrays, n * channels, from_to(0, 3), 0)
        || !lay_out(&output, 4 * channels, 0, 7) || !lay_out(&wanted, 4 * channels, 0, 7)) {
        return 0;
    }
    for (uint32_t i = 0; i < n * channels; i++) {
        input.at[i] = (uint8_t)random_value(extreme, -128);
    }
    random_weights(arrays.at, n * channels, extreme);
    const int8_t *a = (const int8_t *)input.at, *b = (const int8_t *)arrays.at;
    ref_pool_add(a, (int)n, (int)channels, zero, (int32_t *)(void *)wanted.at);
    pn_pool_add(a, (int)n, (int)channels, zero, (int32_t *)(void *)output.at);
    ref_dots(a, b, (int)n - (n > 1), (int)n, (int)channels, (int32_t *)(void *)wanted.at);
    pn_dots(a, b, (int)n - (n > 1), (int)n, (int)channels, (int32_t *)(void *)output.at);
    for (uint32_t i = 0; i < 2; i++) {
        const uint8_t *values = input.at + (n > 1);
        int32_t *sums = (int32_t *)(void *)wanted.at, *found = (int32_t *)(void *)output.at;
        ref_add_products(values, i, b, (int)channels, sums);
        pn_add_products(values, i, b, (int)channels, found);
        ref_add_rows(values, i, (int)n - (n > 1), b, (int)channels, (int)channels - 1, sums);
        pn_add_rows(values, i, (int)n - (n > 1), b, (int)channels, (int)channels - 1, found);
    }
    bool ok = guarded(&output) && guarded(&input) && ref_dot(a, b, (int)n, seed) == pn_dot(a, b, (int)n, seed);
    for (uint32_t i = 0; i < 4 * channels && ok; i++) {
        ok = output.at[i] == wanted.at[i];
    }
    if (!ok) {
        number("another sum than wanted: pixels ", (int32_t)n);
        number(", channels ", (int32_t)channels);
        number(", zero ", zero);
        print("\n");
    }
    return ok ? (int32_t)channels + 1 : -1;
}

// ---------------------------------------------------------------- all

static const struct {
    const char *name;
    int32_t (*check)(void);
    uint32_t every;
} checks[] = {
    { "bottlenecks", check_fast, 1 },
    { "convolutions", check_conv, 1 },
    { "sums", check_sums, 4 },
};

#define CHECKS (sizeof(checks) / sizeof(checks[0]))

int main(void) {
    // in turn, so that no bug waits for all cases of another check
    int32_t cases[CHECKS] = { 0 }, values[CHECKS] = { 0 };
    for (uint32_t n = 0; n < TIMES; n++) {
        for (uint32_t i = 0; i < CHECKS; i++) {
            int32_t compared = n % checks[i].every == 0 ? checks[i].check() : 0;
            if (compared < 0) {
                leave(false);
            }
            cases[i] += compared > 0;
            values[i] += compared;
        }
    }
    for (uint32_t i = 0; i < CHECKS; i++) {
        print(checks[i].name);
        number(": ", cases[i]);
        number(" cases, ", values[i]);
        print(" values\n");
    }
    leave(true);
    return 0;
}

void reset(void) {
    for (uint32_t *p = &bss_begin; p < &bss_end; p++) {
        *p = 0;
    }
    main();
}
