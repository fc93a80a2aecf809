/*
 * link_state.h
 *	  How links fare (table syncext.link_state).
 */
#ifndef SYNCEXT_LINK_STATE_H
#define SYNCEXT_LINK_STATE_H

#include "link/exchange.h"

/*
 * Note what came of an exchange (NULL: of those that weren't noted yet); with wait false only if that was not done a
 * moment ago, and else later with the next one.  In a transaction.
 */
extern void link_state_note(const char *link, const ExchangeResult *result, bool wait);
/* With out_of_memory the next batches are smaller, until an exchange went well. */
extern void link_state_note_error(const char *link, const char *error, bool out_of_memory);

/* How large a batch may be.  In a transaction. */
extern int	link_state_batch_bytes(const char *link);

#endif							/* SYNCEXT_LINK_STATE_H */
