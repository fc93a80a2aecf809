/*
 * references.h
 *	  References between records: what a change refers to, and what becomes of
 *	  the children of a record that is deleted.
 */
#ifndef SYNCEXT_REFERENCES_H
#define SYNCEXT_REFERENCES_H

#include "hub/apply_item.h"
#include "nodes/pg_list.h"
#include "storage/child.h"

/* A record that goes with its parent. */
typedef struct Cascade
{
	RecordKey	key;
	const char *field;			/* by which it refers to the parent */
	const char *parent_id;
	const char *source;			/* that deleted the parent */
} Cascade;

/* A deleted record that comes back, as another that may not be without it has come. */
typedef struct Revival
{
	RecordKey	key;
	const char *source;			/* of the other one */
} Revival;

/* What the changes of a call set off; worked off at its end. */
typedef struct Consequences
{
	List	   *arrived;		/* RecordKey: records that are new */
	List	   *cascades;		/* Cascade: records to be deleted */
	List	   *revivals;		/* Revival: records to be brought back */
} Consequences;

typedef struct References References;

/* The tables are opened at the first use; read-only for explaining. */
extern References *references_begin(const Registry *registry, bool write);
extern void references_end(References *references);
/* While explaining: take the item's record to be as its change would leave it. */
extern void references_suppose(References *references, const ApplyItem *item, const Record *after);

/* False, and *error says why, if the change refers to what can't be the id of a record. */
extern bool references_check(const Entity *entity, const Change *change, ChangeError *error);
/* Does the change refer to a record that never arrived? */
extern bool references_missing(References *references, const ApplyItem *item, RecordKey *parent);

/* Would the decision delete a record that others, with restrict, refer to? */
extern bool references_restrict(References *references, const ApplyItem *item, const Record *before,
								Decision *decision);
/* Keep the list of children, after a write. */
extern void references_track(References *references, const ApplyItem *item, const Record *before,
							 const Record *after);
/*
 * The live records that refer to another, where deleting that is restricted or
 * cascades: a list of Child.
 */
extern List *references_children(References *references, const char *parent_entity,
								 const char *parent_id);
/* The records that go with a deleted one: a list of Cascade, in key order. */
extern List *references_cascade(References *references, const ApplyItem *item);
/*
 * Note, in the current memory context, what becomes of a live record that refers to
 * a deleted one since this write: with cascade it goes, with restrict the other one
 * comes back.
 */
extern void references_late(References *references, const ApplyItem *item, const Record *before,
							const Record *after, Consequences *consequences);
/* Does a live record refer to another by this field? */
extern bool references_refers(const Record *record, const char *field, const char *parent_id);
/*
 * The record, which has the field, with that as its value, as of its next version; a tombstone
 * stays as it is but for that, which it would be revived with.
 */
extern Record references_change(const Entity *entity, const Record *record, const Field *field,
								const char *set_by);

#endif							/* SYNCEXT_REFERENCES_H */
