/*
 * delivery.h
 *	  Pull and acknowledge: what a target gets, and what became of it.
 */
#ifndef SYNCEXT_DELIVERY_H
#define SYNCEXT_DELIVERY_H

#include "hub/batch.h"
#include "model/fields.h"
#include "nodes/pg_list.h"

/* A record as it stands now, for the target that pulls. */
typedef struct DeliveryRecord
{
	const char *entity;
	const char *external_id;
	int64		version;
	int64		row_version;
	bool		deleted;		/* or the target's filter keeps it back now */
	Jsonb	   *fields;			/* without those in a conflict of the target's, and
								 * those that are masked */
	List	   *withheld;		/* of FieldName *: the names of these, whether it
								 * has them or not; of a live record */
	Jsonb	   *last_fields;	/* all that the record has, a deleted one too: to order by;
								 * not for the target to see */
	const char *last_source;	/* NULL: gone for a filtered target */
	bool		has_updated_at;
	TimestampTz updated_at;		/* when it was last edited, as its sources say */
	bool		correction;		/* the target's own change lost: it has to take
								 * this, whatever row version it has */
	int			attempt;		/* from 1 */
} DeliveryRecord;

/* A link takes no larger answer to a pull. */
#define LINK_ANSWER_BYTES	(64 * 1024 * 1024)

typedef struct Delivery
{
	int64		batch;
	int			nrecords;		/* 0: there is nothing, and no batch to ack */
	DeliveryRecord *records;	/* what lives, parents before children, then what is
								 * deleted, children before parents */
	Size		max_bytes;		/* set by who pulls: how much is enough; 0: some megabytes */
	bool		to_link;		/* set by who pulls: it acknowledges on this connection */
	bool		to_client;		/* set by who pulls: the records are put out as text */
} Delivery;

/* Of a source whose records aren't shared out among consumers. */
#define ONLY_SLOT	((Slot) {0, 1})

/*
 * Both raise if the current user may not act as the source.  Pull writes
 * nothing if there is nothing to deliver.
 */
extern void delivery_pull(const char *source, Slot slot, int max_records, Delivery *delivery);
extern void delivery_ack(const char *source, int slot, int64 batch,
						 const BatchFailure *failures, int nfailures);

#endif							/* SYNCEXT_DELIVERY_H */
