/*
 * place.h
 *	  Putting the hub's records into their attached relations.
 */
#ifndef SYNCEXT_PLACE_H
#define SYNCEXT_PLACE_H

#include "hub/apply.h"
#include "local/attached.h"
#include "local/writer.h"
#include "storage/canonical.h"
#include "storage/conflict_log.h"
#include "storage/registry.h"
#include "storage/replica.h"

/* A row as it was and as it was to be written, when that was tried last. */
typedef struct PlaceAttempt
{
	Attached   *attached;		/* NULL: nothing was tried */
	bool		present;
	AttachedRow before;
	AttachedRow target;
	Bitmapset  *columns;		/* that were written */
} PlaceAttempt;

/* The tables that are open while records are placed. */
typedef struct Placer
{
	const Registry *registry;
	Writer		writer;
	Canonical  *canonical;
	Replica    *replica;
	ConflictLog *conflicts;
	ApplyCall  *call;			/* NULL until something is sent to the hub */
	MemoryContext context;		/* of all these */
	PlaceAttempt attempt;
	int			free_value;		/* the next row gets these instead: free_value_put; 0: none */
} Placer;

typedef enum PlaceOutcome
{
	PLACE_EQUAL,				/* the row is as it should be */
	PLACE_WRITTEN,
	PLACE_BUSY,					/* somebody holds the row */
	PLACE_KNOWN					/* it was placed before, and the row is still so */
} PlaceOutcome;

/* What a relation's row and the record of the same external id are now. */
typedef struct Placement
{
	Placer	   *placer;
	Attached   *attached;
	const char *external_id;
	ValueSettings settings;
	AttachedRow key;
	bool		present;		/* the row is there, locked and read */
	AttachedRow before;			/* that row; once it is written, as it was stored */
	char	   *taken_by;		/* the record whose row equals this one's key, NULL: none; then
								 * there is no row of this record */
	Record		record;
	ReplicaRow	replica;
	FieldNames	withheld;		/* a pending conflict, or a mask, keeps them back */
	bool		withheld_all;
	const Route *route;			/* the source's, or NULL */
	bool		filtered;		/* the record is there and doesn't meet its filter */
	bool		hidden;			/* that, or the source doesn't get the entity: what there is of
								 * the record, a tombstone too, isn't to be told */
	bool		taken_back;		/* set by who delivers it as gone */
} Placement;

/*
 * Lock the row, then read the record: what is decided on the two can't undo an
 * edit that comes between.  Returns false if the row is somebody else's.
 */
extern bool place_lock(Placer *placer, Attached *attached, const char *external_id,
					   Placement *placement);
/* The same without a look at the hub: the record is somebody else's to say. */
extern bool place_lock_row(Placer *placer, Attached *attached, const char *external_id,
						   Placement *placement);
/*
 * Compare a present row with a record that isn't deleted, field by field (in
 * the order of attached->columns): different are those that both have, missing
 * those that the row alone has.  Fields that are withheld are neither.
 */
extern void place_compare(Placement *placement, bool *different, bool *missing);
/*
 * Like place_compare(), but make no values of the record's fields: they need not be
 * any of the columns' types.  Values that JSON writes in two ways are different.
 */
extern void place_compare_json(Placement *placement, bool *different, bool *missing);
/*
 * Is the row, which the record was written to before, not as the record says any
 * more, or gone, though no edit of it was captured?
 */
extern bool place_is_drifted(Placement *placement);
/*
 * Write the record into the row, if that makes a difference.  One that is hidden from
 * the source isn't, unless it is delivered as gone (taken_back).
 */
extern PlaceOutcome place_write(Placer *placer, Placement *placement);
/*
 * No more than that: returns whether the row changed.  A record that isn't
 * deleted leaves in before what was stored, and in target what should have been.
 */
extern bool place_put(Placement *placement, AttachedRow *target);
/* Note that the row has seen the record as it is. */
extern void place_remember(Placer *placer, Placement *placement);
/* The call of the hub that goes with the placer's work; made when first asked for. */
extern ApplyCall *place_call(Placer *placer);
/* Make the key columns' values of an external id; raises if it is none of the relation's. */
extern AttachedRow place_key(Attached *attached, ValueSettings *settings, const char *external_id);
/* Send the row's own fields (all if wanted is NULL) to the hub. */
extern void place_send(Placer *placer, Placement *placement, AttachedRow row,
					   const bool *wanted, ChangeOrigin origin, int64 base, Answer *answer);

#endif							/* SYNCEXT_PLACE_H */
