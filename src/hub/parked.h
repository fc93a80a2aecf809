/*
 * parked.h
 *	  What an administrator does with parked changes: try again, or give up.
 */
#ifndef SYNCEXT_PARKED_H
#define SYNCEXT_PARKED_H

#include "datatype/timestamp.h"
#include "storage/change_log.h"

/*
 * A source's, of an entity or of a record; NULL means any.  With dead_by (else
 * DT_NOEND) only what was a dead letter by that time.  Both return how many.
 */
extern int64 parked_redrive(const char *source, const char *entity, const char *external_id,
							TimestampTz dead_by);
extern int64 parked_discard(const char *source, const char *entity, const char *external_id,
							TimestampTz dead_by, ChangeLog *log);

#endif							/* SYNCEXT_PARKED_H */
