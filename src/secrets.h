/* The secrets in the environment: the API's token, the headers and the URLs that may hold passwords. */
#ifndef SECRETS_H
#define SECRETS_H

#include <stdbool.h>

/* To be called when the environment has been read, before any thread is started. Overwrites the values where
 * /proc/PID/environ shows them (getenv() finds them empty then). When there were any, no crash writes the memory to a
 * file and no other process without CAP_SYS_PTRACE looks into it (RLIMIT_CORE 0, PR_SET_DUMPABLE 0). Says whether there
 * were any. */
bool secrets_hide(void);
/* The same of crashes and other processes, but the values stay: for one that hands its environment on. */
void secrets_keep(void);

#endif
