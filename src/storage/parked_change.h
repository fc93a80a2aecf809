/*
 * parked_change.h
 *	  Changes whose parent has not arrived: table syncext.waiting.
 */
#ifndef SYNCEXT_PARKED_CHANGE_H
#define SYNCEXT_PARKED_CHANGE_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "storage/attempt.h"
#include "storage/mapped.h"

typedef MappedTable ParkedChanges;

typedef struct ParkedChange
{
	int64		id;
	const char *entity;
	const char *external_id;
	const char *source;
	const char *parent_entity;
	const char *parent_id;
	Jsonb	   *change;			/* the document */
	TimestampTz parked_at;
	Attempt		attempt;
} ParkedChange;

extern const MappedDef parked_change_def;

extern int64 parked_change_add(ParkedChanges *changes, const ParkedChange *change);
/* Is anything parked?  True, too, where it was not long ago. */
extern bool parked_changes_any(const ParkedChanges *changes);
/*
 * The first that wait for a record, in the order in which they were parked: a list of
 * ParkedChange, n at most, and fewer if they are large.
 */
extern List *parked_changes_for_parent(ParkedChanges *changes, const char *entity,
									   const char *external_id, int n);
/* Let the next one that waits for the record, after an id, be due now. */
extern void parked_change_hand_on(ParkedChanges *changes, const char *entity,
								  const char *external_id, int64 id);
/*
 * Is a change of the source and record parked that has a lower id?  Then for what the
 * first one waits.
 */
extern bool parked_change_ahead(ParkedChanges *changes, const char *entity,
								const char *external_id, const char *source, int64 id,
								const char **parent_entity, const char **parent_id);
/* Has the source parked the very same document? */
extern bool parked_changes_have(ParkedChanges *changes, const char *entity,
								const char *external_id, const char *source, Jsonb *document);
/* Has the change's source parked fewer than limit of the record, and for the parent? */
extern bool parked_changes_have_room(ParkedChanges *changes, const ParkedChange *change,
									 int limit);
/* A source's, of an entity or of a record; NULL means any.  Reads the whole table. */
extern List *parked_changes_of_source(ParkedChanges *changes, const char *source,
									  const char *entity, const char *external_id);
/* The changes due by a time, the longest due first; at most n. */
extern List *parked_changes_due(ParkedChanges *changes, TimestampTz now, int n);
/* When the first of all changes is due; DT_NOEND: none is parked.  Opens the table. */
extern TimestampTz parked_changes_next_due(void);
/*
 * Take a change off the table, or write its attempts, next attempt, parent and
 * error back.  False: another transaction has taken it.
 */
extern bool parked_change_take(ParkedChanges *changes, int64 id);
extern bool parked_change_update(ParkedChanges *changes, const ParkedChange *change);

#endif							/* SYNCEXT_PARKED_CHANGE_H */
