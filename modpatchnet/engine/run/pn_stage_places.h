// Where the lines of maps and rings lie in the arena, and the picture's pixels. A part of pn_stage.c.
#ifndef PN_STAGE_PLACES_H
#define PN_STAGE_PLACES_H

// A line of pixels in the arena.
typedef pn_pixels_t line_t;

// Whether a stage is its segment's last one.
static bool ends_segment(const pn_model_t *m, const pn_stage_t *s) {
    return s->index + 1 == m->run.segment.first + m->run.segment.layers;
}

// Line `y` of a stage's input, from its first needed pixel on.
static line_t line_in(const pn_model_t *m, const pn_stage_t *s, uint32_t y) {
    uint32_t bytes = s->cin * pn_size_in(s); // of a pixel
    line_t line = { (int8_t *)m->run.arena, (int)bytes };
    if (s->index > m->run.segment.first || pn_first_segment(m)) {
        line.at += s->ring_at + (size_t)(y % s->ring_lines) * pn_pixels_in(s) * bytes;
        PN_READ(line.at, pn_pixels_in(s) * bytes, TAG(m, TAG_RING, s->index, y));
        return line;
    }
    size_t pixel = m->run.segment.columns ? (size_t)s->from * s->lines_in + y : (size_t)y * s->cross_in + s->from;
    line.at += m->run.segment.in_at + pixel * bytes;
    line.step = (int)(m->run.segment.columns ? s->lines_in * bytes : bytes);
#ifdef PN_SHADOW
    for (uint32_t x = 0; x < pn_pixels_in(s); x++) {
        PN_READ(line.at + (size_t)x * line.step, bytes, MAP_TAG(m, m->run.map_layer));
    }
#endif
    return line;
}

// Output line `o` of a stage.
static line_t line_out(const pn_model_t *m, const pn_stage_t *s, uint32_t o) {
    uint32_t bytes = s->cout * pn_size(s); // of a pixel
    line_t line = { (int8_t *)m->run.arena, (int)bytes };
    if (!ends_segment(m, s)) {
        const pn_stage_t *next = s + 1;
        line.at += next->ring_at + (size_t)(o % next->ring_lines) * pn_pixels_in(next) * bytes;
    } else if (m->run.segment.sink != PN_TO_MAP) {
        pn_work_t w = pn_work(s, true);
        line.at += m->run.segment.work_at + pn_staging_at(&w);
    } else {
        size_t pixel = m->run.segment.columns ? (size_t)s->out_from * s->lines_out + o
                                              : (size_t)o * s->cross_out + s->out_from;
        line.at += m->run.segment.out_at + pixel * bytes;
        line.step = (int)(m->run.segment.columns ? s->lines_out * bytes : bytes);
    }
    return line;
}

// Tells the checking build that `n` channels of a pixel of output line `o` are there.
static void wrote(const pn_model_t *m, const pn_stage_t *s, uint32_t o, const int8_t *pixel, int n) {
#ifdef PN_SHADOW
    bool ring = !ends_segment(m, s);
    uint32_t last = m->run.segment.sink != PN_TO_MAP ? TAG(m, TAG_STAGING, s->index, o) : MAP_TAG(m, s->index);
    PN_WRITE(pixel, n * (int)pn_size(s), ring ? TAG(m, TAG_RING, s->index + 1, o) : last);
#else
    (void)m, (void)s, (void)o, (void)pixel, (void)n;
#endif
}

// `n` pixels of the current patch: pixel `x` of line `y` and those that follow.
static void sample(const pn_model_t *m, uint32_t y, uint32_t x, uint32_t n, int8_t *out) {
    pn_patch_t patch;
    pn_patch_read(m, m->run.tunnel, &patch);
    bool columns = m->run.segment.columns;
    pn_sample_t s = {
        .height = patch.height,
        .width = patch.width,
        .channels = m->channels,
        .y = patch.y + (columns ? x : y),
        .x = patch.x + (columns ? y : x),
        .n = n,
        .down = columns,
    };
    if (m->run.raw == NULL) {
        pn_image_sample(&m->run.image, &s, out);
        return;
    }
    bool averaged = patch.height != m->height || patch.width != m->width;
    const int8_t *in = m->run.raw + ((size_t)s.y * m->width + s.x) * m->channels;
    for (uint32_t i = 0; i < n; i++, out += m->channels) {
        if (averaged) {
            pn_raw_sample(m->run.raw, m->height, m->width, &s, out);
        } else {
            memcpy(out, in, m->channels);
        }
        in += (columns ? m->width : 1u) * m->channels;
        s.y += columns;
        s.x += !columns;
    }
}

#endif
