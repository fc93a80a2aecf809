/*
 * peer.h
 *	  What each link knows of its hub (table syncext.peer).
 */
#ifndef SYNCEXT_PEER_H
#define SYNCEXT_PEER_H

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

typedef struct Peer
{
	const char *link;			/* peer_find() and peer_save() set it */
	Jsonb	   *identity;		/* of the hub; NULL: the next one that answers */
	int64		answered;		/* the last batch of ours that it has answered */
	int64		pulled;			/* the last one of its that was placed here */
	TimestampTz heard_at;		/* when the later of these came, by its clock; 0: never */
	/* the comparison that is under way, after the hub has gone back in time */
	TimestampTz resync_since;	/* 0: none is */
	const char *resync_entity;	/* how far it is; NULL: at the start */
	const char *resync_id;
	int64		resent;			/* what came of it */
	int64		stranded;
	const char *turned;			/* which side was found to have gone back, and when */
	TimestampTz turned_at;
	int64		met_epoch;		/* the hub's epoch that row versions are of which are
								 * compared; 0: not known */
	const char *refused;		/* why the link is stopped; NULL: it isn't */
	TimestampTz refused_at;
} Peer;

/* Read it in the current memory context; false: there is none for the link. */
extern bool peer_find(const char *link, Peer *peer);
/* Write it over the one that is there, or insert it. */
extern void peer_save(const char *link, const Peer *peer);

/* A batch was placed, or answered.  0: nothing new of that. */
extern void peer_note(const char *link, int64 pulled, int64 answered, TimestampTz heard_at);

#endif							/* SYNCEXT_PEER_H */
