/* What a scene of the embedded data set is put together from. For synthetic*.c alone.
 *
 * Random numbers are drawn one a statement: the order in which C evaluates arguments and
 * initialisers is the compiler's choice, and the picture must not be. */
#ifndef SG_DATA_SYNTHETIC_PARTS_H
#define SG_DATA_SYNTHETIC_PARTS_H

#include "core/philox.h"
#include "data/raster.h"
#include "data/synthetic.h"

/* Heads of fewer pixels get no details: they would only blur. */
enum { SG_FINE = 24 };

enum { SG_WITH_MASK, SG_WITHOUT_MASK, SG_MASK_INCORRECT };

typedef enum { SG_WORN_UNDER_NOSE, SG_WORN_ON_CHIN, SG_WORN_AT_EAR } sg_worn;
typedef enum {
    SG_HAIR_SHORT,
    SG_HAIR_LONG,
    SG_HAIR_BOB,
    SG_HAIR_BUN,
    SG_HAIR_CURLY,
    SG_HAIR_TAIL,
    SG_HAIR_BALD,
    SG_HAIR_SCARF,
    SG_HAIR_COUNT
} sg_hair;
typedef enum { SG_HAT_NONE, SG_HAT_CAP, SG_HAT_BEANIE, SG_HAT_BRIM, SG_HAT_HELMET } sg_hat;

/* A head is an egg 1 high and about 0.78 wide around (0, 0); its height in pixels is the unit of
 * everything else: shoulders 0.8 to each side, feet 5.3 below. */
typedef struct {
    float x, y, size; /* the head's centre and height, pixels */
    float tilt;       /* radians */
    float look;       /* features shifted sideways, -0.07 .. 0.07 */
    float lit;        /* the side of the light, -1 or 1; also of what hangs or waves */
    bool back;        /* seen from behind: no face */
    bool framed;      /* a portrait on a wall */
    bool wave, beard;
    int label;
    sg_worn worn;
    sg_hair hair;
    sg_hat hat;
    int glasses;     /* 0 none, 1 clear, 2 dark */
    int mask_style;  /* 0 plain with pleats, 1 cup with a seam, 2 stripes, 3 checks */
    int shirt_style; /* 0 plain, 1 stripes, 2 jacket, 3 collar and tie */
    int mouth;       /* 0 smile, 1 plain, 2 open */
    sg_color skin, hair_color, hat_color, shirt, shirt_2, mask, mask_2, trousers;
} sg_person;

float sg_draw_range(sg_random *r, float lo, float hi);
int sg_draw_below(sg_random *r, int n);
bool sg_draw_chance(sg_random *r, float p);
/* `c` with up to `spread` added to each channel. */
sg_color sg_draw_near(sg_random *r, sg_color c, float spread);
sg_color sg_draw_skin(sg_random *r);
sg_color sg_draw_cloth(sg_random *r);
sg_color sg_draw_mask_color(sg_random *r);

/* Looks of a person whose head is `size` pixels high; x and y are left 0. */
void sg_person_random(sg_random *r, float size, sg_person *out);
/* `mark` is the owner of the pixels of the face. */
void sg_person_draw(sg_canvas *c, const sg_person *p, int16_t mark);
/* The head's egg on the canvas: left, top, right, bottom. */
void sg_person_face(const sg_person *p, float box[4]);
/* A hand, palm seen, of `size` pixels. */
void sg_hand_draw(sg_canvas *c, sg_frame f, sg_color skin);

/* Walls, streets, parks, ... over the whole canvas. *horizon: where the ground begins, pixels;
 * *walls: whether portraits can hang above it. */
void sg_background_draw(sg_canvas *c, sg_random *r, float *horizon, bool *walls);
/* One thing that resembles a part of a face, about `size` pixels high: a ball or lamp in the
 * colours of skin, a mask without a face, hair without a head, a sign, a hand. */
void sg_distractor_draw(sg_canvas *c, sg_random *r, float x, float y, float size);

#endif
