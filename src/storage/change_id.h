/*
 * change_id.h
 *	  Change documents that bear an id of their own, and how they were answered:
 *	  table syncext.change_id.
 */
#ifndef SYNCEXT_CHANGE_ID_H
#define SYNCEXT_CHANGE_ID_H

#include "common/sha2.h"
#include "utils/jsonb.h"

#include "model/change.h"
#include "storage/mapped.h"

typedef MappedTable ChangeIds;

/* What a document says, whatever way it is written. */
typedef struct ChangeDigest
{
	uint8		bytes[PG_SHA256_DIGEST_LENGTH];
} ChangeDigest;

/* What is known of an id. */
typedef struct KeptChange
{
	bool		same_document;
	Jsonb	   *answer;			/* NULL: this very transaction is applying it */
	const char *problem;		/* why there is no answer to give, or NULL */
} KeptChange;

extern const MappedDef change_id_def;

/*
 * Claim the id of a change, until the end of the (sub)transaction.  Waits for
 * another transaction that has claimed it and goes on.  Returns false if the id
 * was claimed before: then change_ids_find tells what became of it.
 */
extern bool change_ids_claim(ChangeIds *ids, const Change *change, const ChangeDigest *digest);
extern bool change_ids_find(ChangeIds *ids, const Change *change, const ChangeDigest *digest,
							KeptChange *kept);
/* Keep the answer to a change whose id was claimed by this transaction. */
extern void change_ids_keep(ChangeIds *ids, const Change *change, Jsonb *answer);
/* The change was refused: its id is free again. */
extern void change_ids_release(ChangeIds *ids, const Change *change);

#endif							/* SYNCEXT_CHANGE_ID_H */
