/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libfused-server: the command line that the helper sends, and what it says about the mount. See fused-server.h. */

#define FUSE_USE_VERSION 312
#include "fused-server.h"

#if FUSE_VERSION < FUSE_MAKE_VERSION(3, 19)

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "service-private.h"

/* ---- what each word says about the mount ---------------------------------------------------------------------------- */

typedef enum WordKind {
        WORD_FLAG,    /* sets or clears MS_* */
        WORD_KERNEL,  /* an option of the kernel's FUSE, as it stands */
        WORD_OTHER,   /* allow_root: for the kernel it is allow_other; the session looks at who asks */
        WORD_MTAB,    /* only for the mount table */
        WORD_SOURCE,  /* fsname=, what the mount table shows as source */
        WORD_SUBTYPE,
        WORD_FUSEBLK,
} WordKind;

/* The first libfuse whose session takes a word that libfuse 3.14 refuses is the one that has this interface itself, so those
 * are taken out before the session sees them (hide). A name that ends with '=' or '-' is a prefix. */
static const struct {
        const char *name;
        WordKind kind;
        bool hide;
        uint32_t set, clear;
} word_rows[] = {
        {"ro", WORD_FLAG, false, MS_RDONLY, 0},
        {"-r", WORD_FLAG, false, MS_RDONLY, 0},
        {"rw", WORD_FLAG, false, 0, MS_RDONLY},
        {"suid", WORD_FLAG, false, 0, MS_NOSUID},
        {"nosuid", WORD_FLAG, false, MS_NOSUID, 0},
        {"dev", WORD_FLAG, false, 0, MS_NODEV},
        {"nodev", WORD_FLAG, false, MS_NODEV, 0},
        {"exec", WORD_FLAG, false, 0, MS_NOEXEC},
        {"noexec", WORD_FLAG, false, MS_NOEXEC, 0},
        {"async", WORD_FLAG, false, 0, MS_SYNCHRONOUS},
        {"sync", WORD_FLAG, false, MS_SYNCHRONOUS, 0},
        {"dirsync", WORD_FLAG, false, MS_DIRSYNC, 0},
        {"atime", WORD_FLAG, false, 0, MS_NOATIME},
        {"noatime", WORD_FLAG, false, MS_NOATIME, 0},
        {"nodiratime", WORD_FLAG, true, MS_NODIRATIME, 0},
        {"nostrictatime", WORD_FLAG, true, 0, MS_STRICTATIME},
        {"symfollow", WORD_FLAG, true, 0, MS_NOSYMFOLLOW},
        {"nosymfollow", WORD_FLAG, true, MS_NOSYMFOLLOW, 0},
        {"allow_other", WORD_KERNEL, false, 0, 0},
        {"default_permissions", WORD_KERNEL, false, 0, 0},
        {"max_read=", WORD_KERNEL, false, 0, 0},
        {"blksize=", WORD_KERNEL, false, 0, 0},
        {"context=", WORD_KERNEL, false, 0, 0},
        {"fscontext=", WORD_KERNEL, false, 0, 0},
        {"defcontext=", WORD_KERNEL, false, 0, 0},
        {"rootcontext=", WORD_KERNEL, false, 0, 0},
        {"allow_root", WORD_OTHER, false, 0, 0},
        {"x-", WORD_MTAB, true, 0, 0},
        {"user=", WORD_MTAB, false, 0, 0},
        {"-n", WORD_MTAB, false, 0, 0},
        {"fsname=", WORD_SOURCE, false, 0, 0},
        {"subtype=", WORD_SUBTYPE, false, 0, 0},
        {"blkdev", WORD_FUSEBLK, false, 0, 0},
};

static int find_word(const char *word) {
        for (size_t i = 0; i < ELEMENTSOF(word_rows); i++) {
                const char *name = word_rows[i].name;
                size_t length = strlen(name);
                bool prefix = name[length - 1] == '=' || (name[length - 1] == '-' && length > 1);
                if (prefix ? strncmp(word, name, length) == 0 : strcmp(word, name) == 0)
                        return (int) i;
        }
        return -ENOENT;
}

static int add_to_list(char *list, size_t size, const char *word) {
        size_t have = strlen(list);
        int n = snprintf(list + have, size - have, "%s%s", have > 0 ? "," : "", word);

        return n < 0 || (size_t) n >= size - have ? -E2BIG : 0;
}

static int set_value(char *value, size_t size, const char *word) {
        int n = snprintf(value, size, "%s", strchr(word, '=') + 1);

        return n < 0 || (size_t) n >= size ? -E2BIG : 0;
}

static int take_word(ServiceMount *mount, const char *word, int row) {
        switch (word_rows[row].kind) {
        case WORD_FLAG:
                mount->ms_flags = (mount->ms_flags & ~word_rows[row].clear) | word_rows[row].set;
                return 0;
        case WORD_KERNEL:
                return add_to_list(mount->options, sizeof mount->options, word);
        case WORD_OTHER:
                return add_to_list(mount->options, sizeof mount->options, "allow_other");
        case WORD_MTAB:
                return add_to_list(mount->mtab, sizeof mount->mtab, word);
        case WORD_SOURCE:
                return set_value(mount->source, sizeof mount->source, word);
        case WORD_SUBTYPE:
                return set_value(mount->subtype, sizeof mount->subtype, word);
        case WORD_FUSEBLK:
                mount->fuseblk = true;
                return 0;
        }
        return -EINVAL;
}

