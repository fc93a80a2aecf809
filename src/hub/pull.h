/*
 * pull.h
 *	  What a target gets.
 */
#ifndef SYNCEXT_PULL_H
#define SYNCEXT_PULL_H

#include "hub/batch.h"
#include "model/fields.h"
#include "nodes/pg_list.h"

/* A record as it stands now, for the target that pulls. */
typedef struct DeliveryRecord
{
	const char *entity;
	const char *external_id;
	const char *source_id;		/* the target's own key of it, or NULL */
	int64		version;
	int64		row_version;
	bool		deleted;		/* or the target's filter keeps it back now */
	const char *merged_into;	/* the record that it is a part of now, or NULL */
	Jsonb	   *fields;			/* without those in a conflict of the target's, and
								 * those that are masked */
	FieldNames	withheld;		/* these, whether it has them or not; of a live record */
	Jsonb	   *last_fields;	/* all that the record has, a deleted one too: to order by;
								 * not for the target to see */
	const char *last_source;	/* NULL: gone for a filtered target */
	bool		has_updated_at;
	TimestampTz updated_at;		/* when it was last edited, as its sources say */
	Jsonb	   *state;			/* of a field ladder, for another hub: model/field_state; or NULL */
	Jsonb	   *counted;		/* to a link: what its tables have added to the counters of this; or
								 * NULL */
	List	   *merged_from;	/* to a link: of char *, records that have become a part of this, and
								 * of which it has a row */
	ItemPointerData at;			/* where the record was read, for who reads it again */
	bool		correction;		/* the target's own change lost: it has to take
								 * this, whatever row version it has */
	int			attempt;		/* from 1 */
	bool		knows_changed;	/* else all fields may have changed */
	FieldNames	changed;
} DeliveryRecord;

/* A link takes no larger answer to a pull. */
#define LINK_ANSWER_BYTES	(64 * 1024 * 1024)

typedef struct Delivery
{
	int64		batch;
	int			nrecords;		/* 0: there is nothing, and no batch to ack */
	DeliveryRecord *records;	/* what lives, parents before children, then what is
								 * deleted, children before parents */
	Size		max_bytes;		/* set by the caller: how much is enough; 0: some megabytes */
	bool		to_link;		/* set by the caller: it acknowledges on this connection */
	bool		with_state;		/* set by the caller: of field ladders the state is wanted */
	bool		to_client;		/* set by the caller: the records are put out as text */
	bool		wants_changed;	/* set by the caller: find out which fields have changed */
	/*
	 * Set by the caller, or NULL: is given each record, which doesn't stay, instead of
	 * records having them all.  Given NULL: those so far are not delivered.
	 */
	void		(*put) (void *arg, const struct Delivery *delivery, const DeliveryRecord *record);
	void	   *arg;
} Delivery;

/* Of a source whose records aren't shared out among consumers. */
#define ONLY_SLOT	((Consumer) {0, 1})

/*
 * Raises if the current user may not act as the source.  Writes nothing if there is
 * nothing to deliver.
 */
extern void pull_batch(const char *source, Consumer consumer, int max_records, Delivery *delivery);

/* Raise on a standby, which serves nobody. */
extern void pull_check_primary(void);
/* Raise if the current user may not act as the source, or a hub behind a link decides for it. */
extern void pull_check_client(const char *source);

#endif							/* SYNCEXT_PULL_H */
