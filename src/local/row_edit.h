/*
 * row_edit.h
 *	  An edit of a row of an attached relation, as a change.
 */
#ifndef SYNCEXT_ROW_EDIT_H
#define SYNCEXT_ROW_EDIT_H

#include "hub/apply_change.h"
#include "local/attached_relation.h"
#include "storage/replica.h"

/* An edit of a row of an attached relation, as its source made it. */
typedef struct RowEdit
{
	const Attached *attached;
	const char *external_id;
	AttachedRow row;			/* as it is now; as it was, where it is deleted */
	const char *key;			/* its key, where that is the relation's own; or NULL */
	bool		key_is_new;		/* the row was just born, or got it */
	bool		duplicate;		/* deliveries go to another row of the record's */
	bool		takes_over;		/* they did, and go to this one from now on */
	bool		inserted;		/* the first word of the row */
	bool		deleted;
	bool		cascade;		/* by a foreign key, while another row was delivered */
	bool		marked;			/* by a mark in the row, which is still there */
	Fields		fields;			/* what was edited; none of a row that is deleted */
	Fields		increments;		/* what was added to counters, which are none of fields then */
	Fields		totals;			/* and what these hold now */
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

/* The rules of a relation that has counters perhaps; NULL: it has none. */
extern const FieldRules *row_edit_counters(const Registry *registry, const Attached *attached);
/*
 * Where a counter was edited from a number before to a number after, take it out of the
 * edit's fields: the difference is added.
 */
extern void row_edit_find_increments(RowEdit *edit, const FieldRules *rules, const Fields *before,
									 const Fields *after);

/* What the hub is told of a noted edit, beside its fields. */
typedef enum NoteKind
{
	NOTE_EDIT,
	NOTE_INSERT,				/* the row is new */
	NOTE_ALL,					/* all that the hub hasn't got of the row, whatever was noted before */
	NOTE_ADDED,					/* what columns hold because they were added */
	NOTE_RECOUNT,				/* no fields: the hub may have lost what was counted, */
	NOTE_BASELINE				/* or has it, and doesn't know */
} NoteKind;

/*
 * Note an edit of a relation whose entity is decided by the hub behind a link.
 * Its base is what was delivered to the row before the transaction ends.
 */
extern void row_edit_note(const RowEdit *edit, NoteKind kind);

/*
 * Find the fields of a row, all of which are in now, that aren't as they were agreed on
 * or last seen.  What a column holds that is new since, though there was another one of
 * its name, is no edit: if it isn't null, it comes in added.
 */
extern void row_edit_find(const Attached *attached, const Fields *now, Jsonb *seen,
						  Fields *edited, Fields *added);

/*
 * Bring fields of a row to the hub, as an insert or an edit made on row version base; of
 * the edit, the row and what was delivered to it tell of which version and time they are.
 */
extern void row_send_row(ApplyCall *call, const RowEdit *edit, ChangeOrigin origin, int64 base,
						 Answer *answer);
/* The same for what is said of the record as it stands, at row version base. */
extern void row_send_fields(ApplyCall *call, const Attached *attached, const char *external_id,
							const Fields *fields, int64 base, Answer *answer);

#endif							/* SYNCEXT_ROW_EDIT_H */
