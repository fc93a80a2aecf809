/*
 * poll_deletes.h
 *	  Rows of a polled relation that have vanished.
 */
#ifndef SYNCEXT_POLL_DELETES_H
#define SYNCEXT_POLL_DELETES_H

#include "local/poll_run.h"

/* Find the rows that have vanished, and bring that to the hub; false as poll_step. */
extern bool poll_delete_vanished(Poll *poll);

#endif							/* SYNCEXT_POLL_DELETES_H */
