#include "syscalls.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define CALLS_MAX 40
#define CONDITIONS_MAX 3

/* Calls with one reason. Those that an architecture does not have are left out there by libseccomp. */
struct group {
    const char *reason;
    int calls[CALLS_MAX]; /* up to END */
};

#define END INT32_MIN

/* Allowed whatever their arguments. On kernels since 5.11 these cost next to nothing: the verdict is kept in a bitmap.
 */
static const struct group allowed[] = {
    {"the loop and the API wait for their descriptors; helper threads for each other and for time",
     {SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2),
      SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(select), SCMP_SYS(pselect6), SCMP_SYS(futex), SCMP_SYS(sched_yield),
      SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep), SCMP_SYS(eventfd2), SCMP_SYS(restart_syscall), END}},
    {"DNS, HTTP, netlink: using sockets; their making has conditions",
     {SCMP_SYS(recvmmsg), SCMP_SYS(sendmmsg), SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(recvfrom),
      SCMP_SYS(sendto), SCMP_SYS(recv), SCMP_SYS(send), SCMP_SYS(bind), SCMP_SYS(connect), SCMP_SYS(accept),
      SCMP_SYS(accept4), SCMP_SYS(shutdown), SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(getsockopt),
      SCMP_SYS(setsockopt), END}},
    {"the group of the sidecar's own sockets, and the supervisor's end, which a change of group hides",
     {SCMP_SYS(setfsgid), SCMP_SYS(setfsgid32), SCMP_SYS(getresgid), SCMP_SYS(getresgid32), SCMP_SYS(getppid), END}},
    {"log lines, policy and always files, signals and eventfds: using descriptors",
     {SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64), SCMP_SYS(pwrite64),
      SCMP_SYS(close), SCMP_SYS(lseek), SCMP_SYS(_llseek), SCMP_SYS(fsync), SCMP_SYS(fdatasync), END}},
    {"policy file, always files, log rotation, certificates: finding, replacing and removing files (Landlock says "
     "which)",
     {SCMP_SYS(open),        SCMP_SYS(openat),
      SCMP_SYS(access),      SCMP_SYS(faccessat),
      SCMP_SYS(faccessat2),  SCMP_SYS(readlink),
      SCMP_SYS(readlinkat),  SCMP_SYS(stat),
      SCMP_SYS(lstat),       SCMP_SYS(fstat),
      SCMP_SYS(stat64),      SCMP_SYS(lstat64),
      SCMP_SYS(fstat64),     SCMP_SYS(newfstatat),
      SCMP_SYS(fstatat64),   SCMP_SYS(statx),
      SCMP_SYS(getdents),    SCMP_SYS(getdents64),
      SCMP_SYS(rename),      SCMP_SYS(renameat),
      SCMP_SYS(renameat2),   SCMP_SYS(unlink),
      SCMP_SYS(unlinkat),    SCMP_SYS(ftruncate),
      SCMP_SYS(ftruncate64), END}},
    {"a replaced policy file keeps its owner and mode", {SCMP_SYS(fchown), SCMP_SYS(fchown32), SCMP_SYS(fchmod), END}},
    {"changes of the always files",
     {SCMP_SYS(inotify_init1), SCMP_SYS(inotify_add_watch), SCMP_SYS(inotify_rm_watch), END}},
    {"the record queues are memory that is mapped twice", {SCMP_SYS(memfd_create), END}},
    {"malloc and the stacks of threads; making memory executable has conditions",
     {SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), END}},
    {"threads begin and end, and the process; signals, as abort() and the C library's threads use them",
     {SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(rt_sigaction),
      SCMP_SYS(sigreturn), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask), SCMP_SYS(sigaltstack),
      SCMP_SYS(membarrier), END}},
    {"random numbers, for ids, ports and TLS", {SCMP_SYS(getrandom), END}},
    {"clocks, where the vDSO has none",
     {SCMP_SYS(clock_gettime), SCMP_SYS(clock_gettime64), SCMP_SYS(clock_getres), SCMP_SYS(gettimeofday),
      SCMP_SYS(time), END}},
    {"metrics about the process; what the C library and OpenSSL want to know about process and machine",
     {SCMP_SYS(getrusage), SCMP_SYS(sysinfo), SCMP_SYS(uname), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getuid),
      SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(getuid32), SCMP_SYS(geteuid32),
      SCMP_SYS(getgid32), SCMP_SYS(getegid32), SCMP_SYS(getrlimit), SCMP_SYS(ugetrlimit), SCMP_SYS(sched_getaffinity),
      SCMP_SYS(getcpu), END}},
};

