/*
 * link_state.h
 *	  How links fare (table syncext.link_state).
 */
#ifndef SYNCEXT_LINK_STATE_H
#define SYNCEXT_LINK_STATE_H

#include "datatype/timestamp.h"

/* What came of an exchange. */
typedef struct ExchangeResult
{
	int64		pushed;			/* changes that the hub has answered */
	int64		merged;			/* of those: beside what others had changed */
	int64		conflicts;		/* of those: lost, or left to a reviewer, in part at least */
	int64		waiting;		/* of those: parked there until a parent arrives */
	int64		rejected;		/* changes that the hub refused for good */
	int64		pulled;			/* records that are placed here now */
	int64		failed;			/* changes or records that come again later */
	bool		more;			/* it ended before there was nothing left */
	bool		smaller;		/* it failed, and the next one makes smaller batches */
	int64		behind;			/* records that the hub still had for us at the end */
} ExchangeResult;

/*
 * Note what came of an exchange (NULL: of those that weren't noted yet); with wait false only if that was not done a
 * moment ago, and else later with the next one.  In a transaction.
 */
extern void link_state_note(const char *link, const ExchangeResult *result, bool wait);
/* With smaller the next batches are half as large, until an exchange went well. */
extern void link_state_note_error(const char *link, const char *error, bool smaller);

/* How large a batch may be.  In a transaction. */
extern int	link_state_batch_bytes(const char *link);

#endif							/* SYNCEXT_LINK_STATE_H */
