/*
 * uncaptured.h
 *	  What an administrator does with rows that could not be brought to the hub: try
 *	  again, or give up.
 */
#ifndef SYNCEXT_UNCAPTURED_H
#define SYNCEXT_UNCAPTURED_H

#include "datatype/timestamp.h"
#include "storage/change_log.h"

/*
 * A source's, of an entity or of a record (NULL means any), those that were dead
 * letters by a time (DT_NOEND: they need not be).  Both return how many.
 */
extern int64 uncaptured_redrive(const char *source, const char *entity, const char *external_id,
								TimestampTz dead_by);
extern int64 uncaptured_discard(const char *source, const char *entity, const char *external_id,
								TimestampTz dead_by, ChangeLog *log);

#endif							/* SYNCEXT_UNCAPTURED_H */
