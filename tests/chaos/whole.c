/* usage: whole FILE...
 *
 * A line a file: "whole STEP FILE", or "damaged FILE: why". Exits 1 when one is damaged. */
#include <stdio.h>

#include "checkpoint/model_file.h"

int main(int argc, char **argv) {
    int damaged = 0;

    for (int i = 1; i < argc; i++) {
        sg_model_file file;

        if (sg_model_file_verify(argv[i], &file) == SG_OK) {
            printf("whole %lld %s\n", (long long)file.step, argv[i]);
            sg_model_file_clear(&file);
        } else {
            printf("damaged %s\n", sg_last_error());
            damaged = 1;
        }
    }
    return damaged;
}
