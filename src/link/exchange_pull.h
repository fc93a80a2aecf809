/*
 * exchange_pull.h
 *	  The pull half of an exchange: the hub's records come here.
 */
#ifndef SYNCEXT_EXCHANGE_PULL_H
#define SYNCEXT_EXCHANGE_PULL_H

#include "link/exchange_step.h"

/* Ask for a batch, if there is something to put it into. */
extern void pull_ask(Exchange *x);
/* Place the batch that was answered, acknowledge it and ask for the next one. */
extern void pull_answered(Exchange *x, CallKind kind);

#endif							/* SYNCEXT_EXCHANGE_PULL_H */
