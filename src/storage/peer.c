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

enum
{
	COL_ANSWERED = 3,
	COL_PULLED,
	COL_HEARD_AT
};

static MappedDef peer_def = {
	.relation = "peer",
	.ncolumns = 15,
	.column = {
		{"link", MAP_TEXT, offsetof(Peer, link)},
		{"identity", MAP_JSONB, offsetof(Peer, identity)},
		{"answered", MAP_INT8, offsetof(Peer, answered)},
		{"pulled", MAP_INT8, offsetof(Peer, pulled)},
		{"heard_at", MAP_TIME, offsetof(Peer, heard_at)},
		{"resync_since", MAP_TIME, offsetof(Peer, resync_since)},
		{"resync_entity", MAP_TEXT, offsetof(Peer, resync_entity)},
		{"resync_id", MAP_TEXT, offsetof(Peer, resync_id)},
		{"resent", MAP_INT8, offsetof(Peer, resent)},
		{"stranded", MAP_INT8, offsetof(Peer, stranded)},
		{"turned", MAP_TEXT, offsetof(Peer, turned)},
		{"turned_at", MAP_TIME, offsetof(Peer, turned_at)},
		{"refused", MAP_TEXT, offsetof(Peer, refused)},
		{"refused_at", MAP_TIME, offsetof(Peer, refused_at)},
		{"met_epoch", MAP_INT8, offsetof(Peer, met_epoch)},
	}
};

bool
peer_find(const char *link, Peer *peer)
{
	MappedTable *table = mapped_open(&peer_def, false);
	bool		found;

	MemSet(peer, 0, sizeof(Peer));
	peer->link = link;
	found = mapped_find(table, peer);
	mapped_close(table);
	return found;
}

void
peer_save(const char *link, const Peer *peer)
{
	MappedTable *table = mapped_open(&peer_def, true);
	Peer		saved = *peer;

	saved.link = link;
	mapped_save(table, &saved);
	mapped_close(table);
}

void
peer_note(const char *link, int64 pulled, int64 answered, TimestampTz heard_at)
{
	MappedTable *table = mapped_open(&peer_def, true);
	const Peer	peer = {.link = link, .pulled = pulled, .answered = answered,
						.heard_at = heard_at};
	MappedColumns columns = MAP_COLUMN(COL_HEARD_AT);

	if (pulled != 0)
		columns |= MAP_COLUMN(COL_PULLED);
	if (answered != 0)
		columns |= MAP_COLUMN(COL_ANSWERED);
	while (mapped_seek(table, 1, &peer) && mapped_update(table, columns, &peer) != ROWS_DONE)
		;
	mapped_close(table);
}
