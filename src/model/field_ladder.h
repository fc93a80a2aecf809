/*
 * field_ladder.h
 *	  The field ladder: each field is a register of its own, and the record is the same
 *	  for every order of arrival.
 */
#ifndef SYNCEXT_FIELD_LADDER_H
#define SYNCEXT_FIELD_LADDER_H

#include "model/ladder.h"

/* Like ladder_decide(), for ladders with the rung "field". */
extern void field_ladder_decide(const Change *change, const Record *record,
								const LadderRules *rules, Decision *decision);

/* The outcome of a change that leaves the record as it stands. */
extern void field_ladder_let_stand(const Record *record, bool lost, const char *reason,
								   Decision *decision);

/*
 * The change as it counts upon the record.  A document says itself what its stamp is.  An
 * edit of a row, or what the hub does itself, gets one that is above all that its source
 * knew of the record before: nobody loses to what he had before him.  Returns the change
 * itself or *counted.  own_grave: the record is a tombstone that the source has made in
 * the transaction under way.
 */
extern const Change *field_ladder_upon(const Change *change, const Record *record,
									   Ladder ladder, bool own_grave, Change *counted);

/*
 * Two records that were found to be one: of each field what was said last of either.  That
 * the other one was deleted once, and born again, is no word on this one.
 */
extern void field_ladder_merge(const Record *keep, const Record *drop, const LadderRules *rules,
							   Decision *decision);

#endif							/* SYNCEXT_FIELD_LADDER_H */
