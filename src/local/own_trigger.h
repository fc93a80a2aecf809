/*
 * own_trigger.h
 *	  Which triggers of an attached table are ours.
 */
#ifndef SYNCEXT_OWN_TRIGGER_H
#define SYNCEXT_OWN_TRIGGER_H

#include "utils/rel.h"

/* The names sort before the lower-case names that users give: first come, first captured. */
#define CAPTURE_TRIGGER_NAME	"_syncext_capture"
#define TRUNCATE_TRIGGER_NAME	"_syncext_truncate"

/*
 * Is the trigger as sync_attach creates it?  Anybody may make triggers of our function on
 * tables of his own; these are code of others, whatever they call: they have conditions.
 */
extern bool own_trigger_is(const Trigger *trigger, Oid function);

#endif							/* SYNCEXT_OWN_TRIGGER_H */
