/*
 * listener.h
 *	  The sessions that want to be told of what is committed: table syncext.listener.
 */
#ifndef SYNCEXT_LISTENER_H
#define SYNCEXT_LISTENER_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

typedef struct Listener
{
	int			pid;
	const char *source;
	TimestampTz since;
	bool		listens;		/* to NOTIFY */
	bool		waits;			/* for its latch to be set */
} Listener;

/* All of them, as Listener *, in the current memory context. */
extern List *listener_list(void);
/* Find that of a process. */
extern bool listener_find(int pid, Listener *listener);

#endif							/* SYNCEXT_LISTENER_H */
