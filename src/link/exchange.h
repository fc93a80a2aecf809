/*
 * exchange.h
 *	  Exchanging changes with the hub behind a link.
 */
#ifndef SYNCEXT_EXCHANGE_H
#define SYNCEXT_EXCHANGE_H

#include "link/remote.h"

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
	int64		behind;			/* records that the hub had for us still at the end */
} ExchangeResult;

/*
 * Push and pull until both sides have no more, or a bound of batches is reached.
 * To be called outside of any transaction, as whoever may act as the source:
 * it begins and commits its own, and none is open across the network.  What it
 * raises has been noted in syncext.link_state, and the connection is closed.
 */
extern void exchange_run(const char *link, ExchangeResult *result);

/*
 * The connection that exchanges keep open, NULL if there is none now: to wait
 * for on its socket, and to be notified by.  It is closed after an error; look
 * again after each exchange.
 */
extern Remote *exchange_connection(const char *link);
/*
 * Have the hub notify us over that connection of what comes; once a connection,
 * between exchanges.  False: it does so already, or there is none.
 */
extern bool exchange_listen(const char *link);

#endif							/* SYNCEXT_EXCHANGE_H */
