#include "ctl/ctl.h"

#include "base/cleanup.h"
#include "base/local_socket.h"
#include "base/text.h"
#include "ctl/command.h"

#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#define ADDRESS_VARIABLE "OPENSANDBOX_EGRESS_HTTP_ADDR"
#define SOCKET_VARIABLE "OPENSANDBOX_EGRESS_API_SOCKET"
#define CERTIFICATE_VARIABLE "OPENSANDBOX_EGRESS_TLS_CERT"
#define TOKEN_VARIABLE "OPENSANDBOX_EGRESS_TOKEN"
#define TOKEN_MAX 4096 /* bytes of a token's file */

static const char usage[] =
    "Usage: opensandbox-egress ctl [OPTION...] COMMAND\n"
    "\n"
    "  policy get               what is in force; with --json the policy as `policy set` takes it\n"
    "  policy set FILE          replace the policy; - is stdin\n"
    "  policy allow TARGET...   put rules in front that allow names (NAME, *.NAME, *), IPs or CIDRs\n"
    "  policy deny TARGET...    the same, denying\n"
    "  policy rm TARGET...      remove the rules with these targets\n"
    "  policy explain TARGET... which rule decides for a name or an IP; exit code 1: denied\n"
    "  policy suggested         the smallest policy for what was seen since the start\n"
    "  leases                   addresses that allowed names led to, and for how long\n"
    "  events                   follow what the sandbox tries to reach\n"
    "  top                      names and addresses by count, live on a terminal\n"
    "\n"
    "  --dry-run             set, allow, deny, rm: show what would change\n"
    "  --denied              events, top: only what is refused\n"
    "  --once                events, top: what is known now, then end\n"
    "  --json                answers for programs\n"
    "  --address ADDRESS     the API: unix:/PATH, HOST:PORT or :PORT, these with https:// where it speaks TLS\n"
    "                        (" SOCKET_VARIABLE ", else " LOCAL_SOCKET_OF_API ";\n"
    "                        where that is not, " ADDRESS_VARIABLE ", else :18080)\n"
    "  --cacert FILE         who vouches for its certificate (https://HOST:PORT)\n"
    "  --token-file FILE     its token (" TOKEN_VARIABLE "); - is stdin\n"
    "\n"
    "Exit codes: 0 done, 1 denied or not found, 64 bad arguments, 65 the sidecar cannot use it, 66 no such file,\n"
    "69 the sidecar does not answer, 71 it failed, 74 output failed, 75 changed by somebody else or busy: try again,\n"
    "76 that is no sidecar, 77 the token is missing or wrong. NO_COLOR: no colours.\n";

enum flag { HELP = 1, JSON = 2, DRY_RUN = 4, DENIED = 8, ONCE = 16, ADDRESS = 32, TOKEN_FILE = 64, CACERT = 128 };

struct entry {
    const char *group, *name; /* NULL: the group is all */
    command_run *run;
    size_t words_min, words_max;
    unsigned options; /* beyond those for all */
};

static const struct entry entries[] = {
    {"policy", "get", policy_get, 0, 0, 0},
    {"policy", "set", policy_set, 1, 1, DRY_RUN},
    {"policy", "allow", policy_allow, 1, SIZE_MAX, DRY_RUN},
    {"policy", "deny", policy_deny, 1, SIZE_MAX, DRY_RUN},
    {"policy", "rm", policy_rm, 1, SIZE_MAX, DRY_RUN},
    {"policy", "explain", policy_explain, 1, SIZE_MAX, 0},
    {"policy", "suggested", policy_suggested, 0, 0, 0},
    {"leases", NULL, leases_list, 0, 0, 0},
    {"events", NULL, events_follow, 0, 0, DENIED | ONCE},
    {"top", NULL, top_show, 0, 0, DENIED | ONCE},
};

static const struct option options[] = {
    {"help", no_argument, NULL, HELP},
    {"json", no_argument, NULL, JSON},
    {"dry-run", no_argument, NULL, DRY_RUN},
    {"denied", no_argument, NULL, DENIED},
    {"once", no_argument, NULL, ONCE},
    {"address", required_argument, NULL, ADDRESS},
    {"token-file", required_argument, NULL, TOKEN_FILE},
    {"cacert", required_argument, NULL, CACERT},
    {0},
};

/* What the arguments say. */
struct arguments {
    unsigned given; /* options */
    const char *address, *token_file, *cacert;
    const struct entry *entry;
    char *const *words;
    size_t n_words;
};

static int parse_options(int argc, char **argv, struct arguments *ret, struct why *why)
{
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == '?')
            return why_set(why, EX_USAGE, "\"%.100s\": unknown, or not complete; see ctl --help", argv[optind - 1]);
        ret->given |= (unsigned)option;
        if (option == ADDRESS)
            ret->address = optarg;
        if (option == TOKEN_FILE)
            ret->token_file = optarg;
        if (option == CACERT)
            ret->cacert = optarg;
    }
    ret->words = argv + optind;
    ret->n_words = (size_t)(argc - optind);
    return 0;
}

