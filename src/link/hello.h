/*
 * hello.h
 *	  The spoke's side of a link being opened: is it our hub, may we be who we are,
 *	  and has either side gone back in time?
 */
#ifndef SYNCEXT_LINK_HELLO_H
#define SYNCEXT_LINK_HELLO_H

#include "model/identity.h"
#include "storage/peer.h"

/* What is said on both sides when a link is opened. */
typedef struct Greeting
{
	/* our identity, and what we know of the hub; read in a transaction */
	Identity	self;
	bool		linked;			/* we have exchanged with a hub before, */
	Peer		peer;			/* and this is known of it */
	int64		sent;			/* the last batch that we may have sent */

	/* as the hub said */
	Jsonb	   *hub;			/* its identity */
	Jsonb	   *counters;		/* {entity: [field, …]}: what are counters there; NULL: not said */
	Jsonb	   *references;		/* {entity: {field: parent}}: what refers to what; NULL: not said */
	IdentityCase hub_is;		/* for us */
	bool		refused;		/* the hub refuses us: our identity is not the one that it knows */
	const char *spoke_is;		/* what we are for the hub */
	bool		hub_behind;		/* it has gone back in time */
	bool		spoke_behind;	/* we have */
	int64		answered;		/* the last batch of ours that it knows, */
	int64		pulled;			/* and the last that it has handed out to us */
	TimestampTz since;			/* what was recorded there later than that we can't have
								 * seen; 0: it doesn't know */
	TimestampTz offset;			/* its clock's before ours */
} Greeting;

/* Collect what is to be said of a source's link, in a transaction and its memory. */
extern void greeting_prepare(Greeting *greeting, const char *link, const char *source);
/* What was collected, as JSON for syncext.hub_hello(); tables is JSON, or NULL. */
extern const char *greeting_say(const Greeting *greeting, bool claim, bool relay, int protocol,
								const char *tables);
/* Take what it has answered; raises 08P01 where that is no answer. */
extern void greeting_hear(Greeting *greeting, const char *link, const Jsonb *answer);

/* Raise where the hub, or this database, is not the one that was linked. */
extern void greeting_check(const Greeting *greeting, const char *link, const char *server,
						   const char *source);
/* Why greeting_check() raises, as the word that is noted; NULL: it does not. */
extern const char *greeting_why(const Greeting *greeting);
/*
 * Note what was agreed on, in a transaction: the hub's identity, and where one side
 * has gone back in time what has to be done.  Returns true if we have, and have begun
 * an epoch of our own that the hub must hear of.
 */
extern bool greeting_note(Greeting *greeting, const char *link);
/* Note that the link is stopped. */
extern void greeting_note_refusal(const char *link, const char *why);

#endif							/* SYNCEXT_LINK_HELLO_H */
