// A fused bottleneck's lines on the kernels of pn_dsp.h: which of them are called, on which parts of the memory.
#include "pn_fused.h"

#if PN_DSP

#include <string.h>

#include "pn_dsp.h"

static uint32_t tail_of(const pn_fused_t *f) {
    return (f->in - (uint32_t)f->pad) & 1;
}

// A line's pixels become 16-bit ones at `x`.
static void widen(const pn_fused_t *f, pn_pixels_t in, uint8_t *x) {
    if (f->cin == 8) {
        pn_dsp_widen8(in.at, in.step, f->in, (int16_t *)(void *)x);
        return;
    }
    pn_widen_t w = { in.at, in.step, f->cin / 4u, (int16_t *)(void *)x, f->pad, (uint32_t)(f->in - f->pad) / 2, tail_of(f) };
    pn_dsp_widen(&w);
}

static void pairs_of(const pn_fused_t *f, const pn_fused_area_t *a, pn_pairs_t *p) {
    uint32_t rows = pn_fused_lines(f);
    p->stage = f->work + a->stage;
    p->quads = f->cin / 4u;
    p->ew = f->expand;
    p->dw = f->depthwise;
    p->kept = f->wide;
    p->h = (uint8_t *)(((uintptr_t)f->work + a->h + a->h_align - 1) & ~(uintptr_t)(a->h_align - 1));
    p->stride = 8 * rows;
    p->words = pn_fused_words(f);
    p->head = f->pad;
    p->full = (uint32_t)(f->in - f->pad) / 2;
    p->tail = tail_of(f);
    p->dwfn = f->rolling ? (f->stride == 1 ? PN_DW3_ROLL : PN_DW3_ROLL2) : f->stride == 1 ? PN_DW3_LINES : PN_DW3_LINES2;
    p->expfn = f->cin == 8 ? PN_EXP8_1 - 1u + rows : (uint32_t)PN_EXP_TILE;
    p->slot = 8 * rows * f->stride;
    if (p->expfn == PN_EXP8_2) {
        p->dwfn = PN_DW3_ROLL2_8;
        p->slot = 33;
    }
    p->out_pairs = (f->out + 1u) / 2;
    p->wide16 = f->wide16 && f->cin != 8;
    p->ch = 0;
}

void pn_fused_begin(const pn_fused_t *f, pn_pixels_t first) {
    pn_fused_area_t a = pn_fused_area(f);
    if (f->stride == 2) {
        memset(f->wide, 0, a.wide);
        return;
    }
    const int16_t *row = (const int16_t *)(const void *)f->work;
    pn_pairs_t p;
    widen(f, first, f->work);
    pairs_of(f, &a, &p);
    p.rows = &row;
    p.rows_end = &row + 1;
    p.dwfn = PN_DW_PRIME;
    p.pairs = f->cexp / 2u;
    pn_dsp_pairs(&p);
}

static void project(const pn_fused_t *f, const pn_fused_area_t *a, uint32_t from, uint32_t group, const uint8_t *w, pn_pixels_t out,
    pn_pixels_t residual) {
    pn_tiles_t t;
    t.stage = f->work + a->stage;
    t.quads = group / 4;
    t.w = w;
    t.bm = f->scale;
    t.d = f->work + a->dbuf;
    t.out = out.at;
    t.out_step = out.step;
    t.x = residual.at;
    t.x_step = residual.step;
    t.res_mult = f->res_mult;
    t.zero_q8 = f->zero_q8;
    t.full = f->out / 2u;
    t.tail = f->out & 1u;
    t.couts = f->cout / 2u;
    t.wide16 = f->wide16;
    t.shift = f->shift;
    t.acc = (int32_t *)(void *)(f->work + a->acc);
    t.first = from == 0;
    t.row = 0;
    t.mult = 8;
    t.next = 16;
    if (group == f->cexp) {
        pn_dsp_project(&t);
        return;
    }
    pn_dsp_project_add(&t);
    if (from + group == f->cexp) {
        pn_dsp_project_end(&t);
    }
}

void pn_fused_line(const pn_fused_t *f, const pn_pixels_t *in, int top, uint32_t fresh, pn_pixels_t out, pn_pixels_t residual) {
    pn_fused_area_t a = pn_fused_area(f);
    pn_pairs_t p;
    const int16_t *rows[3];
    uint32_t lines = pn_fused_lines(f);
    for (uint32_t i = 0; i < lines; i++) {
        rows[i] = NULL;
        if (in[i].at != NULL) {
            uint8_t *x = f->rolling ? f->work + i * a.line : f->wide + (uint32_t)(top + (int)i) % 3 * a.line;
            rows[i] = (const int16_t *)(const void *)x;
            if (f->rolling || i >= fresh) {
                widen(f, in[i], x);
            }
        }
    }
    pairs_of(f, &a, &p);
    p.rows = rows;
    p.rows_end = rows + lines;
    const uint8_t *w = f->project;
    for (uint32_t from = 0; from < f->cexp; from += f->group) {
        uint32_t group = f->cexp - from < f->group ? (uint32_t)(f->cexp - from) : f->group;
        p.pairs = group / 2;
        p.pitch = group * 4;
        p.dbuf = f->work + a.dbuf;
        pn_dsp_pairs(&p);
        p.ew += p.pairs * (16 + (p.quads << (3 + p.wide16)));
        p.dw += group * 20;
        p.kept += f->rolling ? group * a.kept : 0;
        project(f, &a, from, group, w, out, residual);
        w += group * f->cout << f->wide16;
    }
}

#endif
