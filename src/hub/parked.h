/*
 * parked.h
 *	  What an administrator does with parked changes: try again, or give up.
 */
#ifndef SYNCEXT_PARKED_H
#define SYNCEXT_PARKED_H

#include "storage/change_log.h"

/* A source's, of an entity or of a record; NULL means any.  Both return how many. */
extern int64 parked_redrive(const char *source, const char *entity, const char *external_id);
extern int64 parked_discard(const char *source, const char *entity, const char *external_id,
							ChangeLog *log);

#endif							/* SYNCEXT_PARKED_H */
