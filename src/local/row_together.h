/*
 * row_together.h
 *	  New rows of an attached table that wait to be inserted together.
 */
#ifndef SYNCEXT_ROW_TOGETHER_H
#define SYNCEXT_ROW_TOGETHER_H

#include "local/row_state.h"

/* From here on rows of a run may wait; they live in the context. */
extern void row_together_begin(RowWriter *writer, MemoryContext context);
/*
 * May the row, which is to be inserted, wait for others?  It may if nothing but itself
 * comes of its insertion.
 */
extern bool row_together_may(const RowState *p);
/*
 * Update a row that is held without a statement, if nobody can tell; *stored, which is the row
 * before, is the row then.  Returns false if it has to be done otherwise.
 */
extern bool row_together_change(RowState *p, AttachedRow target, const Bitmapset *columns,
								AttachedRow *stored);
/* Records of rows that may come to wait are about to be read ahead. */
extern void row_together_note_reading(RowWriter *writer);
/* Let it wait.  It counts as written, and p->replica is what is remembered then. */
extern void row_together_add(RowState *p, AttachedRow row);
/*
 * Remember what a row of a load or a poll has seen, if it is new together with others: no
 * item of the run, and no code, asks for it before the run's end.
 */
extern void row_together_remember(RowWriter *writer, const Binding *binding, const char *external_id,
								  const ReplicaRow *row);
/* Insert those that wait: before anything else is sent to the hub. */
extern void row_together_insert(RowWriter *writer);
/*
 * Insert those that wait, and what is remembered of rows: before anything else is written, of which code may come that
 * looks at them, and at the end of the run.
 */
extern void row_together_end(RowWriter *writer);

/* Where the hub's records are read: where the call writes them that rows are brought to it with. */
extern Canonical *row_together_records(RowWriter *writer);

/* What was found ahead of the rows to come isn't to be gone by any more. */
extern void row_together_forget(RowWriter *writer);

#endif							/* SYNCEXT_ROW_TOGETHER_H */
