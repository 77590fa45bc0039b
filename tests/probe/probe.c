/* probe ATTEMPT [PATH]: confines itself as the sidecar with this environment would, then tries one thing, in a thread
 * that it starts. Prints "done" or the error's name; what is deadly ends it by SIGSYS. */
#include "base/log.h"
#include "base/why.h"
#include "confine.h"
#include "privileges.h"
#include "version.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How an attempt went: not negative when it did, else -1 and errno. */
typedef long attempt_fn(const char *path);

static long open_read(const char *path)
{
    return open(path, O_RDONLY | O_CLOEXEC);
}

static long open_write(const char *path)
{
    return open(path, O_WRONLY | O_CLOEXEC);
}

static long make_file(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

static long rename_away(const char *path)
{
    return rename(path, "/tmp/egress-probe-stolen");
}

static long make_folder(const char *path)
{
    return mkdir(path, 0700);
}

static long make_link(const char *path)
{
    return symlink("/etc/shadow", path);
}

static long change_mode(const char *path)
{
    return chmod(path, 0777);
}

static long run_program(const char *path)
{
    return execl("/bin/true", "true", (char *)NULL);
}

static long fork_process(const char *path)
{
    return fork();
}

static long packet_socket(const char *path)
{
    return socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
}

static long raw_socket(const char *path)
{
    return socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
}

static long unix_socket(const char *path)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static long uevent_socket(const char *path)
{
    return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
}

static long tcp_socket(const char *path)
{
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static long bind_tcp(const char *path)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? fd : bind(fd, (struct sockaddr *)&addr, sizeof(addr));
}

static long listen_tcp(const char *path)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? fd : listen(fd, 1);
}

static long map_code(const char *path)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0;
}

static long make_code(const char *path)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? -1 : mprotect(page, 4096, PROT_READ | PROT_EXEC);
}

static long be_dumpable(const char *path)
{
    return prctl(PR_SET_DUMPABLE, 1L, 0L, 0L, 0L);
}

static long push_input(const char *path)
{
    return ioctl(STDIN_FILENO, TIOCSTI, "x");
}

static long raise_limit(const char *path)
{
    struct rlimit limit = {.rlim_cur = 1, .rlim_max = 1};
    return prlimit(0, RLIMIT_NOFILE, &limit, NULL);
}

static long signal_parent(const char *path)
{
    return kill(getppid(), 0);
}

static long signal_other_thread(const char *path)
{
    return syscall(SYS_tgkill, getppid(), getppid(), 0);
}

/* Calls whose arguments do not matter: the filter decides by their number. */
static const struct {
    const char *name;
    long number;
} calls[] = {
    {"execveat", SYS_execveat},
    {"vfork", SYS_vfork},
    {"clone3", SYS_clone3},
    {"ptrace", SYS_ptrace},
    {"process_vm_readv", SYS_process_vm_readv},
    {"process_vm_writev", SYS_process_vm_writev},
    {"pidfd_getfd", SYS_pidfd_getfd},
    {"perf_event_open", SYS_perf_event_open},
    {"bpf", SYS_bpf},
    {"userfaultfd", SYS_userfaultfd},
    {"init_module", SYS_init_module},
    {"finit_module", SYS_finit_module},
    {"delete_module", SYS_delete_module},
    {"kexec_load", SYS_kexec_load},
    {"reboot", SYS_reboot},
    {"unshare", SYS_unshare},
    {"setns", SYS_setns},
    {"mount", SYS_mount},
    {"umount2", SYS_umount2},
    {"pivot_root", SYS_pivot_root},
    {"chroot", SYS_chroot},
    {"open_by_handle_at", SYS_open_by_handle_at},
    {"capset", SYS_capset},
    {"setuid", SYS_setuid},
    {"setresgid", SYS_setresgid},
    {"keyctl", SYS_keyctl},
    {"clock_settime", SYS_clock_settime},
    {"io_uring_setup", SYS_io_uring_setup},
    {"seccomp", SYS_seccomp},
    {"personality", SYS_personality},
    {"x32", 0x40000000 + SYS_getpid},
};

static const struct {
    const char *name;
    attempt_fn *attempt;
} attempts[] = {
    {"open-read", open_read},
    {"open-write", open_write},
    {"make-file", make_file},
    {"rename-away", rename_away},
    {"make-folder", make_folder},
    {"make-link", make_link},
    {"change-mode", change_mode},
    {"execve", run_program},
    {"fork", fork_process},
    {"packet-socket", packet_socket},
    {"raw-socket", raw_socket},
    {"unix-socket", unix_socket},
    {"uevent-socket", uevent_socket},
    {"tcp-socket", tcp_socket},
    {"bind-tcp", bind_tcp},
    {"listen-tcp", listen_tcp},
    {"map-code", map_code},
    {"make-code", make_code},
    {"be-dumpable", be_dumpable},
    {"push-input", push_input},
    {"raise-limit", raise_limit},
    {"signal-parent", signal_parent},
    {"signal-other-thread", signal_other_thread},
};

static long try_it(const char *name, const char *path)
{
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        if (!strcmp(name, calls[i].name))
            return syscall(calls[i].number, 0L, 0L, 0L, 0L, 0L, 0L);
    for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++)
        if (!strcmp(name, attempts[i].name))
            return attempts[i].attempt(path);
    errno = ENOTSUP;
    return -1;
}

static void *run(void *arg)
{
    char **argv = arg;
    long result = try_it(argv[1], argv[1] ? argv[2] : NULL);
    puts(result < 0 ? strerrorname_np(errno) : "done");
    fflush(stdout);
    return NULL;
}

int main(int argc, char **argv)
{
    struct config *config;
    struct otel_env *otel;
    struct log *log;
    struct why why;
    pthread_t thread;
    if (argc == 2 && !strcmp(argv[1], "filters")) /* does this build? */
        return EGRESS_FILTER_SYSCALLS ? 0 : 1;
    int error = argc < 2 ? -EINVAL : config_from_env(&config, &why);
    if (!error)
        error = otel_env_read(OTEL_HOSTINFO, &otel);
    if (!error)
        error = log_new(4096, LOG_DEBUG, &log);
    if (!error)
        error = privileges_drop(&why);
    if (!error)
        error = confine(config, otel, log, &why);
    if (!error)
        error = -pthread_create(&thread, NULL, run, argv);
    if (error) {
        fprintf(stderr, "probe: %s\n", strerrorname_np(-error));
        return 1;
    }
    pthread_join(thread, NULL);
    log_free(log);
    otel_env_free(otel);
    config_free(config);
    return 0;
}
