/*
 * spoke_keys.h
 *	  Rows behind a link that refer to rows of tables which draw their keys.
 *
 * Over a link, and in what is kept of it (syncext.replica, captured edits), records refer to
 * one another by external ids, so that none of that changes with a row's key.
 */
#ifndef SYNCEXT_SPOKE_KEYS_H
#define SYNCEXT_SPOKE_KEYS_H

#include "local/attached_relation.h"

/*
 * Put external ids in the place of the keys that a row's fields refer to.  What a key names
 * need not be known yet: it is given an id, which the row gets when it is met.
 */
extern void spoke_keys_translate(const Attached *attached, Fields *fields);

#endif							/* SYNCEXT_SPOKE_KEYS_H */
