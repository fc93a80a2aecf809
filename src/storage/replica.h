/*
 * replica.h
 *	  What was delivered to the rows of attached relations (table
 *	  syncext.replica): the row version that the next edit is based on.
 */
#ifndef SYNCEXT_REPLICA_H
#define SYNCEXT_REPLICA_H

#include "access/transam.h"
#include "datatype/timestamp.h"
#include "storage/itemptr.h"
#include "utils/jsonb.h"

#include "model/fields.h"
#include "model/life.h"
#include "storage/mapped.h"

typedef MappedTable Replica;

typedef struct ReplicaRow
{
	Oid			relation;		/* of the row that was looked for, or is written */
	const char *external_id;
	bool		exists;			/* something was delivered to the row */
	int64		row_version;	/* of the record, last delivered; 0 if nothing was */
	Jsonb	   *fields;			/* of a polled relation as last seen, of one behind a
								 * link as agreed on; NULL: there is no row */
	Jsonb	   *withheld;		/* {field: row version it was last delivered at} of
								 * the fields that a conflict keeps back, or NULL */
	int64		answered;		/* the record's row version when it last took an edit
								 * of ours; 0: none.  These two: of a relation
								 * behind a link */
	int64		settled;		/* edits captured with a lower seq need not be sent */
	int64		adjusted;		/* the row version that came of it when the relation's
								 * triggers changed what was delivered; 0: none */
	Jsonb	   *cascaded;		/* of a relation behind a link: the fields that a foreign
								 * key set when another row was delivered, empty where it
								 * deleted the row; NULL: it did nothing */
	TimestampTz gone_at;		/* of a relation behind a link: when that there is no row
								 * was agreed on; 0: there is one */
	bool		contested;		/* of a relation behind a link: the hub had not taken, or
								 * not all of, our last edit */
	Jsonb	   *answers;		/* of a relation behind a link: {field: the record's row
								 * version when the hub answered our edit of it}, of edits
								 * since the record last came; NULL: there were none, or
								 * all of the record was known with the answer */
	int64		seen_version;	/* these two: of a field ladder, the stamp of the record as it
								 * was last delivered, or of an edit that was sent over
								 * a link since; 0: none is known */
	TimestampTz seen_at;
	Jsonb	   *counted;		/* of a relation behind a link: what its edits have added to
								 * counters in all, as far as the hub has answered; NULL: nothing */
	Jsonb	   *shifts;			/* of a relation behind a link: by how much deliveries have moved
								 * its counters since edits that wait were captured; or NULL */
	TransactionId written_by;	/* the transaction that wrote the row found */
	bool		sought;			/* replica_find has filled this in, */
	ItemPointerData at;			/* and found it there, if it exists */
} ReplicaRow;

extern const MappedDef replica_def;

/*
 * Read a row in the current memory context.  *row may hold the place of an earlier
 * lookup, which is tried first.  Raises XX001 if it was edited to what it can't be; replica_try
 * returns why instead, NULL if it is good.
 */
extern const char *replica_try(Replica *replica, Oid relation, const char *external_id,
							   ReplicaRow *row);
extern void replica_look_again(Replica *replica, Oid relation, const char *external_id,
							   ReplicaRow *row);
/* Like replica_look_again(), for a *row that holds nothing yet. */
extern void replica_find(Replica *replica, Oid relation, const char *external_id,
						 ReplicaRow *row);
/* Like replica_find(), but opens the table for this one. */
extern void replica_read(Oid relation, const char *external_id, ReplicaRow *row);

typedef struct ReplicaKey
{
	Oid			relation;
	const char *external_id;
} ReplicaKey;

/* Find n rows ahead by one snapshot; order is that of their keys, or NULL: see rows_look_ahead(). */
extern bool replica_look_ahead(Replica *replica, int n, const ReplicaKey *rows,
								 const int *order);
/*
 * Which row versions have rows of a relation seen, one after the other, best in the order of
 * their ids?  -1: none.  *written_by is who noted that; FrozenTransactionId: long ago.
 */
extern RowsScan *replica_seek_begin(Replica *replica);
extern int64 replica_seek(Replica *replica, RowsScan *seek, Oid relation,
						  const char *external_id, TransactionId *written_by);
/* Write over the row that is there, or insert one. */
extern void replica_set(Replica *replica, Oid relation, const char *external_id,
						const ReplicaRow *row);
/* Like replica_set(), for holders of the exchange lock: inserts without a speculative check. */
extern void replica_set_alone(Replica *replica, Oid relation, const char *external_id,
							  const ReplicaRow *row);
/*
 * Insert a row that was sought and not there, together with others: it may raise that it is
 * there by now, then or when the table is closed.
 */
extern void replica_insert_later(Replica *replica, Oid relation, const char *external_id,
								 const ReplicaRow *row);
/*
 * Note what a foreign key did to a row of a relation behind a link: as long as the
 * row is like that, it has no edit that would keep the record from being placed.
 */
extern void replica_note_cascade(Oid relation, const char *external_id, const Fields *fields);
extern void replica_remove_all(Oid relation);

/* The stamp that was seen; in no ladder is one at version 0 and without a time. */
static inline LifeStamp
replica_stamp(const ReplicaRow *row)
{
	LifeStamp	stamp = {
		.is_set = row->seen_version != 0 || row->seen_at != 0,
		.has_version = true,
		.version = row->seen_version,
		.has_updated_at = row->seen_at != 0,
		.updated_at = row->seen_at
	};

	return stamp;
}

/* Note that a stamp was seen, after those before. */
extern void replica_see(ReplicaRow *row, const LifeStamp *stamp);

/*
 * The newest row version of the record that a row has to do with.  One that the hub
 * was told of and that came to nothing, a conflict say, counts as seen.
 */
static inline int64
replica_seen(int64 row_version, int64 answered, bool told)
{
	return Max(Max(row_version, answered), told ? 1 : 0);
}

/* Walk a relation's rows in the order of their ids (bytes), by one snapshot. */
extern RowsScan *replica_scan_begin(Replica *replica, Oid relation, const char *after);
/* The id, in the current memory context, and whether the row was there when last seen. */
extern bool replica_scan_next(Replica *replica, RowsScan *scan, char **external_id,
							  bool *present);
/*
 * The newest row version of the record that the row at hand has to do with; 0: none.
 * Contested: the hub keeps something of the row back, or had not taken all of it.
 */
extern int64 replica_scan_seen(const Replica *replica, bool *contested);
/* How large its fields are, without being read. */
extern Size replica_scan_bytes(const Replica *replica);

#endif							/* SYNCEXT_REPLICA_H */
