#ifndef TESTS_UNIT_RUNNER_H
#define TESTS_UNIT_RUNNER_H

#include <check.h>

/* Defined by every test_<module>.c. */
Suite *test_suite(void);

#endif
