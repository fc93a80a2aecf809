/*
 * canonical.h
 *	  The golden records: table syncext.canonical.
 */
#ifndef SYNCEXT_CANONICAL_H
#define SYNCEXT_CANONICAL_H

#include "model/record.h"
#include "storage/rows.h"

typedef struct Canonical Canonical;

/* A record as targets are sent it: without its stamps. */
typedef struct CanonicalState
{
	int64		version;
	int64		row_version;
	bool		deleted;
	const char *last_source;
	bool		has_updated_at;
	TimestampTz updated_at;
	Jsonb	   *fields;
	TransactionId written_by;
	ItemPointerData at;			/* where it was read */
	const char *problem;		/* why it can't be sent, and has no fields here; or NULL */
} CanonicalState;

extern Canonical *canonical_open(bool write);
extern void canonical_close(Canonical *canonical);
/* Also in a transaction whose snapshot is older, read what is committed by now. */
extern void canonical_see_latest(Canonical *canonical);

/*
 * Read a record in the current memory context; record->exists tells, and if not
 * record->floor above which row version one begins.
 */
extern void canonical_find(Canonical *canonical, const char *entity,
						   const char *external_id, Record *record);
/* The same where it is one record alone: opens the table, and closes it. */
extern void canonical_read(const char *entity, const char *external_id, Record *record);
/* Find it, and lock it as it was found.  Returns whether it exists. */
extern bool canonical_hold(Canonical *canonical, const char *entity, const char *external_id,
						   Record *record);
/* Has the entity a record? */
extern bool canonical_any(const char *entity);
/*
 * Read n records ahead by one snapshot, each once; order is that of their keys, or NULL, and so
 * are places: see rows_look_ahead().
 */
extern bool canonical_look_ahead(Canonical *canonical, int n, const RecordKey *records,
								 const int *order, const ItemPointerData *places);
/* What was found ahead doesn't hold any more. */
extern void canonical_forget_ahead(Canonical *canonical);
#define CANONICAL_AHEAD		ROWS_AHEAD	/* records at most */
#define CANONICAL_AHEAD_MIN	32	/* and at least, to be worth it */
/* Is there one?  Nothing else is looked at. */
extern bool canonical_exists(Canonical *canonical, const char *entity, const char *external_id);
/* And is it no tombstone?  A call that asks for many takes no memory for their fields. */
extern bool canonical_lives(Canonical *canonical, const char *entity, const char *external_id);
/* Read many by one snapshot, their fields unopened; rows_scan_end ends it. */
extern RowsScan *canonical_seek_begin(Canonical *canonical);
extern bool canonical_seek(Canonical *canonical, RowsScan *scan, const char *entity,
						   const char *external_id, CanonicalState *state);
/*
 * The fields of the record that canonical_seek() has just found that were set after a row
 * version, and room for more of them; false: it is all of them, or its stamps don't tell.
 */
extern bool canonical_seek_set_since(Canonical *canonical, const CanonicalState *state,
									 int64 since, int more, FieldNames *names);
/* Did the transaction under way write the row that was found last? */
extern bool canonical_is_ours(Canonical *canonical);
/* Has the table CHECKs, columns or indexes of a DBA's? */
extern bool canonical_guarded(const Canonical *canonical);
/* The CHECK that the record would violate if it were written, or NULL; see rows_violated(). */
extern const char *canonical_violated(Canonical *canonical, const char *entity,
									  const char *external_id, const Record *record,
									  const char **constraint);
/* Write over the row that was found last, or insert where none was. */
extern RowsOutcome canonical_write(Canonical *canonical, const char *entity,
								   const char *external_id, const Record *record);
/*
 * Insert a record that was not found, later, together with others: canonical's own searches
 * find it, other ones not before canonical_flush().  That, and whatever else inserts it, may
 * raise where another session inserts it, too: 23505, or 40001.  Returns false where it
 * can't wait, and canonical_write() is to be called.
 */
extern bool canonical_insert_later(Canonical *canonical, const char *entity,
								   const char *external_id, const Record *record);
extern void canonical_flush(Canonical *canonical);
/* Lock the row that was found last, so that what is decided on it holds. */
extern RowsOutcome canonical_lock(Canonical *canonical);
/* Like canonical_lock(), without waiting; false: another transaction holds it. */
extern bool canonical_try_lock(Canonical *canonical);
/* After repeated misses: wait for the transaction that holds the row. */
extern void canonical_lock_newest(Canonical *canonical);

/*
 * Walk an entity's records by external_id, from after a position (NULL: start).
 */
extern RowsScan *canonical_scan_begin(Canonical *canonical, const char *entity,
									  const char *after_external_id);
extern bool canonical_scan_next(Canonical *canonical, RowsScan *scan,
								char **external_id);
/* Where the record is that the walk is at. */
extern ItemPointerData canonical_scan_place(const Canonical *canonical);
/* The row version of the record that the walk is at; above all where it is none. */
extern int64 canonical_scan_row_version(const Canonical *canonical);
/*
 * The record that the walk is at.  Raises XX001 if it was edited to what it can't be;
 * canonical_scan_try returns why instead, NULL if it is good.
 */
extern void canonical_scan_record(Canonical *canonical, Record *record);
extern const char *canonical_scan_try(Canonical *canonical, Record *record);
/* Lock the record that the scan has just come to, as canonical_lock does. */
extern RowsOutcome canonical_scan_lock(Canonical *canonical);

#endif							/* SYNCEXT_CANONICAL_H */
