/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See tree.h. */

#include "pack/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <openssl/evp.h>
#include <search.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "tool.h"

#define DEPTH_MAX 128
#define CHUNK (1U << 20)
#define LEFT_OUT 1

typedef struct Link { /* a file with more names than one */
        dev_t device;
        ino_t inode;
        uint32_t number;
} Link;

typedef struct Walk {
        Tree *tree;
        const char *names[DEPTH_MAX + 1]; /* borrowed: where the walk is */
        bool told; /* what has failed */
        void *links; /* owned tree of Link, tsearch(3) */
        char *chunk; /* owned, CHUNK */
        EVP_MD_CTX *digest; /* owned: of the file that is written */
        const char *why;    /* words for what has failed, NULL: the error's */
        char words[4 * XATTR_NAME_MAX + 64]; /* for those that are not fixed */
} Walk;

int rows_push(Rows *rows, const void *data, uint64_t n, uint64_t *ret_first) {
        if (rows->count + n > rows->room) {
                uint64_t room = MAX_OF(rows->room * 2, rows->count + n + 64);
                void *more = reallocarray(rows->data, room, rows->size);
                if (!more)
                        return -ENOMEM;
                rows->data = more;
                rows->room = room;
        }
        if (n > 0)
                memcpy((char *) rows->data + rows->count * rows->size, data, n * rows->size);
        if (ret_first)
                *ret_first = rows->count;
        rows->count += n;
        return 0;
}

void tree_done(Tree *tree) {
        Rows *all[] = {&tree->inodes, &tree->extents, &tree->entries, &tree->strings};

        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                free(all[i]->data);
}

/* Once, where it has failed: of the n names that lead there. */
static void complain(Walk *walk, unsigned n, int r) {
        _cleanup_free_ char *path = NULL;
        size_t size = 0;
        FILE *stream = walk->told ? NULL : open_memstream(&path, &size);

        walk->told = true;
        for (unsigned i = 0; stream && i < n; i++)
                (void) fprintf(stream, "%s%s", i > 0 ? "/" : "", walk->names[i]);
        if (stream && fclose(stream) == 0)
                (void) tool_complain(n > 0 ? path : ".", walk->why, r);
}

/* ---- data ----------------------------------------------------------------------------------------------------------- */

static int write_all(int fd, const char *data, size_t size, uint64_t at) {
        while (size > 0) {
                ssize_t n = RET_NERRNO(pwrite(fd, data, size, (off_t) at));
                if (n == -EINTR)
                        continue;
                if (n <= 0)
                        return n == 0 ? -ENOSPC : (int) n;
                data += n;
                size -= (size_t) n;
                at += (uint64_t) n;
        }
        return 0;
}

static int changed(Walk *walk) {
        walk->why = "it has changed while it was packed";
        return -EBUSY;
}

/* One run of data: [from, to) of the file, from a multiple of the block. */
static int copy_run(Walk *walk, int fd, uint64_t from, uint64_t to) {
        Tree *tree = walk->tree;
        PackExtent extent = {.offset = from, .length = ALIGN_TO(to - from, (uint64_t) PACK_BLOCK), .addr = tree->next_addr};

        if (extent.length > tree->device_size - extent.addr || extent.addr > tree->device_size)
                return -ENOSPC;
        for (uint64_t at = from; at < to;) {
                size_t wanted = (size_t) MIN_OF((uint64_t) CHUNK, to - at), padded;
                ssize_t n = RET_NERRNO(pread(fd, walk->chunk, wanted, (off_t) at));
                int r;
                if (n == -EINTR)
                        continue;
                if (n != (ssize_t) wanted) /* it has been cut meanwhile, or cannot be read */
                        return n < 0 ? (int) n : changed(walk);
                padded = ALIGN_TO(wanted, (size_t) PACK_BLOCK);
                memset(walk->chunk + wanted, 0, padded - wanted);
                r = write_all(tree->device_fd, walk->chunk, padded, extent.addr + (at - from));
                if (r < 0)
                        return r;
                if (EVP_DigestUpdate(walk->digest, walk->chunk, wanted) != 1)
                        return -EIO;
                at += wanted;
                tree->data_bytes += wanted;
                if (tree->progress)
                        tree->progress(tree);
        }
        tree->next_addr += extent.length;
        return rows_push(&tree->extents, &extent, 1, NULL);
}

