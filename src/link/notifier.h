/*
 * notifier.h
 *	  The hub's side of a link's wake-up: NOTIFY on this channel.
 */
#ifndef SYNCEXT_NOTIFIER_H
#define SYNCEXT_NOTIFIER_H

#define FEED_CHANNEL	"syncext_feed"

#endif							/* SYNCEXT_NOTIFIER_H */
