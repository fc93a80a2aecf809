/*
 * hello.h
 *	  The hub's side of a link being opened: who is there, and has either side gone
 *	  back in time?
 */
#ifndef SYNCEXT_HELLO_H
#define SYNCEXT_HELLO_H

#include "model/identity.h"

/*
 * What a spoke and its hub have to agree on to understand each other.  2: a batch of
 * changes comes in one message, and one that fails is answered.
 */
#define LINK_PROTOCOL	2

/* What a spoke says. */
typedef struct Hello
{
	const char *source;			/* that it wants to be */
	bool		claim;			/* it is to be the source's from now on */
	bool		relay;			/* it is a hub, and comes as a whole */
	Identity	said;			/* who it is; not known: it only looks */
	Identity	hub;			/* whom it takes us for; not known: a new link */
	char	   *tables;			/* {entity: …} that it has tables for, as JSON; NULL: it
								 * doesn't say */
	/* numbers of batches, by which both sides tell how far the other has come */
	int64		sent;			/* the last one that it may have sent */
	int64		answered;		/* the last one that we have answered */
	int64		pulled;			/* the last one of ours that it has placed */
} Hello;

/*
 * Read what a spoke says; raises 22023 where it says something else, and 0A000 where it
 * speaks another protocol.
 */
extern void hello_read(const char *source, const Jsonb *said, Hello *hello);

/*
 * Decide, note and answer.  What is refused is answered, too, for it is to be noted.
 * In an OwnerContext; the source's role has been checked.
 */
extern Jsonb *hello_answer(const Hello *hello);

/* The spoke meets the present epoch of the feed; in a Section. */
extern void hello_meet_epoch(const char *source);

/*
 * Raise 55006 if this session was opened for the source by a database that isn't
 * the one that is linked any more: another one has taken its place, or it has itself
 * gone back in time; 42501 if by a relay, and the source is none any more.  The first
 * knows the epoch of the one that is linked, the second looks.
 */
extern void hello_check_epoch(const char *source, int64 epoch);
extern void hello_check(const char *source);
/*
 * Raise 55000 unless this session was opened for the source by the database that is
 * linked as it: who may act as the source otherwise knows nothing of what that has seen.
 */
extern void hello_require(const char *source);

#endif							/* SYNCEXT_HELLO_H */