static int copy_runs(Walk *walk, int fd, uint64_t size) {
        for (uint64_t at = 0; at < size;) {
                off_t from = lseek(fd, (off_t) at, SEEK_DATA), to;
                int r;
                if (from < 0 && errno == ENXIO) /* a hole up to the end */
                        return 0;
                to = from < 0 ? (off_t) size : lseek(fd, from, SEEK_HOLE);
                if (from < 0) /* a file system that does not tell */
                        from = (off_t) at;
                if (to < 0)
                        return -errno;
                uint64_t begin = (uint64_t) from / PACK_BLOCK * PACK_BLOCK, end = MIN_OF(ALIGN_TO((uint64_t) to, (uint64_t) PACK_BLOCK), size);
                begin = MAX_OF(begin, at);
                if (begin >= size || end <= begin)
                        return 0;
                r = copy_run(walk, fd, begin, end);
                if (r < 0)
                        return r;
                at = ALIGN_TO(end, (uint64_t) PACK_BLOCK);
        }
        return 0;
}

/* ---- what an inode has ---------------------------------------------------------------------------------------------- */

static int compare_texts(const void *a, const void *b) {
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

static int pack_xattr(Walk *walk, int fd, const char *name) {
        ssize_t size = RET_NERRNO(fgetxattr(fd, name, walk->chunk, CHUNK));
        PackXattr x = {.name_size = (uint32_t) strlen(name), .value_size = (uint32_t) size};
        int r;

        if (size == -ENODATA) /* gone meanwhile */
                return 0;
        if (size < 0) {
                char text[4 * XATTR_NAME_MAX + 1];
                (void) snprintf(walk->words, sizeof walk->words, "its attribute %s: %s", tool_escape(name, text, sizeof text), strerror((int) -size));
                walk->why = walk->words;
                return (int) size;
        }
        r = rows_push(&walk->tree->strings, &x, sizeof x, NULL);
        if (r >= 0)
                r = rows_push(&walk->tree->strings, name, x.name_size, NULL);
        return r < 0 ? r : rows_push(&walk->tree->strings, walk->chunk, x.value_size, NULL);
}

/* Users' attributes, in the order of their names; the rest belongs to the system that they were made on. */
static int pack_xattrs(Walk *walk, int fd, PackInode *inode) {
        char names[XATTR_LIST_MAX];
        const char *sorted[XATTR_LIST_MAX / sizeof "user."];
        ssize_t n = RET_NERRNO(flistxattr(fd, names, sizeof names));
        size_t n_sorted = 0;
        int r = 0;

        inode->xattrs = walk->tree->strings.count;
        if (n < 0 && n != -EOPNOTSUPP) {
                walk->why = "its attributes cannot be listed";
                return (int) n;
        }
        for (const char *name = names; n > 0 && name < names + n; name += strlen(name) + 1)
                if (strncmp(name, "user.", 5) == 0)
                        sorted[n_sorted++] = name;
        qsort(sorted, n_sorted, sizeof *sorted, compare_texts);
        for (size_t i = 0; i < n_sorted && r >= 0; i++)
                r = pack_xattr(walk, fd, sorted[i]);
        inode->xattrs_size = (uint32_t) (walk->tree->strings.count - inode->xattrs);
        return r;
}

static PackInode inode_of(const struct stat *st) {
        return (PackInode){
                .mode = st->st_mode,
                .n_links = (uint32_t) st->st_nlink,
                .uid = st->st_uid,
                .gid = st->st_gid,
                .size = S_ISREG(st->st_mode) ? (uint64_t) st->st_size : 0,
                .mtime = st->st_mtim.tv_sec,
                .mtime_nsec = (uint32_t) st->st_mtim.tv_nsec,
                .rdev = S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode) ? (uint32_t) st->st_rdev : 0,
        };
}

