#include "engine/tasks/pn_heatmap.h"

#ifndef PN_NO_HEATMAP

#include "engine/blob/pn_container.h"
#include "engine/kernels/pn_round.h"
#include "engine/run/pn_arena.h"
#include "engine/tasks/pn_raw.h"

// A box in the arena: cells x0..x1-1, y0..y1-1 of the map, class and score.
typedef struct {
    uint16_t x0, y0, x1, y1, label, spare;
    uint32_t score;
} pn_spot_t;

// refuses to compile if a box outgrows its place in the arena
typedef char pn_spot_size[sizeof(pn_spot_t) == PN_SPOT_BYTES ? 1 : -1];

#define NO_CELL UINT16_MAX // instead of a cell's number: it is no candidate
#define CELL_TAG TAG_WORK

PN_INLINE uint32_t record(const pn_model_t *m, int field) {
    return pn_u32(pn_task_record(m) + field);
}

PN_INLINE uint32_t record16(const pn_model_t *m, int field) {
    return pn_u16(pn_task_record(m) + field);
}

static uint32_t cells(const pn_model_t *m) {
    return (uint32_t)m->map_h * m->map_w;
}

// Of each cell a cell that it belongs to: an earlier one, or itself if it is the first of its box.
static uint16_t *owners(const pn_model_t *m) {
    return (uint16_t *)(void *)(m->run.arena + record(m, PN_HEATMAP_CELL_AT));
}

static pn_spot_t *spots(const pn_model_t *m) {
    return (pn_spot_t *)(void *)(m->run.arena + record(m, PN_HEATMAP_SPOT_AT));
}

// ---------------------------------------------------------------- opening

int pn_heatmap_read(pn_model_t *m) {
    if (!pn_in_prefix(m, pn_u32(m->blob + PN_HEADER_TASK_OFF), PN_HEATMAP_BYTES)) {
        return PN_ERR_TASK;
    }
    uint32_t top = record16(m, PN_HEATMAP_TOP), background = record16(m, PN_HEATMAP_BACKGROUND);
    m->state.heating.threshold = UINT32_MAX;
    m->state.heating.spots = 0;
    bool ok = top >= 1 && top <= PN_MAX_TOP
        && (background == PN_NO_CLASS || (background < m->classes && m->classes >= 2));
    return ok ? pn_raw_read(m) : PN_ERR_TASK;
}

int pn_heatmap_layer(pn_model_t *m, const pn_layer_t *l) {
    int err = pn_raw_layer(m, l);
    bool ok = l->cout == m->classes && cells(m) < NO_CELL;
    return err ? err : ok ? PN_OK : PN_ERR_TASK;
}

// Behind the layers, cells and boxes join the map.
void pn_heatmap_room(const pn_model_t *m, pn_room_t *room) {
    uint16_t all = m->all_segments, end = (uint16_t)(all + 1);
    uint64_t list = (uint64_t)record16(m, PN_HEATMAP_TOP) * PN_SPOT_BYTES;
    pn_raw_room(m, room);
    room->lasting[room->n++] = (pn_lasting_t) { record(m, PN_HEATMAP_CELL_AT), 2, 2ull * cells(m), all, end };
    room->lasting[room->n++] = (pn_lasting_t) { record(m, PN_HEATMAP_SPOT_AT), 4, list, all, end };
}

void pn_heatmap_prepare(pn_model_t *m, uint32_t threshold) {
    m->state.heating.threshold = threshold;
}

void pn_heatmap_begin(pn_model_t *m) {
    m->state.heating.spots = 0;
    m->state.heating.cell = 0;
}

// ---------------------------------------------------------------- candidates

// The best class of a cell but the background, the first of equal ones.
static uint32_t class_of(const pn_model_t *m, uint32_t cell) {
    const int8_t *q = pn_raw_map(m) + (size_t)cell * m->classes;
    uint32_t background = record16(m, PN_HEATMAP_BACKGROUND), best = background == 0;
    PN_READ(q, m->classes, TAG_FEATURES);
    for (uint32_t i = best + 1; i < m->classes; i++) {
        best = i != background && q[i] > q[best] ? i : best;
    }
    return best;
}

// The softmax of a class over a cell's logits `q`, of 65536.
static uint32_t softmax(const pn_model_t *m, const int8_t *q, uint32_t label, uint64_t mult) {
    uint64_t sum = 0;
    int32_t best = INT8_MIN;
    for (uint32_t i = 0; i < m->classes; i++) {
        best = q[i] > best ? q[i] : best;
    }
    for (uint32_t i = 0; i < m->classes; i++) {
        sum += pn_exp2_neg((uint32_t)(best - q[i]) * mult);
    }
    return (uint32_t)((65536 * pn_exp2_neg((uint32_t)(best - q[label]) * mult) + sum / 2) / sum);
}

// A class's score in a cell, of 65536. Logits have no fraction bits here.
static uint32_t score_of(const pn_model_t *m, uint32_t cell, uint32_t label) {
    const int8_t *q = pn_raw_map(m) + (size_t)cell * m->classes;
    uint32_t mult = pn_u32(m->blob + PN_HEADER_SOFTMAX_MULT);
    bool each_by_itself = m->blob[PN_HEADER_SCORES] == PN_SCORES_SIGMOID;
    return each_by_itself ? pn_sigmoid(256 * (q[label] - pn_raw_zero(m)), mult) : softmax(m, q, label, mult);
}