/* The process ends: nothing of it makes such a call, nor does a library try one and go on without. */
static const struct group deadly[] = {
    {"running programs, and processes to run them in",
     {SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork), END}},
    {"looking into other processes, or into the kernel",
     {SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(process_madvise),
      SCMP_SYS(kcmp), SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_getfd), SCMP_SYS(perf_event_open), SCMP_SYS(bpf),
      SCMP_SYS(userfaultfd), SCMP_SYS(lookup_dcookie), END}},
    {"other code in the kernel, or another kernel",
     {SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module), SCMP_SYS(kexec_load),
      SCMP_SYS(kexec_file_load), SCMP_SYS(reboot), SCMP_SYS(iopl), SCMP_SYS(ioperm), SCMP_SYS(modify_ldt), END}},
    {"other namespaces, other mounts", {SCMP_SYS(unshare),
                                        SCMP_SYS(setns),
                                        SCMP_SYS(mount),
                                        SCMP_SYS(umount),
                                        SCMP_SYS(umount2),
                                        SCMP_SYS(pivot_root),
                                        SCMP_SYS(chroot),
                                        SCMP_SYS(move_mount),
                                        SCMP_SYS(open_tree),
                                        SCMP_SYS(fsopen),
                                        SCMP_SYS(fsconfig),
                                        SCMP_SYS(fsmount),
                                        SCMP_SYS(fspick),
                                        SCMP_SYS(mount_setattr),
                                        SCMP_SYS(open_by_handle_at),
                                        SCMP_SYS(swapon),
                                        SCMP_SYS(swapoff),
                                        SCMP_SYS(quotactl),
                                        SCMP_SYS(acct),
                                        END}},
    {"other credentials, or keys", {SCMP_SYS(capset),     SCMP_SYS(setuid),      SCMP_SYS(setgid),
                                    SCMP_SYS(setreuid),   SCMP_SYS(setregid),    SCMP_SYS(setresuid),
                                    SCMP_SYS(setresgid),  SCMP_SYS(setfsuid),    SCMP_SYS(setgroups),
                                    SCMP_SYS(setuid32),   SCMP_SYS(setgid32),    SCMP_SYS(setreuid32),
                                    SCMP_SYS(setregid32), SCMP_SYS(setresuid32), SCMP_SYS(setresgid32),
                                    SCMP_SYS(setfsuid32), SCMP_SYS(setgroups32), SCMP_SYS(keyctl),
                                    SCMP_SYS(add_key),    SCMP_SYS(request_key), END}},
    {"another clock, another host",
     {SCMP_SYS(settimeofday), SCMP_SYS(clock_settime), SCMP_SYS(clock_adjtime), SCMP_SYS(adjtimex),
      SCMP_SYS(sethostname), SCMP_SYS(setdomainname), SCMP_SYS(syslog), END}},
};

/* An int argument (its upper half may be anything) under a mask. */
#define IS(argument, mask, value)                                                                                      \
    {                                                                                                                  \
        (argument), SCMP_CMP_MASKED_EQ, (uint32_t)(mask), (uint32_t)(value)                                            \
    }
#define ALL UINT32_MAX
#define TYPE 0xf /* of a socket, without SOCK_CLOEXEC and SOCK_NONBLOCK */
#define NAMESPACES                                                                                                     \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

struct condition {
    const char *reason;
    uint32_t action;
    int call;
    unsigned n;
    struct scmp_arg_cmp when[CONDITIONS_MAX];
};

