/*
 * subscription_filter.h
 *	  What of an entity a target is let see: a filter and a mask.
 */
#ifndef SYNCEXT_SUBSCRIPTION_FILTER_H
#define SYNCEXT_SUBSCRIPTION_FILTER_H

#include "hub/batch.h"
#include "model/record.h"
#include "storage/routed.h"

/* Do the fields meet the route's filter?  NULL: there is no route. */
extern bool route_admits(const Route *route, Jsonb *fields);

/* Bring routes that were edited into force, before the target is served. */
extern void route_arm(const char *target);

/*
 * Deliveries to a target.  Opened before the records are read: what becomes
 * known to be with the target later than this comes in a later window.
 */
typedef struct Routing Routing;

/* again: the batch has been served before.  NULL if nothing is filtered. */
extern Routing *routing_begin(const Source *target, int64 batch, bool again);
extern void routing_end(Routing *routing);
/*
 * Do a record's fields meet the filter of a route that has one?  A filter that
 * fails on them is noted for sync_check.
 */
extern bool routing_admits(Routing *routing, const Route *route, const char *external_id,
						   Jsonb *fields);
/* May the target have the record? */
extern bool routing_has(Routing *routing, const char *entity, const char *external_id);
/* It is served the record now, as it is or as gone. */
extern void routing_note(Routing *routing, const char *entity, const char *external_id,
						 int64 row_version, bool gone);
/*
 * A target can only fail to take what it was served: a record that its filter kept
 * from it must not be told from one that isn't in the batch.
 */
extern void routing_check(const Feed *feed, const BatchFailure *failures, int nfailures);
/* The target has acknowledged the batch, but for what failed. */
extern void routing_acknowledge(const Source *target, int64 batch,
								const BatchFailure *failures, int nfailures);

/*
 * A source has sent a change of a record, which now is as after says.  If it
 * meets the source's filter, note that the source has it.  Returns true if it
 * doesn't: the source has to be told of its own change, if it has the record.
 * *table is opened if need be, in the given memory context.
 */
extern bool route_note_own(const Source *source, const char *entity, const char *external_id,
						   const Record *after, RoutedTable **table,
						   MemoryContext context);

#endif							/* SYNCEXT_SUBSCRIPTION_FILTER_H */
