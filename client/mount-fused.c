/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mount.fused: the helper of mount(8) for the types fused.TYPE, see mount.fused(8). mount(8) has dropped its privileges before it
 * runs us, so that everything is opened and asked for as the user who called it. */

#include "client/mount-fused.h"

#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#define USAGE "SOURCE DIR [-sfnv] [-N NAMESPACE] [-o OPT,...] [-t fused.TYPE]"
#define RUNTIME_DIRECTORY "fused.runtime-directory="

typedef enum ExitCode { /* of mount(8) */
        CODE_OK = 0,
        CODE_USAGE = 1, /* or permissions */
        CODE_SYSTEM = 2,
        CODE_FAILED = 32,
} ExitCode;

static const ExitCode code_of[] = {
        [EXIT_DONE] = CODE_OK,
        [EXIT_FAILED] = CODE_FAILED,
        [EXIT_USAGE] = CODE_USAGE,
        [EXIT_REFUSED] = CODE_USAGE,
        [EXIT_NO_SUCH_MOUNT] = CODE_FAILED,
};

typedef struct Helper {
        Context context;
        MountArguments mount;
        const char *namespace; /* -N */
        bool fake, verbose, nofail, read_only;
        bool stop; /* a word that we cannot do; a message has been printed */
        char *runtime_directory; /* owned */
} Helper;

/* ---- words of fstab ------------------------------------------------------------------------------------------------- */

typedef enum WordMeaning {
        WORD_SWALLOW,   /* mount(8)'s and systemd's own, and what is so anyway */
        WORD_NOFAIL,
        WORD_READ_ONLY, /* goes on as well */
        WORD_READ_WRITE,
        WORD_DIRECTORY,
        WORD_CANNOT,
} WordMeaning;

/* A name that ends in '=', '-' or '.' is a beginning. What is not here goes on to the supervisor. */
static const struct {
        const char *name;
        WordMeaning meaning;
} word_rows[] = {
        {"defaults", WORD_SWALLOW}, /* its suid and dev are not ours to want: nosuid and nodev are the default of fused */
        {"auto", WORD_SWALLOW},
        {"noauto", WORD_SWALLOW},
        {"nofail", WORD_NOFAIL},
        {"_netdev", WORD_SWALLOW},
        {"user", WORD_SWALLOW},
        {"user=", WORD_SWALLOW},
        {"nouser", WORD_SWALLOW},
        {"users", WORD_SWALLOW},
        {"nousers", WORD_SWALLOW},
        {"owner", WORD_SWALLOW},
        {"noowner", WORD_SWALLOW},
        {"group", WORD_SWALLOW},
        {"nogroup", WORD_SWALLOW},
        {"comment=", WORD_SWALLOW},
        {"x-", WORD_SWALLOW},
        {"X-", WORD_SWALLOW},
        {"helper=", WORD_SWALLOW},
        {"uhelper=", WORD_SWALLOW},
        {"loop", WORD_SWALLOW}, /* an image needs no loop device; mount(8) may have made one, and given us that */
        {"loop=", WORD_SWALLOW},
        {"relatime", WORD_SWALLOW}, /* access times of FUSE are the server's: these mean nothing to its kernel side */
        {"norelatime", WORD_SWALLOW},
        {"strictatime", WORD_SWALLOW},
        {"nostrictatime", WORD_SWALLOW},
        {"lazytime", WORD_SWALLOW},
        {"nolazytime", WORD_SWALLOW},
        {"iversion", WORD_SWALLOW},
        {"noiversion", WORD_SWALLOW},
        {"mand", WORD_SWALLOW},
        {"nomand", WORD_SWALLOW},
        {"silent", WORD_SWALLOW},
        {"loud", WORD_SWALLOW},
        {"ro", WORD_READ_ONLY},
        {"rw", WORD_READ_WRITE},
        {RUNTIME_DIRECTORY, WORD_DIRECTORY},
        {"remount", WORD_CANNOT},
        {"bind", WORD_CANNOT},
        {"rbind", WORD_CANNOT},
        {"move", WORD_CANNOT},
};

static bool matches(const char *word, const char *name) {
        size_t length = strlen(name);

        return strchr("=-.", name[length - 1]) ? strncmp(word, name, length) == 0 : strcmp(word, name) == 0;
}

/* Returns whether the word goes on. */
static bool take_word(Helper *helper, const char *word) {
        for (size_t i = 0; i < ELEMENTSOF(word_rows); i++) {
                if (!matches(word, word_rows[i].name))
                        continue;
                switch (word_rows[i].meaning) {
                case WORD_SWALLOW:
                        return false;
                case WORD_NOFAIL:
                        helper->nofail = true;
                        return false;
                case WORD_READ_ONLY:
                case WORD_READ_WRITE: /* the last one counts, here and there */
                        helper->read_only = word_rows[i].meaning == WORD_READ_ONLY;
                        return helper->read_only; /* rw is the default, and no wish: the type may read only */
                case WORD_DIRECTORY:
                        free(helper->runtime_directory);
                        helper->runtime_directory = strdup(word + strlen(RUNTIME_DIRECTORY));
                        helper->context.runtime_directory = helper->runtime_directory;
                        return false;
                case WORD_CANNOT:
                        (void) failure("option '%s' is not possible with FUSE mounts of fused; unmount and mount", word);
                        helper->stop = true;
                        return false;
                }
        }
        return true;
}