static int find_entry(struct arguments *arguments, struct why *why)
{
    const char *group = arguments->n_words ? arguments->words[0] : "";
    const char *name = arguments->n_words > 1 ? arguments->words[1] : "";
    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]) && !arguments->entry; i++)
        if (!strcmp(entries[i].group, group) && (!entries[i].name || !strcmp(entries[i].name, name)))
            arguments->entry = &entries[i];
    const struct entry *entry = arguments->entry;
    if (!entry)
        return why_set(why, EX_USAGE, "\"%.50s%s%.50s\": no such command; see ctl --help", group, *name ? " " : "",
                       name);
    size_t own = entry->name ? 2 : 1;
    arguments->words += own;
    arguments->n_words -= own;
    if (arguments->n_words < entry->words_min || arguments->n_words > entry->words_max)
        return why_set(why, EX_USAGE, "%s %s: too %s arguments; see ctl --help", group, entry->name ? name : "",
                       arguments->n_words < entry->words_min ? "few" : "many");
    if (arguments->given & (DRY_RUN | DENIED | ONCE) & ~entry->options)
        return why_set(why, EX_USAGE, "%s %s: an option of another command; see ctl --help", group,
                       entry->name ? name : "");
    return 0;
}

/* The trimmed token, NULL when there is none; the caller frees it. */
static int read_token(const char *file, char **ret, struct why *why)
{
    _cleanup_buf_ struct buf text = {0};
    const char *variable = getenv(TOKEN_VARIABLE);
    int code = file ? command_read(file, TOKEN_MAX, &text, why) : 0;
    if (code)
        return code;
    if (!file && variable)
        buf_puts(&text, variable);
    *ret = text_trimmed(text.len ? text.data : "", text.len);
    if (!*ret)
        return why_set(why, EX_OSERR, "out of memory");
    if ((*ret)[strcspn(*ret, "\r\n")] || (file && !**ret))
        return why_set(why, EX_DATAERR, "%.200s: a token is one line", file ? file : TOKEN_VARIABLE);
    if (!**ret) {
        free(*ret);
        *ret = NULL;
    }
    return 0;
}

/* One that does more than printing. */
static bool is_terminal(void)
{
    const char *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && (!term || strcmp(term, "dumb"));
}

static bool wants_colour(bool terminal)
{
    const char *no = getenv("NO_COLOR");
    return terminal && (!no || !*no);
}

/* The trimmed value, "" when it is not set; NULL when memory is short. */
static char *variable(const char *name)
{
    const char *value = getenv(name);
    return text_trimmed(value ? value : "", value ? strlen(value) : 0);
}

/* The sidecar's socket in the file system comes first: nobody of the sandbox listens there and gets the token. For the
 * same reason one that nobody listens on is not passed over. NULL when memory is short; the caller frees it. */
static char *find_address(const char *given, const char *certificate)
{
    _cleanup_free_ char *address = variable(ADDRESS_VARIABLE), *socket = variable(SOCKET_VARIABLE);
    if (given)
        return text_trimmed(given, strlen(given));
    if (!address || !socket)
        return NULL;
    if (!strncmp(address, LOCAL_SOCKET_PREFIX, strlen(LOCAL_SOCKET_PREFIX)))
        return take_pointer(address);
    const char *path = *socket ? socket : LOCAL_SOCKET_OF_API;
    enum local_socket_state state = text_falsy(path) ? LOCAL_SOCKET_ABSENT : local_socket_look(path);
    char *local = NULL;
    if (state == LOCAL_SOCKET_HERE || state == LOCAL_SOCKET_DEAD)
        return asprintf(&local, LOCAL_SOCKET_PREFIX "%s", path) < 0 ? NULL : local;
    const char *https = *certificate ? "https://" : "";
    return asprintf(&local, "%s%s", https, *address ? address : ":18080") < 0 ? NULL : local;
}

static int run(const struct arguments *arguments, struct why *why)
{
    _cleanup_free_ char *token = NULL, *address = NULL, *certificate = variable(CERTIFICATE_VARIABLE);
    int code = read_token(arguments->token_file, &token, why);
    if (code)
        return code;
    if (!certificate || !(address = find_address(arguments->address, certificate)))
        return why_set(why, EX_OSERR, "out of memory");
    struct command command = {
        .words = arguments->words,
        .n_words = arguments->n_words,
        .json = arguments->given & JSON,
        .dry_run = arguments->given & DRY_RUN,
        .denied = arguments->given & DENIED,
        .once = arguments->given & ONCE,
        .terminal = is_terminal(),
    };
    command.colour = wants_colour(command.terminal);
    const char *authorities = arguments->cacert ? arguments->cacert : *certificate ? certificate : NULL;
    code = client_new(address, token, authorities, &command.client, why);
    if (code)
        return code;
    code = arguments->entry->run(&command);
    client_free(command.client);
    *why = command.why;
    return code;
}

int ctl_run(int argc, char **argv)
{
    struct arguments arguments = {0};
    struct why why = {0};
    int code = parse_options(argc, argv, &arguments, &why);
    if (!code && arguments.given & HELP)
        return fputs(usage, stdout) < 0 ? EX_IOERR : 0;
    if (!code && !arguments.n_words) {
        fputs(usage, stderr);
        return EX_USAGE;
    }
    if (!code)
        code = find_entry(&arguments, &why);
    if (!code)
        code = run(&arguments, &why);
    if (code && why.text[0])
        fprintf(stderr, "opensandbox-egress ctl: %s\n", why.text);
    return code;
}
