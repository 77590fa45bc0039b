/* What a service manager is told (sd_notify(3): datagrams of NAME=value lines to the socket that NOTIFY_SOCKET names):
 * that the start is through, that the stop has begun, and now and then that the loop still turns. Without such a
 * manager all of this does nothing. Belongs to the loop's thread. Nothing here blocks: a word that the manager has no
 * room for is lost, and the next one follows. */
#ifndef NOTIFY_H
#define NOTIFY_H

#include "base/loop.h"

/* One octet each, from the sidecar to its supervisor. */
enum life_sign {
    LIFE_GOES_ON = 'a', /* the loop turns */
    LIFE_ENDS = 's',    /* it will not any more, and that is meant: silence says nothing from now on */
};

struct notify {
    int fd;               /* -1: nobody wants to know */
    int life_fd;          /* of the supervisor's, see supervise.h; -1: there is none */
    uint64_t watchdog_ns; /* between two signs of life, 0: none are wanted */
    struct loop *loop;
    struct loop_timer watchdog;
};

/* Takes `life_fd` over (-1: no supervisor waits). Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and opens the
 * socket. A socket that cannot be opened is taken for none: the manager notices, since it waits in vain. */
void notify_open(int life_fd, struct notify *ret);
void notify_close(struct notify *notify);
/* The start is through. From now on the loop gives a sign of life twice in the time after which the manager would end a
 * process that hangs; a loop that does not turn gives none. */
void notify_ready(struct notify *notify, struct loop *loop);
/* The loop turns: for the supervisor, to be called every second. */
void notify_alive(const struct notify *notify);
/* The loop will turn no more, and that is meant. */
void notify_ending(const struct notify *notify);
/* The stop has begun and may take that many seconds. */
void notify_stopping(const struct notify *notify, unsigned seconds);

#endif
