/*
 * outbox_flight.h
 *	  Which records' edits are on their way to the hub behind a link.
 */
#ifndef SYNCEXT_OUTBOX_FLIGHT_H
#define SYNCEXT_OUTBOX_FLIGHT_H

#include "storage/record_set.h"

/* A source's batch that is out, and wasn't answered yet. */
typedef struct InFlight
{
	const char *source;
	bool		any;
	int64		batch;
} InFlight;

extern InFlight outbox_in_flight(const char *source);
/*
 * Is an edit of the record in it, or in the one that was cut ahead?  Another session's batch, one of before a crash, and
 * one that this session knows no more may be of any record.
 */
extern bool outbox_is_in_flight(const InFlight *out, const char *entity,
								const char *external_id);

/*
 * The batch of these records is out, cut by this backend; or was cut ahead, behind the one
 * that is.  The set is taken over: it has to live as long as the backend.
 */
extern void outbox_flight_note(const char *source, int64 batch, RecordSet *records);
extern void outbox_flight_note_ahead(RecordSet *records);
/* The one that was cut ahead is out now, under this number. */
extern void outbox_flight_take_up(int64 batch);
/* Is that batch the one that this backend has cut last? */
extern bool outbox_flight_is_of(const char *source, int64 batch);
/* Is the record in that one? */
extern bool outbox_flight_has(const char *entity, const char *external_id);

#endif							/* SYNCEXT_OUTBOX_FLIGHT_H */
