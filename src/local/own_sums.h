/*
 * own_sums.h
 *	  Counters of a row behind a link whose edits the hub has not answered.
 *
 * Where a row holds nothing else that is unanswered, a record is placed all the same: the
 * row becomes what the hub has, and what it has added beside that.
 */
#ifndef SYNCEXT_OWN_SUMS_H
#define SYNCEXT_OWN_SUMS_H

#include "hub/outbox.h"
#include "hub/unanswered.h"
#include "local/row_state.h"

/*
 * Add to the record what the row has added and the hub, by what it has counted, lacks.
 * Edited is what the row differs in from what was agreed on.  False: that can't be said.
 */
extern bool own_sums_add(RowState *p, const Fields *edited, Jsonb *counted, UnansweredSums *own);
/*
 * The row was written so, before edits of a higher seq, and holds these fields: take out of
 * them what it has added, and keep by how much its edits that wait were moved.
 */
extern void own_sums_agree(ReplicaRow *replica, const UnansweredSums *own, int64 seq,
						   Fields *fields);
/* What is agreed on of a change's fields when the hub has answered it. */
extern Fields own_sums_answered(const OutboxChange *change, const ReplicaRow *replica);

#endif							/* SYNCEXT_OWN_SUMS_H */