static const struct condition conditions[] = {
    {"threads", SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, {IS(0, CLONE_THREAD | NAMESPACES, CLONE_THREAD)}},
    {"processes", SCMP_ACT_KILL_PROCESS, SCMP_SYS(clone), 1, {IS(0, CLONE_THREAD, 0)}},
    {"its flags are out of sight: the C library takes clone() instead",
     SCMP_ACT_ERRNO(ENOSYS),
     SCMP_SYS(clone3),
     0,
     {}},
    {"clients' addresses, upstreams",
     SCMP_ACT_ALLOW,
     SCMP_SYS(socket),
     2,
     {IS(0, ALL, AF_INET), IS(1, TYPE, SOCK_DGRAM)}},
    {"clients' addresses, upstreams",
     SCMP_ACT_ALLOW,
     SCMP_SYS(socket),
     2,
     {IS(0, ALL, AF_INET6), IS(1, TYPE, SOCK_DGRAM)}},
    {"upstreams, collectors, webhooks",
     SCMP_ACT_ALLOW,
     SCMP_SYS(socket),
     2,
     {IS(0, ALL, AF_INET), IS(1, TYPE, SOCK_STREAM)}},
    {"upstreams, collectors, webhooks",
     SCMP_ACT_ALLOW,
     SCMP_SYS(socket),
     2,
     {IS(0, ALL, AF_INET6), IS(1, TYPE, SOCK_STREAM)}},
    {"the table, conntrack, NFLOG",
     SCMP_ACT_ALLOW,
     SCMP_SYS(socket),
     2,
     {IS(0, ALL, AF_NETLINK), IS(2, ALL, NETLINK_NETFILTER)}},
    {"own addresses, devices",
     SCMP_ACT_ALLOW,
     SCMP_SYS(socket),
     2,
     {IS(0, ALL, AF_NETLINK), IS(2, ALL, NETLINK_ROUTE)}},
    {"ending connections",
     SCMP_ACT_ALLOW,
     SCMP_SYS(socket),
     2,
     {IS(0, ALL, AF_NETLINK), IS(2, ALL, NETLINK_SOCK_DIAG)}},
    {"does the kernel have it? Making one takes CAP_NET_RAW, which is gone",
     SCMP_ACT_ALLOW,
     SCMP_SYS(socket),
     1,
     {IS(0, ALL, AF_XDP)}},
    {"libcurl wakes itself", SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 1, {IS(0, ALL, AF_UNIX)}},
    {"memory that cannot be executed", SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, {IS(2, PROT_EXEC, 0)}},
    {"memory that cannot be executed", SCMP_ACT_ALLOW, SCMP_SYS(mmap2), 1, {IS(2, PROT_EXEC, 0)}},
    {"memory that cannot be executed", SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, {IS(2, PROT_EXEC, 0)}},
    {"the supervisor's end is this process's", SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, {IS(0, ALL, PR_GET_PDEATHSIG)}},
    {"the same", SCMP_ACT_ALLOW, SCMP_SYS(prctl), 2, {IS(0, ALL, PR_SET_PDEATHSIG), IS(1, ALL, SIGKILL)}},
    {"a thread names itself", SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, {IS(0, ALL, PR_SET_NAME)}},
    {"blocking or not: libcurl", SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, {IS(1, ALL, FIONBIO)}},
    {"limits are asked, not set", SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, {{2, SCMP_CMP_EQ, 0, 0}}},
};

/* The only ones that are for descriptors: none that makes signals of what happens to a file. */
static const int fcntl_commands[] = {F_GETFL, F_SETFL, F_GETFD, F_SETFD, F_DUPFD, F_DUPFD_CLOEXEC};

static int add_groups(scmp_filter_ctx filter, uint32_t action, const struct group *groups, size_t n)
{
    int error = 0;
    for (size_t i = 0; i < n && !error; i++)
        for (const int *call = groups[i].calls; *call != END && !error; call++)
            error = seccomp_rule_add(filter, action, *call, 0);
    return error;
}

static int add_conditions(scmp_filter_ctx filter)
{
    int error = 0;
    for (size_t i = 0; i < sizeof(conditions) / sizeof(conditions[0]) && !error; i++)
        error = seccomp_rule_add_array(filter, conditions[i].action, conditions[i].call, conditions[i].n,
                                       conditions[i].when);
    for (size_t i = 0; i < sizeof(fcntl_commands) / sizeof(fcntl_commands[0]); i++) {
        if (!error)
            error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
                                     SCMP_A1(SCMP_CMP_MASKED_EQ, ALL, (uint32_t)fcntl_commands[i]));
        if (!error)
            error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl64), 1,
                                     SCMP_A1(SCMP_CMP_MASKED_EQ, ALL, (uint32_t)fcntl_commands[i]));
    }
    if (!error) /* abort() */
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                                 SCMP_A0(SCMP_CMP_MASKED_EQ, ALL, (uint32_t)getpid()));
    return error;
}

static int set_up(scmp_filter_ctx filter)
{
    int error = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (!error) /* the error of the kernel, not ECANCELED */
        error = seccomp_attr_set(filter, SCMP_FLTATR_API_SYSRAWRC, 1);
    if (!error) /* a tree instead of a list: a call passes 8 comparisons instead of 120 */
        error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    /* Before Linux 5.16 every filter switches store bypassing off, which costs every load after a store. It guards
     * against foreign code in one's own process, of which there is none. */
    if (!error)
        error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
    return error == -EOPNOTSUPP ? 0 : error;
}

static void cleanup_filter(scmp_filter_ctx *filter)
{
    if (*filter)
        seccomp_release(*filter);
}

int syscalls_restrict(struct why *why)
{
    _cleanup_(cleanup_filter) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!filter)
        return why_set(why, -ENOMEM, "out of memory");
    int error = set_up(filter);
    if (!error)
        error = add_groups(filter, SCMP_ACT_ALLOW, allowed, sizeof(allowed) / sizeof(allowed[0]));
    if (!error)
        error = add_groups(filter, SCMP_ACT_KILL_PROCESS, deadly, sizeof(deadly) / sizeof(deadly[0]));
    if (!error)
        error = add_conditions(filter);
    if (!error)
        error = seccomp_load(filter);
    return error ? why_set(why, error, "seccomp: %s", strerrordesc_np(-error)) : 0;
}
