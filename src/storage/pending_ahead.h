/*
 * pending_ahead.h
 *	  Which records of a batch have no pending conflict, by one look at all of them.
 */
#ifndef SYNCEXT_PENDING_AHEAD_H
#define SYNCEXT_PENDING_AHEAD_H

#include "model/record.h"
#include "storage/conflict_log.h"

typedef struct PendingAhead PendingAhead;

/* For as long as the log is open. */
extern PendingAhead *pending_ahead_begin(ConflictLog *log);
extern void pending_ahead_end(PendingAhead *ahead);
/* Look for those of the first records, as far as they are of one entity; they ascend by id. */
extern void pending_ahead_look(PendingAhead *ahead, int n, const RecordKey *records);
/*
 * Is it certain that the record has none that can be seen now?  Who asks with the record held
 * may rely on it until it lets go, as who adds one holds the record, too.
 */
extern bool pending_ahead_none(PendingAhead *ahead, const char *entity, const char *external_id);
/* The caller has just added one. */
extern void pending_ahead_added(PendingAhead *ahead, const char *external_id);

#endif							/* SYNCEXT_PENDING_AHEAD_H */
