/*
 * row_change.h
 *	  What the edit of a row counts as, upon the record that it meets.
 */
#ifndef SYNCEXT_ROW_CHANGE_H
#define SYNCEXT_ROW_CHANGE_H

#include "model/change.h"
#include "model/field_rule.h"
#include "model/ladder.h"

/*
 * Has the source itself had a word in the record, as far as its stamps tell?
 * Returns the row version at which it had the last one, 0: none is known.
 */
extern int64 row_change_last_word(const Record *record, const char *source);

/*
 * The change as it counts.  Returns the change itself, or *counted.  own_grave: the
 * record is a tombstone that the source has made in the transaction under way.
 */
extern const Change *row_change_upon(const Change *change, const Record *record,
									 bool own_grave, Change *counted);
/*
 * Of a change whose fields count where the record hasn't them, leave out the others, and
 * those of a group that another source has set meanwhile;
 * they are lost, and its source is to be told.
 */
extern void row_change_leave_out(Change *change, const Record *record, const FieldRules *rules,
								 FieldNames *left_out);
extern void row_change_tell(const FieldNames *left_out, Decision *decision);

#endif							/* SYNCEXT_ROW_CHANGE_H */
