/*
 * exchange_keys.h
 *	  Keys that the tables of a link draw, and the hub.
 */
#ifndef SYNCEXT_EXCHANGE_KEYS_H
#define SYNCEXT_EXCHANGE_KEYS_H

#include "link/exchange_step.h"

/* Note in a step what there is to say and to ask: x->says_keys and x->asks_keys. */
extern void keys_begin(Exchange *x, bool relay);
/* Tell the hub which keys were drawn; between other calls. */
extern void keys_say(Exchange *x);
/*
 * Have the tables' sequences go on from the greatest keys that the hub knows: this database
 * may have gone back in time, or stand in another one's place.
 */
extern void keys_pass_over(Exchange *x);

#endif							/* SYNCEXT_EXCHANGE_KEYS_H */
