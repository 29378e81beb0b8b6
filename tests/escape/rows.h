/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a server tries, and what has to come of it: X(name, shipped, open).
 *
 * shipped: with the shipped system call filter. open: with a filter that lets everything pass, which shows that
 * namespaces, ids, the empty root and Landlock hold by themselves. DENIED: every way of it fails; ALLOWED: it works,
 * being the neighbour of something denied that servers need; EITHER: recorded only, as it gives nobody anything beyond
 * the sandbox (a server may make keyrings or namespaces of its own where only the filter forbids it) or as kernels
 * differ. Each row is a function act_NAME in escape-*.c; each runs in a process of its own. */

typedef enum Expectation {
        DENIED,
        ALLOWED,
        EITHER,
} Expectation;

#define ESCAPE_FILE_ROWS(X)                    \
        X(open_shadow, DENIED, DENIED)         \
        X(open_passwd, DENIED, DENIED)         \
        X(open_proc_status, DENIED, DENIED)    \
        X(open_proc_init_memory, DENIED, DENIED) \
        X(open_sys, DENIED, DENIED)            \
        X(open_run, DENIED, DENIED)            \
        X(find_foreign_root_entry, DENIED, DENIED) \
        X(climb_out_of_root, DENIED, DENIED)   \
        X(open_by_handle, DENIED, DENIED)      \
        X(open_library, ALLOWED, ALLOWED)      \
        X(read_urandom, ALLOWED, ALLOWED)      \
        X(write_null, ALLOWED, ALLOWED)        \
        X(chmod_null, DENIED, DENIED)          \
        X(open_memory_device, DENIED, DENIED)  \
        X(open_kernel_log, DENIED, DENIED)     \
        X(open_loop_control, DENIED, DENIED)   \
        X(open_terminal, DENIED, DENIED)       \
        X(create_in_root, DENIED, DENIED)      \
        X(create_in_mnt, DENIED, DENIED)       \
        X(create_in_dev, DENIED, DENIED)       \
        X(make_directory, DENIED, DENIED)      \
        X(make_device_node, DENIED, DENIED)    \
        X(make_fifo, DENIED, DENIED)           \
        X(write_own_program, DENIED, DENIED)   \
        X(unlink_own_program, DENIED, DENIED)  \
        X(chmod_own_program, DENIED, DENIED)   \
        X(write_library, DENIED, DENIED)       \
        X(open_empty_slot, DENIED, DENIED)     \
        X(use_inherited_fd, DENIED, DENIED)    \
        X(use_expected_fd, ALLOWED, ALLOWED)   \
        X(run_shell, DENIED, DENIED)           \
        X(anonymous_memory, ALLOWED, ALLOWED)

#define ESCAPE_PROCESS_ROWS(X)                 \
        X(signal_other_process, DENIED, DENIED) \
        X(signal_own_child, ALLOWED, ALLOWED)  \
        X(ptrace_init, DENIED, EITHER)         \
        X(ptrace_own_child, DENIED, EITHER)    \
        X(read_init_memory, DENIED, EITHER)    \
        X(take_fd_of_init, DENIED, EITHER)     \
        X(compare_with_init, DENIED, EITHER)   \
        X(add_key, DENIED, EITHER)             \
        X(search_session_keyring, DENIED, EITHER) \
        X(unshare_user, DENIED, EITHER)        \
        X(unshare_mount, DENIED, DENIED)       \
        X(unshare_pid, DENIED, DENIED)         \
        X(unshare_net, DENIED, DENIED)         \
        X(clone_new_user, DENIED, EITHER)      \
        X(clone3_new_user, DENIED, EITHER)     \
        X(join_namespaces_of_init, DENIED, DENIED) \
        X(become_root, DENIED, DENIED)         \
        X(become_root_group, DENIED, DENIED)   \
        X(become_neighbour, DENIED, DENIED)    \
        X(set_groups, DENIED, DENIED)          \
        X(raise_capability, DENIED, DENIED)    \
        X(raise_ambient_capability, DENIED, DENIED) \
        X(unlock_securebits, DENIED, DENIED)   \
        X(clear_no_new_privs, DENIED, DENIED)  \
        X(allow_core_dumps, DENIED, DENIED)    \
        X(raise_open_files, DENIED, DENIED)    \
        X(realtime_priority, DENIED, DENIED)   \
        X(raise_priority, DENIED, DENIED)      \
        X(start_thread, ALLOWED, ALLOWED)      \
        X(start_process, ALLOWED, ALLOWED)     \
        X(use_pipe, ALLOWED, ALLOWED)          \
        X(read_clock, ALLOWED, ALLOWED)

#define ESCAPE_KERNEL_ROWS(X)                  \
        X(connect_inet, DENIED, DENIED)        \
        X(send_udp, DENIED, DENIED)            \
        X(connect_abstract, DENIED, DENIED)    \
        X(connect_control_socket, DENIED, DENIED) \
        X(bind_netlink, DENIED, EITHER)        \
        X(open_raw_packets, DENIED, DENIED)    \
        X(mount_tmpfs, DENIED, DENIED)         \
        X(mount_proc, DENIED, DENIED)          \
        X(mount_fuse_elsewhere, DENIED, DENIED) \
        X(remount_root_writable, DENIED, DENIED) \
        X(bind_mount, DENIED, DENIED)          \
        X(unmount_root, DENIED, DENIED)        \
        X(unmount_library, DENIED, DENIED)     \
        X(pivot_root, DENIED, DENIED)          \
        X(change_root, DENIED, DENIED)         \
        X(clone_tree, DENIED, DENIED)          \
        X(open_file_system, DENIED, DENIED)    \
        X(set_mount_attributes, DENIED, DENIED) \
        X(create_bpf_map, DENIED, EITHER)      \
        X(set_up_io_uring, DENIED, EITHER)     \
        X(open_perf_event, DENIED, EITHER)     \
        X(open_userfaultfd, DENIED, EITHER)    \
        X(open_fanotify, DENIED, EITHER)       \
        X(load_module, DENIED, DENIED)         \
        X(unload_module, DENIED, DENIED)       \
        X(load_kernel, DENIED, DENIED)         \
        X(reboot, DENIED, DENIED)              \
        X(swap_on, DENIED, DENIED)             \
        X(read_kernel_log, DENIED, EITHER)     \
        X(set_clock, DENIED, DENIED)           \
        X(set_host_name, DENIED, DENIED)       \
        X(port_access, DENIED, DENIED)         \
        X(inject_terminal_input, DENIED, DENIED) \
        X(process_accounting, DENIED, DENIED)  \
        X(disk_quota, DENIED, DENIED)

#define ESCAPE_ROWS(X) ESCAPE_FILE_ROWS(X) ESCAPE_PROCESS_ROWS(X) ESCAPE_KERNEL_ROWS(X)

/* An act returns 0 (or more) if it worked, negative errno if not. context.h has what it may need to know. */
#define DECLARE_ACT(name, shipped, open) int act_##name(void);
ESCAPE_ROWS(DECLARE_ACT)
#undef DECLARE_ACT

extern const char *escape_program;  /* our own path inside the root */
extern const char *escape_abstract; /* the name of an abstract socket on which the test listens outside */
