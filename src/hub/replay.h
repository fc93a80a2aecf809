/*
 * replay.h
 *	  A record as its changes in the log would have made it, had other rules and ranks
 *	  been in force.
 *
 * The changes come one by one, oldest first, and are decided by the ladder itself.  What
 * can't be known is not guessed: then the replay says why it is broken.
 */
#ifndef SYNCEXT_REPLAY_H
#define SYNCEXT_REPLAY_H

#include "hub/logged_change.h"
#include "storage/registry.h"

typedef struct Replay Replay;

/* How a change was decided. */
typedef struct ReplayNote
{
	const char *resolution;
	const char *reason;
} ReplayNote;

/*
 * registry: what is supposed to be in force; before since (DT_NOBEGIN: never) it is that of
 * today, and the changes have to be decided as they were.  One replay serves one record
 * after the other.
 */
extern Replay *replay_begin(const Registry *registry, const Registry *today, const char *entity,
							TimestampTz since);
extern void replay_end(Replay *replay);
/* Start with another record. */
extern void replay_record(Replay *replay, const char *external_id);
/*
 * Where a row is to be read to, before it is replayed: its memory lasts until the next
 * replay_record().
 */
extern MemoryContext replay_context(Replay *replay);
extern void replay_row(Replay *replay, LoggedRow *row);
/*
 * After the last row: the record, which may not exist.  Returns why it can't be told, or
 * NULL.  now is the golden record as it is, without fields if need be.
 */
extern const char *replay_result(Replay *replay, const Record *now, Record *then);
/* Why the field (data NULL: the record as a whole) is as it is. */
extern ReplayNote replay_note(const Replay *replay, FieldName field);

#endif							/* SYNCEXT_REPLAY_H */
