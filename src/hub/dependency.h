/*
 * dependency.h
 *	  References between records: changes that wait for their parent, and
 *	  parents that can't go or take their children along.
 */
#ifndef SYNCEXT_DEPENDENCY_H
#define SYNCEXT_DEPENDENCY_H

#include "hub/apply.h"
#include "nodes/pg_list.h"
#include "storage/child.h"
#include "storage/waiting.h"

/* A record, by its key. */
typedef struct RecordKey
{
	const char *entity;
	const char *external_id;
} RecordKey;

/* A record that goes with its parent. */
typedef struct Cascade
{
	RecordKey	key;
	const char *field;			/* by which it refers to the parent */
	const char *parent_id;
	const char *source;			/* who deleted the parent */
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

typedef struct Dependency Dependency;

/* The tables are opened at the first use; read-only for explaining. */
extern Dependency *dependency_begin(const Registry *registry, bool write);
extern void dependency_end(Dependency *dependency);
extern Waiting *dependency_waiting(Dependency *dependency);
/* While explaining: take a record to be as the change would leave it. */
extern void dependency_suppose(Dependency *dependency, const Change *change,
							   const Record *after);

/* The id of the record that the change refers to by a reference; NULL: it doesn't. */
extern char *dependency_referred(const Change *change, const Reference *reference);
/* False, and *error says why, if it refers to what can't be the id of a record. */
extern bool dependency_check(const Entity *entity, const Change *change, ChangeError *error);
/* Does the change refer to a record that never arrived? */
extern bool dependency_missing(Dependency *dependency, const Change *change, RecordKey *parent);
/*
 * Is an earlier change of this source and record parked, one with a lower id,
 * that this one must not overtake?  Fills in what that waits for.
 */
extern bool dependency_ahead(Dependency *dependency, const Change *change, int64 id,
							 RecordKey *parent);
/* Must it wait, for that or behind others?  Fills in *parent and *reason. */
extern bool dependency_must_wait(Dependency *dependency, const Change *change, RecordKey *parent,
								 char **reason);
/* False, and *error says why, if its source has parked too many already. */
extern bool dependency_park(Dependency *dependency, const Change *change,
							const RecordKey *parent, ChangeError *error);
/* The same while explaining: nothing is parked. */
extern bool dependency_has_room(Dependency *dependency, const Change *change,
								const RecordKey *parent, ChangeError *error);
/* How a change that waits is answered. */
extern void dependency_answer(const Record *record, char *reason, Decision *decision);

/* Would the decision delete a record that others, with restrict, refer to? */
extern bool dependency_restricts(Dependency *dependency, const Change *change,
								 const Record *before, Decision *decision);
/* Keep the list of children, after a write. */
extern void dependency_track(Dependency *dependency, const Change *change,
							 const Record *before, const Record *after);
/*
 * The live records that refer to the change's, where deleting that is restricted or
 * cascades: a list of Child.
 */
extern List *dependency_children(Dependency *dependency, const Change *parent);
/* The records that go with a deleted one: a list of Cascade, in key order. */
extern List *dependency_cascade(Dependency *dependency, const Change *change);
/*
 * Note, in the current memory context, what becomes of a live record that refers to
 * a deleted one since this write: with cascade it goes, with restrict the other one
 * comes back.
 */
extern void dependency_late(Dependency *dependency, const Change *change, const Record *before,
							const Record *after, Consequences *consequences);
/* Does a live record refer to another by this field? */
extern bool dependency_refers(const Record *record, const char *field, const char *parent_id);

/* When a change parked at a time is tried the n-th time; DT_NOEND: no more. */
extern TimestampTz dependency_next_attempt(TimestampTz parked_at, TimestampTz now, int attempts,
										   int cap);

#endif							/* SYNCEXT_DEPENDENCY_H */
