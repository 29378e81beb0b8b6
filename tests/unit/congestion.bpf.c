/* SPDX-License-Identifier: LGPL-2.1-or-later OR GPL-2.0-only */
/* A struct_ops program of a type that any kernel has (tcp_congestion_ops), in the shape of a mapping program: what tests load and bind by the
 * same code, and see in the list of what TCP can do. Nobody uses it: that takes a socket that asks for it by name. */

#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(map_flags, BPF_F_MMAPABLE);
        __uint(max_entries, 4);
        __type(key, __u32);
        __type(value, __u64);
} devices SEC(".maps");

struct tcp_congestion_ops { /* members are found by name */
        __u32 (*ssthresh)(__u64 *arguments);
        void (*cong_avoid)(__u64 *arguments);
        __u32 (*undo_cwnd)(__u64 *arguments);
        char name[16];
};

SEC("syscall") int test_run(void *context) {
        return 1;
}

SEC("syscall") int test_fill(void *context) {
        return 0;
}

#ifdef CALLS /* a function of the kernel's, and a member of one of its structs */
struct sock {}; /* one that is only declared is another type to libbpf */
struct tcp_sock {
        __u32 snd_cwnd;
} __attribute__((preserve_access_index));
extern __u32 tcp_reno_ssthresh(struct sock *sock) SEC(".ksyms");

SEC("struct_ops/ssthresh") __u32 ssthresh_b5(__u64 *arguments) {
        return tcp_reno_ssthresh((struct sock *) arguments[0]);
}

SEC("struct_ops/cong_avoid") void cong_avoid_b5(__u64 *arguments) {
        ((struct tcp_sock *) arguments[0])->snd_cwnd = 10;
}
#else
SEC("struct_ops/ssthresh") __u32 ssthresh_b5(__u64 *arguments) {
        __u32 key = 0;
        __u64 *value = bpf_map_lookup_elem(&devices, &key);

        return value ? (__u32) *value : 2;
}

SEC("struct_ops/cong_avoid") void cong_avoid_b5(__u64 *arguments) {}
#endif

SEC("struct_ops/undo_cwnd") __u32 undo_cwnd_b5(__u64 *arguments) {
        return 2;
}

SEC(".struct_ops") struct tcp_congestion_ops test_ops_b5 = {
        .ssthresh = (void *) ssthresh_b5, .cong_avoid = (void *) cong_avoid_b5, .undo_cwnd = (void *) undo_cwnd_b5, .name = "fused_00000"};
