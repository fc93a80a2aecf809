/*
 * pooler.h
 *	  Does a connection pooler stand between a link and its hub?
 */
#ifndef SYNCEXT_POOLER_H
#define SYNCEXT_POOLER_H

#include "link/remote.h"

/*
 * Look at a new connection before anything is set on it.  Raises 0A000 where it
 * leads through a pooler that gives its sessions at the hub to others in between, or
 * of which that can't be told.
 */
extern void pooler_check(Remote *remote, const char *const *keywords, const char *const *values,
						 TimestampTz deadline);

#endif							/* SYNCEXT_POOLER_H */
