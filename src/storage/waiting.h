/*
 * waiting.h
 *	  Changes whose parent has not arrived: table syncext.waiting.
 */
#ifndef SYNCEXT_WAITING_H
#define SYNCEXT_WAITING_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

typedef struct Waiting Waiting;

typedef struct WaitingChange
{
	int64		id;
	const char *entity;
	const char *external_id;
	const char *source;
	const char *parent_entity;
	const char *parent_id;
	Jsonb	   *change;			/* the document */
	TimestampTz parked_at;
	int			attempts;
	TimestampTz next_attempt;	/* DT_NOEND: a dead letter */
	const char *error;			/* or NULL */
	TimestampTz dead_since;		/* of a dead letter; 0: since it is stored */
} WaitingChange;

extern Waiting *waiting_open(bool write);
extern void waiting_close(Waiting *waiting);

extern int64 waiting_add(Waiting *waiting, const WaitingChange *change);
/*
 * The first that wait for a record, in the order in which they were parked: a list of
 * WaitingChange, n at most, and fewer if they are large.
 */
extern List *waiting_for_parent(Waiting *waiting, const char *entity, const char *external_id,
								int n);
/* Let the next one that waits for the record, after an id, be due now. */
extern void waiting_hand_on(Waiting *waiting, const char *entity, const char *external_id,
							int64 id);
/*
 * Is a change of the source and record parked that has a lower id?  Then for what the
 * first one waits.
 */
extern bool waiting_ahead(Waiting *waiting, const char *entity, const char *external_id,
						  const char *source, int64 id, const char **parent_entity,
						  const char **parent_id);
/* Has the source parked the very same document? */
extern bool waiting_has(Waiting *waiting, const char *entity, const char *external_id,
						const char *source, Jsonb *document);
/* Has the change's source parked fewer than limit of the record, and for the parent? */
extern bool waiting_has_room(Waiting *waiting, const WaitingChange *change, int limit);
/* A source's, of an entity or of a record; NULL means any.  Reads the whole table. */
extern List *waiting_of_source(Waiting *waiting, const char *source, const char *entity,
							   const char *external_id);
/* The changes due by a time, the longest due first; at most n. */
extern List *waiting_due(Waiting *waiting, TimestampTz now, int n);
/*
 * Take a change off the table, or write its attempts, next attempt, parent and
 * error back.  False: another transaction has taken it.
 */
extern bool waiting_take(Waiting *waiting, int64 id);
extern bool waiting_update(Waiting *waiting, const WaitingChange *change);

#endif							/* SYNCEXT_WAITING_H */
