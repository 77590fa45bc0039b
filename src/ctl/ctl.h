/* `opensandbox-egress ctl …`: looks at the sidecar that runs here and changes its policy, over its HTTP API alone.
 * Needs no privilege, is not confined, and reads nothing but what it is named. */
#ifndef CTL_CTL_H
#define CTL_CTL_H

/* `argv[0]` is "ctl". Prints on stdout, an error as one line on stderr. Returns the exit code: 0; 1 denied (`policy
 * explain`) or not found (`policy rm`); else one of sysexits.h, see client_ask() and the usage. Blocks. */
int ctl_run(int argc, char **argv);

#endif
