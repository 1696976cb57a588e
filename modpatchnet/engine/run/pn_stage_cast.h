// A line to 4 bits a value, and back. A part of pn_stage.c.
#ifndef PN_STAGE_CAST_H
#define PN_STAGE_CAST_H

static PN_APART void cast_line(const pn_model_t *m, const pn_stage_t *s, uint32_t o) {
    line_t in = line_in(m, s, o), out = line_out(m, s, o);
    for (uint32_t x = s->out_from; x < s->out_to; x++, in.at += in.step, out.at += out.step) {
        if (s->kind == PN_KIND_INT4) {
            pn_to_int4(in.at, s->cout, out.at);
        } else {
            pn_from_int4(in.at, s->cin, out.at);
        }
        wrote(m, s, o, out.at, s->cout);
    }
}

#endif
