/*
 * apply_call.h
 *	  Opening and closing the hub's tables around the changes of a call.
 */
#ifndef SYNCEXT_APPLY_CALL_H
#define SYNCEXT_APPLY_CALL_H

#include "hub/apply.h"

/* Open the tables, in the current memory context. */
extern ApplyCall *apply_begin(const Registry *registry);
/* Apply what the call's changes have set free, and close the tables. */
extern void apply_end(ApplyCall *call);

#endif							/* SYNCEXT_APPLY_CALL_H */
