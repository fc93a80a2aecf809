/*
 * self.h
 *	  Who this database is, for the other end of a link to tell it from others.
 */
#ifndef SYNCEXT_SELF_H
#define SYNCEXT_SELF_H

#include "model/identity.h"

/* In the current memory context; incarnation_check() comes before it. */
extern void self_identity(Identity *self);

/* What is done here in one run isn't forgotten later in the same: a number of its own. */
extern int64 self_run(void);

/* The timeline that is written, or on a standby read. */
extern uint32 self_timeline(void);

#endif							/* SYNCEXT_SELF_H */
