/* What a text classifier says of a message, as a line: for programs and for people. */
#ifndef SG_TRAIN_TEXT_ANSWER_H
#define SG_TRAIN_TEXT_ANSWER_H

#include "report/line.h"
#include "train/text_model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* {"text", "label", "probabilities": {NAME: P}} and an LF; of several tasks {"text", "tasks":
 * {TASK: {"label", "probabilities"}}}. `text` holds any bytes; `probabilities` (classes). */
void sg_text_answer_json(const sg_text_model *model, const char *text, int64_t bytes,
                         const float *probabilities, sg_line *out);
/* label TAB its probability TAB text, and an LF; of several tasks TASK=label and its probability of
 * each in turn, then the text. */
void sg_text_answer_plain(const sg_text_model *model, const char *text, int64_t bytes,
                          const float *probabilities, sg_line *out);

#ifdef __cplusplus
}
#endif
#endif
