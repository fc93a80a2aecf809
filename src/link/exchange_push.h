/*
 * exchange_push.h
 *	  The push half of an exchange: captured changes go to the hub.
 */
#ifndef SYNCEXT_EXCHANGE_PUSH_H
#define SYNCEXT_EXCHANGE_PUSH_H

#include "link/exchange_step.h"

/* Cut the next batch: in a step. */
extern void push_cut(Exchange *x);
/* Send it, if there is one. */
extern void push_send(Exchange *x);
/* While the hub works on it, cut the one that comes after it, and write its message. */
extern void push_follow(Exchange *x);
/* Take the answer to the batch, or the part of it that was sent, and send what is next. */
extern void push_answered(Exchange *x);

#endif							/* SYNCEXT_EXCHANGE_PUSH_H */
