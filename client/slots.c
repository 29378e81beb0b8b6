/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is bound to a type's slots beside the source. */

#include <string.h>

#include "client/fusectl.h"

#define PREFIX "slot."

void slots_done(Slots *slots) {
        for (size_t i = 0; i < slots->n; i++) {
                free(slots->rows[i].name);
                source_done(&slots->rows[i].source);
        }
}

int slots_open(OptionWords *words, bool read_only, bool any, Slots *ret) {
        size_t kept = 0;
        int status = 0;

        for (size_t i = 0; i < words->n; i++) {
                char *word = words->words[i], *equals = strchr(word, '=');
                if (strncmp(word, PREFIX, strlen(PREFIX)) != 0 || !equals) {
                        words->words[kept++] = word;
                        continue;
                }
                if (status == 0 && ret->n >= SLOTS_MAX)
                        status = usage_error("at most %d slots", SLOTS_MAX);
                if (status == 0) {
                        *equals = 0;
                        status = source_open(equals + 1, read_only, any, &ret->rows[ret->n].source);
                        ret->rows[ret->n++].name = strdup(word + strlen(PREFIX));
                }
                free(word);
        }
        words->n = kept;
        return status;
}

size_t slots_fill(const Slots *slots, FusedSource ret[SLOTS_MAX]) {
        for (size_t i = 0; i < slots->n; i++)
                ret[i] = (FusedSource){slots->rows[i].source.fd, slots->rows[i].source.kind, slots->rows[i].name};
        return slots->n;
}