/* What is written is what its digest is of. A file that is written to meanwhile would be packed as it never was. */
static int copy_file(Walk *walk, int fd, const struct stat *found, PackInode *inode) {
        const uint64_t first_addr = walk->tree->next_addr;
        struct stat before, after;
        int r;

        if (fstat(fd, &before) < 0)
                return -errno;
        if (!S_ISREG(before.st_mode) || before.st_dev != found->st_dev || before.st_ino != found->st_ino)
                return changed(walk);
        *inode = inode_of(&before);
        inode->first = walk->tree->extents.count;
        if (EVP_DigestInit_ex(walk->digest, EVP_sha256(), NULL) != 1)
                return -EIO;
        r = copy_runs(walk, fd, inode->size);
        if (r < 0)
                return r;
        inode->count = walk->tree->extents.count - inode->first;
        inode->stored = walk->tree->next_addr - first_addr;
        if (EVP_DigestFinal_ex(walk->digest, inode->sha256, NULL) != 1)
                return -EIO;
        if (fstat(fd, &after) < 0)
                return -errno;
        if (after.st_size != before.st_size || memcmp(&after.st_mtim, &before.st_mtim, sizeof before.st_mtim) != 0 ||
            memcmp(&after.st_ctim, &before.st_ctim, sizeof before.st_ctim) != 0)
                return changed(walk);
        return 0;
}

static int pack_regular(Walk *walk, int parent_fd, const char *name, const struct stat *found, PackInode *inode) {
        _cleanup_fd_ int fd = RET_NERRNO(openat(parent_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)); /* by now it may be a FIFO */
        int r;

        if (fd < 0)
                return fd;
        r = copy_file(walk, fd, found, inode);
        walk->tree->n_files++;
        return r < 0 ? r : pack_xattrs(walk, fd, inode);
}

static int pack_symlink(Walk *walk, int parent_fd, const char *name, PackInode *inode) {
        char target[4096];
        ssize_t n = RET_NERRNO(readlinkat(parent_fd, name, target, sizeof target));

        if (n < 0 || n == (ssize_t) sizeof target)
                return n < 0 ? (int) n : -ENAMETOOLONG;
        inode->size = inode->count = (uint64_t) n;
        return rows_push(&walk->tree->strings, target, (uint64_t) n, &inode->first);
}

static int pack_directory(Walk *walk, int fd, uint32_t number, uint32_t parent, unsigned depth);

/* ---- names ---------------------------------------------------------------------------------------------------------- */

static int compare_links(const void *a, const void *b) {
        const Link *left = a, *right = b;

        if (left->device != right->device)
                return left->device < right->device ? -1 : 1;
        return (left->inode > right->inode) - (left->inode < right->inode);
}

static uint32_t find_link(const Walk *walk, const struct stat *st) {
        const Link wanted = {.device = st->st_dev, .inode = st->st_ino}, *const *found = tfind(&wanted, &walk->links, compare_links);

        return found ? (*found)->number : 0;
}

static int remember_link(Walk *walk, const struct stat *st, uint32_t number) {
        Link *link = malloc(sizeof *link);

        if (!link)
                return -ENOMEM;
        *link = (Link){.device = st->st_dev, .inode = st->st_ino, .number = number};
        if (tsearch(link, &walk->links, compare_links))
                return 0;
        free(link);
        return -ENOMEM;
}

