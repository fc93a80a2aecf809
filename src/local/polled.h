/*
 * polled.h
 *	  A row of a polled relation, against what was last seen of it.
 */
#ifndef SYNCEXT_POLLED_H
#define SYNCEXT_POLLED_H

#include "local/row_write.h"

/* What became of a row. */
typedef enum PolledOutcome
{
	POLLED_SKIPPED,				/* it is as it was, or as the hub has it */
	POLLED_NEW,
	POLLED_UPDATED,
	POLLED_MERGED,				/* others had changed other fields meanwhile */
	POLLED_CONFLICT,
	POLLED_WAITING,				/* for a parent */
	POLLED_DELETED,
	POLLED_NOT_SHOWN,			/* it was sent, and what came of it isn't told */
	POLLED_NOUTCOMES
} PolledOutcome;

/* How a row differs from what was last seen of it. */
typedef struct PolledEdit
{
	bool		gone;			/* it isn't there, or is marked as deleted */
	bool		marked;
	Fields		all;			/* as they are now */
	Fields		changed;		/* those among them that are not as they were */
	Fields		added;			/* values of columns that weren't there then: no edits, but
								 * news where the record hasn't the field */
} PolledEdit;

/*
 * Read a row by the key that the external id gives, in the current memory context;
 * false if there is none.  The relation's owner acts.
 */
extern bool polled_read(Attached *attached, const char *external_id, AttachedRow *row);

/* Compare a row, present or not, with what was last seen.  True: it was edited. */
extern bool polled_compare(const Attached *attached, bool present, AttachedRow row,
						   const ReplicaRow *replica, PolledEdit *edit);
/* Have the ladder decide the edit, and remember the row as it is now. */
extern PolledOutcome polled_send(RowWriter *writer, const Attached *attached, const char *external_id,
								 AttachedRow row, const PolledEdit *edit, ReplicaRow *replica);

#endif							/* SYNCEXT_POLLED_H */
