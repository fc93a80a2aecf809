/*
 * closing.h
 *	  Conflicts that wait for review: adding them, and closing those that a
 *	  change has overtaken.
 */
#ifndef SYNCEXT_CLOSING_H
#define SYNCEXT_CLOSING_H

#include "model/ladder.h"
#include "storage/change_log.h"
#include "storage/conflict_log.h"

/* The pending conflict that says just the same; 0 if there is none. */
extern int64 closing_find_same(ConflictLog *conflicts, const Change *change,
							   const Record *record);
/* Else it has too many on the record already, as *error says. */
extern bool closing_has_room(ConflictLog *conflicts, const Change *change, const Record *record,
							 const Decision *decision, ChangeError *error);
extern int64 closing_add_conflict(ConflictLog *conflicts, const Change *change,
								  const Record *record, const Decision *decision);

/* The record's pending conflicts that the decision leaves nothing to decide of. */
extern List *closing_overtaken(ConflictLog *conflicts, const Change *change,
							   const Record *before, const Decision *decision);
/* Close them as superseded, and tell the sources that wouldn't hear of it. */
extern void closing_close(ConflictLog *conflicts, ChangeLog *log, List *overtaken,
						  const Change *change, const Decision *decision, int64 seq);

#endif							/* SYNCEXT_CLOSING_H */
