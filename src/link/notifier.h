/*
 * notifier.h
 *	  The hub's side of being told at once: the notifier, and who registers with it.
 */
#ifndef SYNCEXT_NOTIFIER_H
#define SYNCEXT_NOTIFIER_H

#include "c.h"

/* The notifier sends NOTIFY on this channel. */
#define FEED_CHANNEL	"syncext_feed"

/*
 * Let the notifier know of this session, from the commit on: it listens on the channel,
 * or it waits to have its latch set.  The session's next call writes nothing.
 */
extern void notifier_register(const char *source, bool waits);

#endif							/* SYNCEXT_NOTIFIER_H */
