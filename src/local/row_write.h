/*
 * row_write.h
 *	  Putting the hub's records into their attached relations.
 */
#ifndef SYNCEXT_ROW_WRITE_H
#define SYNCEXT_ROW_WRITE_H

#include "local/row_state.h"

typedef enum RowWriteOutcome
{
	ROW_EQUAL,					/* the row is as it should be */
	ROW_WRITTEN,
	ROW_BUSY,					/* another transaction holds the row */
	ROW_KNOWN					/* it was placed before, and the row is still so */
} RowWriteOutcome;

/*
 * Lock the row, then read the record: what is decided on the two can't undo an
 * edit that comes between.  Returns false if another transaction holds the row.
 */
extern bool row_write_lock(RowWriter *writer, Attached *attached, const char *external_id,
						   RowState *state);
/* Like row_write_lock(), but the caller fills in the record. */
extern bool row_write_lock_row(RowWriter *writer, Attached *attached, const char *external_id,
							   RowState *state);
/*
 * Compare a present row with a record that isn't deleted, field by field (in
 * the order of attached->columns): different are those that both have, missing
 * those that the row alone has.  Fields that are withheld are neither.
 */
extern void row_write_compare(RowState *state, bool *different, bool *missing);
/*
 * Like row_write_compare(), but make no values of the record's fields: they need not be
 * any of the columns' types.  Values that JSON writes in two ways are different.
 */
extern void row_write_compare_json(RowState *state, bool *different, bool *missing);
/*
 * Is the row, which the record was written to before, not as the record says any
 * more, or gone, though no edit of it was captured?
 */
extern bool row_write_is_drifted(RowState *state);
/*
 * Write the record into the row, if that makes a difference.  One that is hidden from
 * the source isn't, unless it is delivered as gone (taken_back).
 */
extern RowWriteOutcome row_write_apply(RowWriter *writer, RowState *state);
/*
 * Like row_write_apply(), but a new row may be inserted later, together with others: at
 * the latest when the run ends.
 */
extern RowWriteOutcome row_write_apply_later(RowWriter *writer, RowState *state);
/*
 * Make a new row, in before, that may be inserted later; false: it has to be stored at once.  The
 * caller has it inserted by row_together_add().
 */
extern bool row_write_make_later(RowState *state);
/*
 * No more than that: returns whether the row changed.  A record that isn't
 * deleted leaves in before what was stored, and in target what should have been.
 */
extern bool row_write_store(RowState *state, AttachedRow *target);
/* Note that the row has seen the record as it is. */
extern void row_write_remember(RowWriter *writer, RowState *state);
/* The row sees the record as it is: in a field ladder its next edit is above that. */
extern void row_write_see(RowState *state);
/* The call of the hub that goes with the writer's work; made when first asked for. */
extern ApplyCall *row_write_call(RowWriter *writer);
/* Make the key columns' values of a key; raises if it is none of the relation's. */
extern AttachedRow row_write_key(Attached *attached, const char *key_text);
/* Send the row's own fields (all if wanted is NULL) to the hub. */
extern void row_write_send(RowWriter *writer, RowState *state, AttachedRow row,
						   const bool *wanted, ChangeOrigin origin, int64 base, Answer *answer);

#endif							/* SYNCEXT_ROW_WRITE_H */
