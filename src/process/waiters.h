/*
 * waiters.h
 *	  The sessions that wait for something to pull, told by those that commit it.
 */
#ifndef SYNCEXT_WAITERS_H
#define SYNCEXT_WAITERS_H

#include "process/shared_area.h"
#include "storage/registry.h"

/* What a transaction has written that targets may have to hear of; zero: nothing. */
typedef struct News
{
	uint64		entities;		/* a bit each; several may have the same one */
	uint64		only_others_of; /* others than this source, by its hash; 0: anybody */
} News;

/* Where they are. */
extern SharedArea waiters_area;

/* Add to the news that somebody, or everybody but the source, has to hear of the entity. */
extern void news_add(News *news, const char *entity, const char *but_source);
/* Anything may have happened. */
extern void news_add_all(News *news);

/*
 * From here on have the session's latch set at each commit that its source may have to hear
 * of, until waiters_leave() or the end of the process.  What was committed before is visible
 * to a snapshot that is taken after this.  Called again, it goes by what the source is now.
 */
extern void waiters_enter(const Source *source);
extern void waiters_leave(void);

/* Set the latches of those that are concerned, after the commit.  Raises nothing. */
extern void waiters_tell(const News *news);

#endif							/* SYNCEXT_WAITERS_H */
