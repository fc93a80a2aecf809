/*
 * conflict_log.h
 *	  The manual review queue: table syncext.conflict_log.
 */
#ifndef SYNCEXT_CONFLICT_LOG_H
#define SYNCEXT_CONFLICT_LOG_H

#include "nodes/pg_list.h"

#include "model/ladder.h"
#include "storage/mapped.h"

typedef MappedTable ConflictLog;

typedef struct Conflict
{
	int64		id;
	const char *status;			/* pending, resolved, superseded, dismissed */
	TimestampTz recorded_at;
	const char *entity;
	const char *external_id;
	const char *source;
	int64		version;		/* the record's, when the conflict arose */
	int64		row_version;
	Jsonb	   *incoming;		/* the patch */
	bool		incoming_deleted;
	Jsonb	   *incoming_detail;	/* version, base, updatedAt as they came */
	Jsonb	   *canonical;		/* the record's fields then */
	bool		canonical_deleted;
	const char *canonical_source;
	const char *reason;
	List	   *contested;		/* as stored, of char *; for conflict_log.c alone */
	bool		whole;			/* over the whole record */
	FieldNames	fields;			/* else over these */
	const char *problem;		/* why incoming and its detail can't be used; or NULL */

	/* what became of it */
	const char *decision;
	Jsonb	   *decided_fields;
	const char *decided_by;
	TimestampTz decided_at;
	int64		decided_seq;	/* of the change log; 0: none */
	const char *note;
	const char *assigned_to;
} Conflict;

extern const MappedDef conflict_log_def;

/*
 * Pending conflicts of a record (of one source, if source isn't NULL), without
 * incoming, incoming_detail, canonical and reason.
 */
extern List *conflict_log_pending(ConflictLog *log, const char *entity,
								  const char *external_id, const char *source);
/*
 * Tell of all records of the entity from first to last that may have pending conflicts, in the
 * order of their ids, some more than once.  Returns false if there are more than max.
 */
extern bool conflict_log_note_pending(ConflictLog *log, const char *entity, const char *first,
									  const char *last, int max,
									  void (*note) (void *arg, const text *external_id), void *arg);
/* How many conflicts this backend has made pending so far, by these functions. */
extern uint64 conflict_log_made(void);
/* The pending one of the wanted one's source, record's version and patch; 0: none. */
extern int64 conflict_log_find_same(ConflictLog *log, const Conflict *wanted);
/* Is any conflict pending at all? */
extern bool conflict_log_any_pending(ConflictLog *log);
extern bool conflict_log_find(ConflictLog *log, int64 id, Conflict *conflict);
/* Raise XX001 if what came in, of the conflict found last, can't be used. */
extern void conflict_log_require(const ConflictLog *log, const Conflict *conflict);
extern int64 conflict_log_add(ConflictLog *log, const Conflict *conflict);
/* Make a closed conflict pending again; false if another transaction changed it meanwhile. */
extern bool conflict_log_reopen(ConflictLog *log, const Conflict *conflict);
/* Say who is to decide a pending conflict (NULL: nobody in particular); false as above. */
extern bool conflict_log_assign(ConflictLog *log, int64 id, const char *assignee);
/* Close a pending conflict; false if another transaction closed it meanwhile. */
extern bool conflict_log_close_one(ConflictLog *log, int64 id, const char *status,
								   const char *decision, Jsonb *decided_fields,
								   const char *note, int64 closed_by_seq);

#endif							/* SYNCEXT_CONFLICT_LOG_H */
