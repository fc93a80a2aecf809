/*
 * rows_state.h
 *	  An open table: what storage/rows_open makes for storage/rows, rows_write and
 *	  rows_batch.
 */
#ifndef SYNCEXT_ROWS_STATE_H
#define SYNCEXT_ROWS_STATE_H

#include "nodes/execnodes.h"
#include "utils/resowner.h"

#include "storage/layout.h"
#include "storage/rows.h"

/* How many indexes of a table can be searched during one call. */
#define ROWS_MAX_INDEXES	4

/* Rows that wait to be inserted together, and rows that were found ahead. */
typedef struct RowsWaiting RowsWaiting;
typedef struct RowsAhead RowsAhead;

struct Rows
{
	Relation	rel;
	const TableLayout *layout;	/* of a table of ours, else NULL */
	bool		latest;			/* rows_see_latest */
	bool		shows_waiting;	/* rows_show_waiting */
	bool		bracketed;		/* AfterTriggerBeginQuery was called */
	bool		indexes_open;	/* for writing; searching opens its own */
	bool		arbiter_ready;
	int			nrivals;		/* unique indexes beside the key's, the last ones */
	ResourceOwner owner;		/* what is opened late is its, too */
	EState	   *estate;			/* NULL until the first write, as the next one */
	ResultRelInfo *result;
	TupleTableSlot *found;
	TupleTableSlot *fresh;
	TupleTableSlot *locked;		/* what was locked, which nobody looks at; NULL until then */
	int			nest_level;		/* of the transaction that opened it */
	int			insert_options;
	RowsWaiting *waiting;		/* NULL: none ever did */
	RowsAhead  *ahead;			/* NULL: none ever was */
	bool		absent_again;	/* what was taken last of it was absent, and may be asked for once more */
	int			lesson;			/* of seeks, for the next ones */
	ExprState **checks;			/* NULL: none was asked for yet */
	ExprState **defaults;		/* of columns that we don't know; NULL: none has one */
	int			nindexes;
	const char *index_names[ROWS_MAX_INDEXES];	/* NULL: the primary key */
	Relation	indexes[ROWS_MAX_INDEXES];
	RowsScan   *kept[ROWS_MAX_INDEXES]; /* begun once for all searches by it, or NULL */
};

/* The snapshot to decide on; registered, the caller unregisters it. */
extern Snapshot rows_snapshot(const Rows *rows);
/* Make what writes need, at the first one: a call opens more tables than it writes. */
extern void rows_begin_writing(Rows *rows);
/* The executor's view of a table: a range table of one entry, and what it writes to. */
extern ResultRelInfo *rows_make_result(EState *estate, Relation rel, Bitmapset *updated);
/* Open the indexes for writing: HOT updates don't need them. */
extern void rows_open_indexes(Rows *rows);
/* Make the row of a slot, old being the one that it replaces, or NULL, and check it. */
extern void rows_fill_slot(Rows *rows, TupleTableSlot *slot, const TupleTableSlot *old,
						   const Datum *values, const bool *isnull);
extern void rows_insert_slot(Rows *rows, TupleTableSlot *slot);
/* What every write ends with: the command's work is visible. */
extern void rows_finish_write(Rows *rows);

/* rows_find() and rows_close() but for what storage/rows_batch has of the table. */
extern bool rows_search(Rows *rows, int nkeys, const Datum *keys);
extern void rows_release(Rows *rows);

/* A slot that lives as long as the table is open, whoever calls. */
extern TupleTableSlot *rows_make_slot(Rows *rows);

/* End the scans that are kept. */
extern void rows_end_kept(Rows *rows);

#endif							/* SYNCEXT_ROWS_STATE_H */