// The first cell of the box that a candidate belongs to, as far as cells are joined.
static uint32_t first_of(const pn_model_t *m, uint32_t cell) {
    uint16_t *owner = owners(m);
    PN_READ(owner, 2 * (cell + 1), CELL_TAG);
    for (uint32_t next = owner[cell]; next < cell; next = owner[cell]) { // none is behind its own, whoever wrote there
        owner[cell] = owner[next];
        cell = next;
    }
    return cell;
}

// Makes one box of those of two cells, if the other one is a candidate of the same class.
static void join(const pn_model_t *m, uint32_t cell, uint32_t other, uint32_t label) {
    uint16_t *owner = owners(m);
    if (owner[other] == NO_CELL || class_of(m, other) != label) {
        return;
    }
    uint32_t a = first_of(m, cell), b = first_of(m, other);
    owner[a > b ? a : b] = (uint16_t)(a > b ? b : a);
}

// Decides on a cell, and joins it to its neighbours on the left and above, which come before it.
static void decide(const pn_model_t *m, uint32_t cell) {
    uint32_t w = m->map_w, x = cell % w, label = class_of(m, cell);
    bool candidate = score_of(m, cell, label) >= m->state.heating.threshold;
    owners(m)[cell] = (uint16_t)(candidate ? cell : NO_CELL);
    PN_WRITE(owners(m) + cell, 2, CELL_TAG);
    if (!candidate) {
        return;
    }
    if (x > 0) {
        join(m, cell, cell - 1, label);
    }
    for (uint32_t i = x > 0 ? x - 1 : 0; cell >= w && i <= x + 1 && i < w; i++) {
        join(m, cell, cell - x - w + i, label);
    }
}

// ---------------------------------------------------------------- boxes

// Takes the cells of row `y` that belong to the box of cell `first` into it. Whether there are any.
static bool gather_row(const pn_model_t *m, uint32_t first, uint32_t y, pn_spot_t *spot) {
    bool any = false;
    for (uint32_t x = 0; x < m->map_w; x++) {
        uint32_t cell = y * m->map_w + x;
        if (owners(m)[cell] == NO_CELL || first_of(m, cell) != first) {
            continue;
        }
        uint32_t score = score_of(m, cell, spot->label);
        spot->x0 = (uint16_t)(x < spot->x0 ? x : spot->x0);
        spot->x1 = (uint16_t)(x + 1 > spot->x1 ? x + 1 : spot->x1);
        spot->y1 = (uint16_t)(y + 1);
        spot->score = score > spot->score ? score : spot->score;
        any = true;
    }
    return any;
}

// Takes a box into the list, best first and the older one of equals before the younger; the last one may have to go.
static void take(pn_model_t *m, const pn_spot_t *spot) {
    pn_heating_t *h = &m->state.heating;
    pn_spot_t *list = spots(m);
    uint32_t top = record16(m, PN_HEATMAP_TOP), i = h->spots;
    if (i == top && list[--i].score >= spot->score) {
        return;
    }
    h->spots = (uint16_t)(i + 1);
    PN_READ(list, i * sizeof(*list), TAG_TASK);
    for (; i > 0 && list[i - 1].score < spot->score; i--) {
        list[i] = list[i - 1];
    }
    list[i] = *spot;
    PN_WRITE(list, h->spots * sizeof(*list), TAG_TASK);
}

// The box that begins with a cell.
static void gather(pn_model_t *m, uint32_t cell) {
    uint32_t y = cell / m->map_w, x = cell % m->map_w;
    pn_spot_t spot = { (uint16_t)x, (uint16_t)y, (uint16_t)x, (uint16_t)y, (uint16_t)class_of(m, cell), 0, 0 };
    while (y < m->map_h && gather_row(m, cell, y, &spot)) {
        y++;
    }
    take(m, &spot);
}

// First a row of cells at a time is decided on, then a row is looked at for the first cell of a box.
bool pn_heatmap_step(pn_model_t *m) {
    pn_heating_t *h = &m->state.heating;
    uint32_t all = cells(m), end = h->cell + m->map_w - h->cell % m->map_w;
    if (h->cell < all) {
        for (; h->cell < end; h->cell++) {
            decide(m, h->cell);
        }
        return false;
    }
    while (h->cell < end && owners(m)[h->cell - all] != h->cell - all) {
        h->cell++;
    }
    if (h->cell < end) {
        gather(m, h->cell++ - all);
    }
    return h->cell == 2 * all;
}

uint32_t pn_heatmap_boxes(const pn_model_t *m) {
    return m->state.heating.spots;
}

// From a border between cells, `n` of which are in a row, to pixels of a side of the region.
static uint32_t pixels(uint32_t at, uint32_t n, uint32_t from, uint32_t side) {
    return from + (2 * at * side + n) / (2 * n);
}

void pn_heatmap_box(const pn_model_t *m, uint32_t i, pn_box_t *box) {
    const pn_spot_t *s = &spots(m)[i];
    const pn_image_t *p = &m->run.image;
    PN_READ(s, sizeof(*s), TAG_TASK);
    box->x = pixels(s->x0, m->map_w, p->roi_x, p->roi_w);
    box->y = pixels(s->y0, m->map_h, p->roi_y, p->roi_h);
    box->w = pixels(s->x1, m->map_w, p->roi_x, p->roi_w) - box->x;
    box->h = pixels(s->y1, m->map_h, p->roi_y, p->roi_h) - box->y;
    box->label = s->label;
    box->score = s->score;
}

#endif
