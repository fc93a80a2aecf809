/*
 * merge_log.h
 *	  The change log of records that were merged into others.
 */
#ifndef SYNCEXT_MERGE_LOG_H
#define SYNCEXT_MERGE_LOG_H

#include "model/change.h"
#include "model/record.h"
#include "storage/change_log.h"

/*
 * Log that the record which has been named by change->alias is gone, and is a part of
 * the change's; tell the audience, as of the change's source.
 */
extern void merge_log_gone(ChangeLog *log, const Change *change, const Record *gone,
						   Audience audience);

#endif							/* SYNCEXT_MERGE_LOG_H */
