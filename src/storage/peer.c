/*
 * peer.c
 *	  What each link knows of its hub (table syncext.peer).
 *
 * Of two exchanges over a link one waits for the other, so that a row is written by one
 * backend at a time, but for syncext.release_hub.
 */
#include "postgres.h"

#include "storage/mapped.h"
#include "storage/peer.h"

static const MappedDef peer_def = {
	.relation = "peer",
	.column = {
		[COL_PEER_LINK] = {MAP_TEXT, offsetof(Peer, link)},
		[COL_PEER_IDENTITY] = {MAP_JSONB, offsetof(Peer, identity)},
		[COL_PEER_ANSWERED] = {MAP_INT8, offsetof(Peer, answered)},
		[COL_PEER_PULLED] = {MAP_INT8, offsetof(Peer, pulled)},
		[COL_PEER_HEARD_AT] = {MAP_TIME, offsetof(Peer, heard_at)},
		[COL_PEER_RESYNC_SINCE] = {MAP_TIME, offsetof(Peer, resync_since)},
		[COL_PEER_RESYNC_ENTITY] = {MAP_TEXT, offsetof(Peer, resync_entity)},
		[COL_PEER_RESYNC_ID] = {MAP_TEXT, offsetof(Peer, resync_id)},
		[COL_PEER_RESENT] = {MAP_INT8, offsetof(Peer, resent)},
		[COL_PEER_STRANDED] = {MAP_INT8, offsetof(Peer, stranded)},
		[COL_PEER_TURNED] = {MAP_TEXT, offsetof(Peer, turned)},
		[COL_PEER_TURNED_AT] = {MAP_TIME, offsetof(Peer, turned_at)},
		[COL_PEER_REFUSED] = {MAP_TEXT, offsetof(Peer, refused)},
		[COL_PEER_REFUSED_AT] = {MAP_TIME, offsetof(Peer, refused_at)},
		[COL_PEER_MET_EPOCH] = {MAP_INT8, offsetof(Peer, met_epoch)},
	}
};

bool
peer_find(const char *link, Peer *peer)
{
	MemSet(peer, 0, sizeof(Peer));
	peer->link = link;
	return mapped_find_one(&peer_def, peer);
}

void
peer_save(const char *link, const Peer *peer)
{
	Peer		saved = *peer;

	saved.link = link;
	mapped_save_one(&peer_def, &saved);
}

void
peer_note(const char *link, int64 pulled, int64 answered, TimestampTz heard_at)
{
	MappedTable *table = mapped_open(&peer_def, true);
	const Peer	peer = {.link = link, .pulled = pulled, .answered = answered,
						.heard_at = heard_at};
	MappedColumns columns = MAP_COLUMN(COL_PEER_HEARD_AT);

	if (pulled != 0)
		columns |= MAP_COLUMN(COL_PEER_PULLED);
	if (answered != 0)
		columns |= MAP_COLUMN(COL_PEER_ANSWERED);
	while (mapped_seek(table, 1, &peer) && mapped_update(table, columns, &peer) != ROWS_DONE)
		;
	mapped_close(table);
}
