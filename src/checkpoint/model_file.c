#include "checkpoint/model_file.h"

#include <string.h>

#include "checkpoint/model_image.h"
#include "core/file.h"

sg_status sg_model_file_write(const char *path, const sg_model_about *about,
                              const sg_state *state) {
    const sg_model_growing texts = {about->history, about->plans};
    const sg_model_room room = {texts.history ? strlen(texts.history) : 0,
                                texts.plans ? strlen(texts.plans) : 0};
    sg_model_image *image;
    const void *bytes;
    sg_status st;
    size_t size;

    SG_TRY(sg_model_image_create(path, about, state, room, &image));
    sg_model_image_take(image, about->epoch, &texts);
    sg_model_image_seal(image);
    bytes = sg_model_image_bytes(image, &size);
    st = sg_file_write(path, bytes, size);
    sg_model_image_destroy(image);
    return st;
}
