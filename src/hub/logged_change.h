/*
 * logged_change.h
 *	  What a row of the change log keeps of its change beside the fields: written
 *	  when it is logged, and read where the log is replayed.
 */
#ifndef SYNCEXT_LOGGED_CHANGE_H
#define SYNCEXT_LOGGED_CHANGE_H

#include "model/ladder.h"
#include "nodes/pg_list.h"
#include "storage/change_log.h"

/*
 * The row of what a decision has made of a record, which all are told: the record as it is
 * after that, and the fields that came in (NULL: none).  It has no detail yet.
 */
extern LogEntry logged_decision(const char *entity, const char *external_id, const char *source,
								const Record *after, const Fields *fields);
/*
 * Log that the record which has been named by change->alias is gone, and is a part of
 * the change's; tell the audience, as of the change's source.
 */
extern void merge_log_gone(ChangeLog *log, const Change *change, const Record *gone,
						   Audience audience);

/*
 * The detail of a change that was decided upon the record before; NULL where the row's
 * other columns say all, as base and updated_at do.  overtaken are the Conflicts that it closes, conflict_id is the one
 * that it is (0: none).
 */
extern Jsonb *logged_change_detail(const Change *change, const Record *before, const Decision *d,
								   List *overtaken, int64 conflict_id);

/* A row of the change log, as it is replayed. */
typedef struct LoggedRow
{
	int64		seq;
	TimestampTz recorded_at;
	const char *source;
	int64		version;		/* the record's, after the change */
	int64		row_version;
	bool		has_base;
	int64		base;
	bool		has_updated_at;
	TimestampTz updated_at;
	Resolution	resolution;
	Jsonb	   *fields;
	Jsonb	   *detail;			/* or NULL */
	Fields		details;		/* its members */
} LoggedRow;

/*
 * Make the change of the row, as it counted when it was logged.  Returns why it can't be
 * made, or NULL.
 */
extern const char *logged_change_read(const LoggedRow *row, const char *entity,
									  const char *external_id, Change *change);
/* A member of the row's detail; NULL: it has none of this name. */
extern const JsonbValue *logged_row_member(const LoggedRow *row, const char *name);
/* A member that is a number; 0: it has none. */
extern int64 logged_row_number(const LoggedRow *row, const char *name);
/* Was the field, or all that the change said, lost at that time? */
extern bool logged_row_lost(const LoggedRow *row, FieldName field);

#endif							/* SYNCEXT_LOGGED_CHANGE_H */
