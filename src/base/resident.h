/* How much memory the process keeps: a sidecar runs ten thousand times, and is idle most of its life. */
#ifndef BASE_RESIDENT_H
#define BASE_RESIDENT_H

/* Large buffers go back to the kernel when they are freed, also after others like them; and threads have one heap, in
 * which one can use what another has freed: the loop allocates for new addresses at most. Once, before the first
 * thread. */
void resident_set_limits(void);
/* Drops the pages of code and constants, the program's and its libraries': clean pages of files, which come back when
 * somebody needs them. A start touches twice what running does. Blocks for less than a millisecond. Any thread. */
void resident_trim(void);

#endif
