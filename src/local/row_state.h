/*
 * row_state.h
 *	  A row of an attached relation beside its record, while it is dealt with.
 */
#ifndef SYNCEXT_ROW_STATE_H
#define SYNCEXT_ROW_STATE_H

#include "hub/apply_change.h"
#include "local/attached_relation.h"
#include "local/writer.h"
#include "storage/canonical.h"
#include "storage/conflict_log.h"
#include "storage/registry.h"
#include "storage/replica.h"
#include "storage/source_key.h"

/* A row as it was and as it was to be written, when that was tried last. */
typedef struct RowWriteAttempt
{
	Attached   *attached;		/* NULL: nothing was tried */
	bool		present;
	AttachedRow before;
	AttachedRow target;
	Bitmapset  *columns;		/* that were written */
} RowWriteAttempt;

/* Rows that wait to be inserted together: row_together.c. */
typedef struct RowTogether RowTogether;

/* The tables that are open while records are placed. */
typedef struct RowWriter
{
	const Registry *registry;
	Writer		as_owner;
	Canonical  *canonical;
	Replica    *replica;
	ConflictLog *conflicts;
	SourceKeys *keys;			/* NULL until a relation draws keys of its own */
	bool		draws_free_keys;	/* the last key that was drawn was bound to nothing */
	bool		careful;		/* something has failed: no more guesses */
	ApplyCall  *call;			/* NULL until something is sent to the hub */
	MemoryContext context;		/* of all these */
	RowWriteAttempt attempt;
	RowTogether *together;		/* NULL: no row may wait */
	bool		deferring;		/* constraints are: rows of the relation don't wait, ours may */
	bool		loads;			/* rows are brought to the hub, */
	bool		polls;			/* by a poll: each is decided there, and not read here */
	int			streak;			/* rows that were new to the other side, one after the other */
	int			quiet;			/* rows that were read since code of others could run */
	bool		ahead;			/* what is known of the next rows was found ahead: find_ahead.c */
	int			nahead;			/* of so many */
	uint64		ahead_ended;	/* writers_ended() before that */
	bool		unconflicted;	/* no conflict was pending after that */
	int			pause;			/* so many go without */
	int			next_pause;		/* and so many when it was in vain again */
	int			free_value;		/* the next row gets these instead: free_value_put; 0: none */
} RowWriter;

/* Rows that have to be new, or quiet, before the next ones are expected to be. */
#define ROWS_EXPECTED	4

/* What a relation's row and the record of the same external id are now. */
typedef struct RowState
{
	RowWriter  *writer;
	Attached   *attached;
	const char *external_id;
	AttachedRow key;
	bool		refers_by_keys;	/* a field refers to rows of a table that draws its keys */
	const char *key_text;		/* the row's key, by which the relation tells it; NULL: it has none
								 * yet */
	bool		guessed;		/* that it has none */
	bool		named;			/* it was given that just now */
	bool		present;		/* the row is there, locked and read */
	ItemPointerData at;			/* where it is, if that is known */
	AttachedRow before;			/* that row; once it is written, as it was stored */
	char	   *taken_by;		/* the record whose row equals this one's key, NULL: none; then
								 * there is no row of this record */
	Record		record;
	uint64		read_at;		/* writers_ended() before that was read, where the row was not there
								 * to be held; 0: it was, or the hub is behind a link */
	ReplicaRow	replica;
	FieldNames	withheld;		/* a pending conflict, or a mask, keeps them back */
	bool		withheld_all;
	const Route *route;			/* the source's, or NULL */
	bool		filtered;		/* the record is there and doesn't meet its filter */
	bool		hidden;			/* that, or the source doesn't get the entity: what there is of
								 * the record, a tombstone too, isn't to be told */
	bool		alone;			/* no code can have seen, or written, what is remembered of the row
								 * since it was held */
	bool		taken_back;		/* set by the caller: it is delivered as gone */
} RowState;

#endif							/* SYNCEXT_ROW_STATE_H */
