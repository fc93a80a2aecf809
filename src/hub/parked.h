/*
 * parked.h
 *	  Changes that wait for their parent: parking them.
 */
#ifndef SYNCEXT_PARKED_H
#define SYNCEXT_PARKED_H

#include "hub/apply_item.h"
#include "hub/references.h"
#include "storage/parked_change.h"

/* The call's table of them, opened at the first use. */
extern ParkedChanges *parked_table(ApplyCall *call);

/*
 * Is the change an edit of a record that isn't there, and won't be by what is parked already?
 * It was erased, or what was to make it given up: what the edit makes would be a part of it.
 */
extern bool parked_is_unheard(ApplyCall *call, const Change *change, const Record *record);
/*
 * Must the change wait for a parent, or behind an earlier change of its record?  Then
 * it is parked (where the call explains, nothing is written), and answer says so; or
 * refused, as its source has parked too many already.
 */
extern bool parked_must_wait(ApplyCall *call, const ApplyItem *item, const Record *record,
							 Answer *answer);
/*
 * The record was written without looking for its parent, as it had been before this hub
 * went back in time.  If that isn't here, park a change that does nothing: so the record
 * is told of as one that waits, until its parent comes.
 */
extern void parked_remind(ApplyCall *call, const ApplyItem *item, const Record *after);
/*
 * Is an earlier change of the source and record parked, one with a lower id, that this
 * one must not overtake?  Fills in what that waits for.
 */
extern bool parked_behind(ApplyCall *call, const ApplyItem *item, int64 id, RecordKey *parent);

#endif							/* SYNCEXT_PARKED_H */