static int on_word(void *data, const char *word, int key, struct fuse_args *rest) {
        int row = key == FUSE_OPT_KEY_OPT ? find_word(word) : -ENOENT;

        if (row < 0)
                return 1;
        return take_word(data, word, row) < 0 ? -1 : !word_rows[row].hide;
}

/* What the words say now replaces what they said before: a server may add to them between its calls. */
static int collect(struct fuse_service *sf, struct fuse_args *args) {
        static const struct fuse_opt none[] = {FUSE_OPT_END};
        ServiceMount *mount _cleanup_free_ = malloc(sizeof *mount); /* too large for a small stack */

        if (!mount)
                return -ENOMEM;
        *mount = (ServiceMount){.ms_flags = MS_NOSUID | MS_NODEV};
        if (fuse_opt_parse(args, mount, none, on_word) < 0)
                return -EINVAL;
        sf->mount = *mount;
        return 0;
}

static int collect_from_copy(struct fuse_service *sf, const struct fuse_args *args) {
        struct fuse_args copy = FUSE_ARGS_INIT(0, NULL);
        int r = 0;

        for (int i = 0; i < args->argc && r >= 0; i++)
                r = fuse_opt_add_arg(&copy, args->argv[i]) < 0 ? -ENOMEM : 0;
        if (r >= 0)
                r = collect(sf, &copy);
        fuse_opt_free_args(&copy);
        return r;
}

/* ---- the command line ----------------------------------------------------------------------------------------------- */

/* [type name] + [the server's own words] + [the caller's words]. all is the caller's to free, whatever is returned. */
static int join_words(const void *image, size_t size, const struct fuse_args *own, struct fuse_args *all) {
        const char *word;
        int r;

        for (size_t i = 0; (r = service_argv_word(image, size, i, &word)) >= 0; i++) {
                if (fuse_opt_add_arg(all, word) < 0)
                        return -ENOMEM;
                for (int k = 1; i == 0 && k < own->argc; k++)
                        if (fuse_opt_add_arg(all, own->argv[k]) < 0)
                                return -ENOMEM;
        }
        if (r != -ENOENT)
                return r;
        return all->argc > 0 ? 0 : -EBADMSG;
}

/* Read, not mapped: the helper need not have sealed it, and could cut it off under a mapping. */
static int read_image(int fd, void **ret, size_t *ret_size) {
        char *image _cleanup_free_ = NULL;
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size <= 0 || st.st_size > SERVICE_ARGV_MAX)
                return -EBADMSG;
        image = malloc((size_t) st.st_size);
        if (!image)
                return -ENOMEM;
        ssize_t n = RET_NERRNO(pread(fd, image, (size_t) st.st_size, 0));
        if (n != st.st_size)
                return n < 0 ? (int) n : -EBADMSG;
        *ret_size = (size_t) n;
        *ret = TAKE_PTR(image);
        return 0;
}

int fuse_service_append_args(struct fuse_service *sf, struct fuse_args *args) {
        struct fuse_args all = FUSE_ARGS_INIT(0, NULL);
        void *image _cleanup_free_ = NULL;
        size_t size = 0;
        int r;

        if (sf->argv_fd < 0)
                return -EINVAL;
        r = read_image(sf->argv_fd, &image, &size);
        if (r < 0)
                return r;
        r = join_words(image, size, args, &all);
        if (r >= 0)
                r = collect_from_copy(sf, &all);
        if (r < 0) {
                fuse_opt_free_args(&all);
                return r;
        }
        (void) snprintf(sf->name, sizeof sf->name, "%s", all.argv[0]);
        sf->argv_fd = fd_close(sf->argv_fd);
        fuse_opt_free_args(args);
        *args = all;
        return 0;
}

static int on_mountpoint(void *data, const char *word, int key, struct fuse_args *rest) {
        char **mountpoint = data;

        if (key != FUSE_OPT_KEY_NONOPT)
                return 1;
        if (*mountpoint) {
                fprintf(stderr, "fuse: there is a mount point already, and no use for \"%s\"\n", word);
                return -1;
        }
        *mountpoint = strdup(word);
        return *mountpoint ? 0 : -1;
}

int fuse_service_parse_cmdline_opts(struct fuse_args *args, struct fuse_cmdline_opts *opts) {
        static const struct fuse_opt none[] = {FUSE_OPT_END};
        char *mountpoint _cleanup_free_ = NULL;

        /* The mount point is taken out first, or libfuse would look for it. */
        if (fuse_opt_parse(args, &mountpoint, none, on_mountpoint) < 0)
                return -1;
        if (service_current && collect(service_current, args) < 0)
                return -1;
        if (fuse_parse_cmdline(args, opts) < 0)
                return -1;
        opts->mountpoint = TAKE_PTR(mountpoint);
        return 0;
}

char *fuse_service_cmdline(int argc, char *argv[], struct fuse_args *args) {
        size_t size = 1;
        char *line;

        for (int i = 0; i < args->argc; i++)
                size += strlen(i == 0 && argc > 0 ? argv[0] : args->argv[i]) + 1;
        line = calloc(1, size);
        for (int i = 0; line && i < args->argc; i++) {
                if (i > 0)
                        strcat(line, " ");
                strcat(line, i == 0 && argc > 0 ? argv[0] : args->argv[i]);
        }
        return line;
}

#endif
