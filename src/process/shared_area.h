/*
 * shared_area.h
 *	  Structures of ours in the memory that all sessions share, where there is some.
 */
#ifndef SYNCEXT_SHARED_AREA_H
#define SYNCEXT_SHARED_AREA_H

#include "c.h"

/* One structure; static, as it is remembered. */
typedef struct SharedArea
{
	const char *what;			/* it is named by this, its layout and the size of a unit of it: */
	int			layout;			/* laid out in another way it is another one */
	Size		unit;
	Size		(*size) (void);
	void		(*init) (void *place);	/* once, by whoever comes first */
	void		(*attached) (void *place);	/* in each session, when it has it at hand */
	bool		at_hand;
	struct SharedArea *next;
} SharedArea;

/* For _PG_init: have the area made with the server, if that loads its libraries now. */
extern void shared_area_request(SharedArea *area);
/* Has the server loaded the library when it started?  Then all sessions have it. */
extern bool shared_area_preloaded(void);

/* It is not at hand, and shared_area_attach() might change that. */
extern bool shared_area_possible(const SharedArea *area);
/*
 * Get at it, in a transaction, before anything that may not fail.  May raise: call it by
 * subxact_try(), or shared_area_try(), which says whether it is at hand now.
 */
extern void shared_area_attach(void *area);
extern bool shared_area_try(SharedArea *area);

#endif							/* SYNCEXT_SHARED_AREA_H */
