/*
 * row_edit.h
 *	  An edit of a row of an attached relation, as a change.
 */
#ifndef SYNCEXT_ROW_EDIT_H
#define SYNCEXT_ROW_EDIT_H

#include "hub/apply.h"
#include "local/attached.h"
#include "storage/replica.h"

/* An edit of a row of an attached relation, as its source made it. */
typedef struct RowEdit
{
	const Attached *attached;
	const char *external_id;
	AttachedRow row;			/* as it is now; as it was, where it is deleted */
	bool		inserted;		/* the first word of the row */
	bool		deleted;
	bool		cascade;		/* by a foreign key, while another row was delivered */
	bool		marked;			/* by a mark in the row, which is still there */
	Fields		fields;			/* what was edited; none of a row that is deleted */
	const ReplicaRow *replica;	/* what was delivered to the row */
} RowEdit;

/*
 * Have the ladder decide an edit, made on what was delivered to the row; its
 * version and time are those that the row has in its own columns.  Returns
 * false if it was sent in parts only, each on its own base: fields that a
 * pending conflict keeps back.  Then there is no answer.
 */
extern bool row_edit_send(ApplyCall *call, const Registry *registry, const RowEdit *edit,
						  Answer *answer);

/* What the hub is told of a noted edit, beside its fields. */
typedef enum NoteKind
{
	NOTE_EDIT,
	NOTE_INSERT,				/* the row is new */
	NOTE_ALL,					/* all that the hub hasn't got of the row, whatever was noted before */
	NOTE_ADDED					/* what columns hold because they were added */
} NoteKind;

/*
 * Note an edit of a relation whose entity is decided by the hub behind a link.
 * Its base is what was delivered to the row before the transaction ends.
 */
extern void row_edit_note(const RowEdit *edit, NoteKind kind);

/* Bring fields of a row to the hub, as an insert or an edit made on row version base. */
extern void row_send_fields(ApplyCall *call, const Attached *attached, const char *external_id,
							const Fields *fields, ChangeOrigin origin, int64 base, Answer *answer);

#endif							/* SYNCEXT_ROW_EDIT_H */
