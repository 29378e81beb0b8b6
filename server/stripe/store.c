/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The state of the server of a striped volume, and when its table goes to the media. */

#include "stripe/server.h"

#include <string.h>
#include <time.h>

StripeServer server = {.lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER};

StripeFile *server_file(fuse_ino_t ino) {
        StripeFile *file = ino >= 2 && ino < STRIPE_FILES_MAX + 2 ? &server.volume.table.files[ino - 2] : NULL;

        return file && file->name[0] ? file : NULL;
}

int64_t server_now(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_REALTIME, &now);
        return stripe_time(&now);
}

void server_changed(uint32_t i) {
        server.dirty = server.changed[i] = true;
}

static StripeTable before; /* a change */

void server_begin_change(void) {
        before = server.volume.table;
}

/* A copy that was stored in part may have the new sequence number, so the next one gets a higher one. */
int server_end_change(void) {
        const uint64_t *sequence = &server.volume.table.sequence;
        int r;

        server.dirty = true;
        r = server_save_locked();
        if (r < 0) {
                before.sequence = *sequence;
                server.volume.table = before;
        }
        return r;
}

int server_save_locked(void) {
        int r = server.dirty ? stripe_save(&server.volume) : 0;

        if (r >= 0) {
                server.dirty = false;
                memset(server.changed, 0, sizeof server.changed);
        }
        return r;
}

int server_save(void) {
        int r;

        (void) pthread_mutex_lock(&server.lock);
        r = server_save_locked();
        (void) pthread_mutex_unlock(&server.lock);
        return r;
}

int server_save_file(fuse_ino_t ino) {
        int r = 0;

        (void) pthread_mutex_lock(&server.lock);
        if (server_file(ino) && server.changed[ino - 2])
                r = server_save_locked();
        (void) pthread_mutex_unlock(&server.lock);
        return r;
}
