/*
 * rows_state.h
 *	  An open table: what storage/rows and storage/rows_write share.
 */
#ifndef SYNCEXT_ROWS_STATE_H
#define SYNCEXT_ROWS_STATE_H

#include "nodes/execnodes.h"
#include "utils/resowner.h"

#include "storage/layout.h"
#include "storage/rows.h"

/* How many indexes of a table can be searched during one call. */
#define ROWS_MAX_INDEXES	4

struct Rows
{
	Relation	rel;
	const TableLayout *layout;	/* of a table of ours, else NULL */
	bool		latest;			/* rows_see_latest */
	bool		bracketed;		/* AfterTriggerBeginQuery was called */
	bool		indexes_open;	/* for writing; searching opens its own */
	bool		arbiter_ready;
	ResourceOwner owner;		/* what is opened late is its, too */
	EState	   *estate;			/* NULL until the first write, as the next one */
	ResultRelInfo *result;
	TupleTableSlot *found;
	TupleTableSlot *fresh;
	ExprState **checks;			/* NULL: none was asked for yet */
	ExprState **defaults;		/* of columns that we don't know; NULL: none has one */
	int			nindexes;
	const char *index_names[ROWS_MAX_INDEXES];	/* NULL: the primary key */
	Relation	indexes[ROWS_MAX_INDEXES];
};

/* The snapshot to decide on; registered, the caller unregisters it. */
extern Snapshot rows_snapshot(const Rows *rows);
/* Make what writes need, at the first one: a call opens more tables than it writes. */
extern void rows_begin_writing(Rows *rows);

#endif							/* SYNCEXT_ROWS_STATE_H */
