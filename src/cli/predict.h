/* What `predict` was asked, for the kinds of models there are. */
#ifndef SG_CLI_PREDICT_H
#define SG_CLI_PREDICT_H

#include "cli/cli.h"
#include "report/line.h"

/* All borrowed. */
typedef struct {
    const char *model;              /* file */
    const cli_arguments *arguments; /* inputs and overrides */
    const char *annotate;           /* folder, or NULL */
    bool json;
    int threads;
} cli_prediction;

/* Print the answers; the exit status, 65 where an input could not be read. */
int cli_predict_pictures(const cli_prediction *request);
int cli_predict_texts(const cli_prediction *request);

/* {"file": INPUT, "error": WHY}, and the end of the line. */
void cli_put_error(sg_line *line, const char *input, const char *why);

/* No file or folder has that name. */
bool cli_names_nothing(const char *input);

#endif