static void sort_words(Helper *helper) {
        OptionWords *options = &helper->mount.options;
        size_t kept = 0;

        for (size_t i = 0; i < options->n; i++)
                if (take_word(helper, options->words[i]))
                        options->words[kept++] = options->words[i];
                else
                        free(options->words[i]);
        options->n = kept;
        for (size_t i = kept = 0; i < options->n; i++) /* "ro,rw": the later word has won */
                if (helper->read_only || strcmp(options->words[i], "ro") != 0)
                        options->words[kept++] = options->words[i];
                else
                        free(options->words[i]);
        options->n = kept;
}

/* ---- the command line ----------------------------------------------------------------------------------------------- */

static int bad_usage(const char *what) {
        return failure("%s; usage: %s " USAGE, what, program_name) ? CODE_USAGE : CODE_OK;
}

/* "fused.ext4", or from the name we were called by, as mount(8) finds mount.fused.ext4 first. */
static const char *type_of(const char *word, const char *self) {
        const char *slash = strrchr(self, '/');

        self = slash ? slash + 1 : self;
        if (word)
                return strncmp(word, "fused.", 6) == 0 && word[6] ? word + 6 : NULL;
        return strncmp(self, "mount.fused.", 12) == 0 && self[12] ? self + 12 : NULL;
}

static int parse(Helper *helper, int argc, char **argv) {
        const char *type = NULL;
        int c;

        optind = 0;
        opterr = 0;
        while ((c = getopt(argc, argv, "sfnvN:o:t:")) >= 0)
                switch (c) {
                case 's': /* tolerate unknown options: the supervisor knows which they are, and does not */
                case 'n': /* there is no mtab to write */
                        break;
                case 'f':
                        helper->fake = true;
                        break;
                case 'v':
                        helper->verbose = true;
                        break;
                case 'N':
                        helper->namespace = optarg;
                        break;
                case 'o':
                        if (option_words_add(&helper->mount.options, optarg) < 0)
                                return CODE_SYSTEM;
                        break;
                case 't':
                        type = optarg;
                        break;
                default:
                        return bad_usage("unknown option");
                }
        if (argc - optind != 2)
                return bad_usage("SOURCE and DIR are needed");
        helper->mount.source = argv[optind];
        helper->mount.mountpoint = argv[optind + 1];
        helper->mount.type = type_of(type, argv[0]);
        if (!helper->mount.type)
                return bad_usage("the file system type must be fused.TYPE");
        sort_words(helper);
        return helper->stop ? CODE_USAGE : CODE_OK;
}

/* ---- the mount ------------------------------------------------------------------------------------------------------ */

/* What "nofail" is about: the device, or what holds the image, is not there. */
static bool source_is_missing(const char *source) {
        _cleanup_fd_ int fd = -EBADF;

        if (strcmp(source, "none") == 0)
                return false;
        fd = RET_NERRNO(open(source, O_PATH | O_CLOEXEC));
        return fd == -ENOENT || fd == -ENOTDIR || fd == -ENXIO || fd == -ENODEV;
}

/* mount -N: the mount point is looked up, and the mount made, in that mount namespace; what else is named is ours. Needs
 * CAP_SYS_ADMIN of the caller's own. */
static int enter_namespace(const char *namespace) {
        _cleanup_fd_ int fd = RET_NERRNO(open(namespace, O_RDONLY | O_CLOEXEC));

        if (fd < 0 || setns(fd, CLONE_NEWNS) < 0)
                return failure("cannot enter the mount namespace %s: %s", namespace, strerror(fd < 0 ? -fd : errno));
        return 0;
}

static int do_mount(Helper *helper) {
        uint64_t id;
        int status;

        status = connect_to_fused(&helper->context);
        if (status == 0)
                status = mount_arguments_open_source(&helper->context, &helper->mount, helper->read_only);
        if (status == 0 && helper->namespace)
                status = enter_namespace(helper->namespace);
        if (status == 0)
                status = mount_arguments_open_point(&helper->mount);
        if (status == 0 && !helper->fake)
                status = mount_request(&helper->context, &helper->mount, &id, NULL);
        if (status == 0 && helper->verbose)
                printf("%s: %s on %s type fused.%s: %s\n", program_name, helper->mount.source, helper->mount.mountpoint,
                       helper->mount.type, helper->fake ? "would be asked for" : "mounted");
        return status;
}

static void helper_done(Helper *helper) {
        mount_arguments_done(&helper->mount);
        helper->context.client = fused_client_free(helper->context.client);
        free(helper->runtime_directory);
}

int mount_fused_run(int argc, char **argv) {
        _cleanup_(helper_done) Helper helper = {.mount = MOUNT_ARGUMENTS_NULL};
        int code;

        program_name = "mount.fused";
        code = parse(&helper, argc, argv);
        if (code != CODE_OK)
                return code;
        if (helper.nofail && source_is_missing(helper.mount.source)) {
                if (helper.verbose)
                        printf("%s: %s is not there, and nofail is given\n", program_name, helper.mount.source);
                return CODE_OK;
        }
        return code_of[do_mount(&helper)];
}