/* Its number. LEFT_OUT: it has none. */
static int pack_name(Walk *walk, int parent_fd, const char *name, uint32_t parent, unsigned depth, uint32_t *ret) {
        PackInode inode;
        struct stat st;
        uint64_t row;
        int r;

        if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (walk->tree->is_file && st.st_dev == walk->tree->device && st.st_ino == walk->tree->inode)
                return LEFT_OUT;
        *ret = S_ISDIR(st.st_mode) || st.st_nlink < 2 ? 0 : find_link(walk, &st);
        if (*ret != 0)
                return 0;
        inode = inode_of(&st);
        r = rows_push(&walk->tree->inodes, &inode, 1, &row); /* its number; its tables come now */
        if (r < 0)
                return r;
        *ret = (uint32_t) row + 1;
        if (S_ISREG(st.st_mode))
                r = pack_regular(walk, parent_fd, name, &st, &inode);
        else if (S_ISLNK(st.st_mode))
                r = pack_symlink(walk, parent_fd, name, &inode);
        else if (S_ISDIR(st.st_mode)) {
                _cleanup_fd_ int fd = RET_NERRNO(openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
                return fd < 0 ? fd : pack_directory(walk, fd, *ret, parent, depth + 1);
        }
        if (r >= 0)
                ((PackInode *) walk->tree->inodes.data)[row] = inode;
        return r < 0 || st.st_nlink < 2 ? r : remember_link(walk, &st, *ret);
}

static int compare(const struct dirent **a, const struct dirent **b) {
        return strcmp((*a)->d_name, (*b)->d_name); /* by bytes, as it is looked up */
}

static int is_name(const struct dirent *entry) {
        return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static void free_list(struct dirent **list, int n) {
        for (int i = 0; i < n; i++)
                free(list[i]);
        free(list);
}

/* A directory's entries lie together: its children's come before them. */
static int pack_directory(Walk *walk, int fd, uint32_t number, uint32_t parent, unsigned depth) {
        _cleanup_free_ PackEntry *entries = NULL;
        struct dirent **list = NULL;
        uint64_t n_entries = 0;
        PackInode inode = ((PackInode *) walk->tree->inodes.data)[number - 1];
        int n, r = 0;

        if (depth > DEPTH_MAX) {
                (void) snprintf(walk->words, sizeof walk->words, "it is more than %d directories deep", DEPTH_MAX);
                walk->why = walk->words;
                return -ELOOP;
        }
        n = scandirat(fd, ".", &list, is_name, compare);
        if (n < 0)
                return -errno;
        entries = calloc((size_t) n + 1, sizeof *entries);
        for (int i = 0; i < n && r >= 0; i++) {
                PackEntry *entry = &entries[n_entries];
                walk->names[depth] = list[i]->d_name;
                entry->length = (uint32_t) strlen(list[i]->d_name);
                r = pack_name(walk, fd, list[i]->d_name, number, depth, &entry->inode);
                if (r == LEFT_OUT)
                        continue;
                if (r >= 0)
                        r = rows_push(&walk->tree->strings, list[i]->d_name, entry->length, &entry->name);
                if (r < 0)
                        complain(walk, depth + 1, r);
                n_entries++;
        }
        free_list(list, n);
        inode.parent = parent;
        inode.count = n_entries;
        if (r >= 0)
                r = rows_push(&walk->tree->entries, entries, n_entries, &inode.first);
        if (r >= 0)
                r = pack_xattrs(walk, fd, &inode);
        if (r >= 0)
                ((PackInode *) walk->tree->inodes.data)[number - 1] = inode;
        return r;
}

int tree_pack(Tree *tree, int directory_fd) {
        Walk walk = {.tree = tree};
        PackInode inode;
        struct stat st;
        int r;

        tree->inodes.size = sizeof(PackInode);
        tree->extents.size = sizeof(PackExtent);
        tree->entries.size = sizeof(PackEntry);
        tree->strings.size = 1;
        tree->next_addr = PACK_BLOCK;
        if (fstat(directory_fd, &st) < 0)
                return -errno;
        walk.chunk = malloc(CHUNK + PACK_BLOCK);
        walk.digest = EVP_MD_CTX_new();
        inode = inode_of(&st);
        r = walk.chunk && walk.digest ? rows_push(&tree->inodes, &inode, 1, NULL) : -ENOMEM;
        if (r >= 0)
                r = pack_directory(&walk, directory_fd, 1, 1, 0);
        if (r < 0)
                complain(&walk, 0, r);
        free(walk.chunk);
        EVP_MD_CTX_free(walk.digest);
        tdestroy(walk.links, free);
        return r;
}
