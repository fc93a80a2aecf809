/*
 * delivery_keys.h
 *	  The own keys of a target in what it is delivered, and in what it acknowledges.
 */
#ifndef SYNCEXT_DELIVERY_KEYS_H
#define SYNCEXT_DELIVERY_KEYS_H

#include "hub/batch.h"

typedef struct DeliveryKeys DeliveryKeys;

/*
 * NULL for a target that has no keys of its own; the functions below take that.  again: the batch
 * was served before, and what this answer says of keys takes the place of that.  to_table: the records
 * are written to attached relations here, and are only put off where a parent has no key.
 */
extern DeliveryKeys *delivery_keys_begin(const Source *target, int64 batch, bool again, bool to_table);
extern void delivery_keys_end(DeliveryKeys *keys);
/*
 * The target's own key of a record that is being served, or NULL.  Where the target is told
 * that the record is gone, its key is one that deliveries don't go to once it acknowledges
 * the batch.
 */
extern const char *delivery_keys_find(DeliveryKeys *keys, const char *entity,
									  const char *external_id, bool gone);

/* Has the target, which names records of the entity by keys of its own, one of the record, or had it? */
extern bool delivery_keys_knows(DeliveryKeys *keys, const char *entity, const char *external_id);
/*
 * Put the target's own keys into the fields of a record that is being served.  False: it has
 * none of a record that has to come first, and this one is put off.
 */
extern bool delivery_keys_fields(DeliveryKeys *keys, Feed *feed, BatchRecord *record,
								 Jsonb **fields);

/* What a target acknowledged, besides that the batch was taken. */
typedef struct Acknowledgement
{
	int			nfailures;
	BatchFailure *failures;
	Jsonb	   *keys;			/* as the target sent them; NULL: none */
	bool		named;			/* attached relations have given the records keys */
	List	   *bound;			/* those that are bound; for delivery_keys.c alone */
} Acknowledgement;

/*
 * Bind the keys that come with an acknowledgement.  A record whose key is another's has
 * failed.
 */
extern void delivery_keys_bind(Feed *feed, Acknowledgement *ack);
/*
 * What was put off for these keys comes next; and records that refer to themselves, which
 * went without that reference, once more.
 */
extern void delivery_keys_send_again(Feed *feed, const Acknowledgement *ack);
/* Release what has waited for these keys; when all else is done. */
extern void delivery_keys_release(const Acknowledgement *ack);
/* The batch was taken: what the target was told is gone, is gone there. */
extern void delivery_keys_acknowledge(const Source *target, int64 batch,
									  const Acknowledgement *ack);

#endif							/* SYNCEXT_DELIVERY_KEYS_H */
