/* What a service manager is told (sd_notify(3): datagrams of NAME=value lines to the socket that NOTIFY_SOCKET names):
 * that the start is through, that the stop has begun, and now and then that the loop still turns. Without such a
 * manager all of this does nothing. Belongs to the loop's thread. Nothing here blocks: a word that the manager has no
 * room for is lost, and the next one follows. */
#ifndef NOTIFY_H
#define NOTIFY_H

#include "base/loop.h"

struct notify {
    int fd;               /* -1: nobody wants to know */
    uint64_t watchdog_ns; /* between two signs of life, 0: none are wanted */
    struct loop *loop;
    struct loop_timer watchdog;
};

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and opens the socket. A socket that cannot be opened is taken
 * for none: the manager notices, since it waits in vain. */
void notify_open(struct notify *ret);
void notify_close(struct notify *notify);
/* The start is through. From now on the loop gives a sign of life twice in the time after which the manager would end a
 * process that hangs; a loop that does not turn gives none. */
void notify_ready(struct notify *notify, struct loop *loop);
/* The stop has begun and may take that many seconds. */
void notify_stopping(const struct notify *notify, unsigned seconds);

#endif
