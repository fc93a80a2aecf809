/*
 * poll_result.h
 *	  What sync_poll answers.
 */
#ifndef SYNCEXT_POLL_RESULT_H
#define SYNCEXT_POLL_RESULT_H

#include "local/poll_run.h"

/* The answer of sync_poll, in the current memory context. */
extern Jsonb *poll_result(const Poll *poll);

#endif							/* SYNCEXT_POLL_RESULT_H */
