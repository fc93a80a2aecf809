/*
 * merge.h
 *	  Two records become one.
 */
#ifndef SYNCEXT_MERGE_H
#define SYNCEXT_MERGE_H

#include "model/record.h"
#include "storage/change_log.h"

/*
 * Let a record become part of another one of its entity; the caller has checked that the
 * user may.  Returns the merge's number.
 */
extern int64 merge_records(const char *entity, const char *keep, const char *drop,
						   const char *note);

/* Log that the record is gone, and is a part of another one; tell the audience. */
extern void merge_log_gone(ChangeLog *log, const char *entity, const char *external_id,
						   const Record *record, const char *kept_id, int64 merge,
						   Audience audience);

#endif							/* SYNCEXT_MERGE_H */
