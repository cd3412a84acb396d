#include "train/task.h"

#include "core/mem.h"
#include "train/detector.h"
#include "train/masked_task.h"
#include "train/text_task.h"

void sg_evaluation_clear(sg_evaluation *evaluation) {
    sg_free(evaluation->json);
    sg_free(evaluation->table);
    evaluation->json = evaluation->table = NULL;
}

sg_status sg_task_create(const sg_config *config, sg_task **out) {
    if (sg_choice_is(config->model.type, "mask_detector"))
        return sg_detector_task_create(config, out);
    if (sg_choice_is(config->model.type, "text_classifier"))
        return sg_text_task_create(config, out);
    if (sg_choice_is(config->model.type, "masked_tokens"))
        return sg_masked_task_create(config, out);
    return sg_fail(SG_ERR_CONFIG, "model.type: %s cannot be trained", config->model.type);
}

void sg_task_destroy(sg_task *task) {
    if (task) task->destroy(task);
}
