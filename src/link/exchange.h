/*
 * exchange.h
 *	  Exchanging changes with the hub behind a link.
 */
#ifndef SYNCEXT_EXCHANGE_H
#define SYNCEXT_EXCHANGE_H

#include "link/link_state.h"
#include "link/remote.h"

/*
 * Push and pull until both sides have no more, or a bound of batches is reached.
 * Call it outside of any transaction, as a role that may act as the source: it begins
 * and commits its own, and none is open across the network.  Before it raises an error
 * it notes it in syncext.link_state, and closes the connection.
 */
extern void exchange_run(const char *link, ExchangeResult *result);

/*
 * The connection that exchanges keep open, NULL if there is none now: to wait
 * for on its socket, and to be notified by.  It is closed after an error; look
 * again after each exchange.
 */
extern Remote *exchange_connection(const char *link);
/*
 * Have the hub notify us of new records over that connection; once a connection,
 * between exchanges.  False: it does so already, or there is no connection.
 */
extern bool exchange_listen(const char *link);

#endif							/* SYNCEXT_EXCHANGE_H */
