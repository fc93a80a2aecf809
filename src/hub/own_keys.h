/*
 * own_keys.h
 *	  Documents whose source names records by keys of its own.
 */
#ifndef SYNCEXT_OWN_KEYS_H
#define SYNCEXT_OWN_KEYS_H

#include "hub/apply_item.h"

typedef enum KeyOutcome
{
	KEY_RESOLVED,				/* the change's externalId is its record's */
	KEY_ANSWERED,				/* there is nothing to apply: answer */
	KEY_REFUSED					/* it isn't clear what is meant: error */
} KeyOutcome;

/* A change of a source that has keys of its own of the change's entity, or of a parent's. */
typedef struct KeyedChange
{
	Change	   *change;
	int			position;		/* among the documents of the call */

	/* what came of it */
	KeyOutcome	outcome;
	bool		added;			/* its key was bound just now */
	bool		duplicate;		/* deliveries don't go to its key */
	int64		merge;			/* that has brought the key here, where deliveries go to another; 0: none */
	bool		linked;			/* to a record that was there, by a match rule */
	bool		supposed;		/* explained: its externalId would be another */
	Answer		answer;
	ChangeError error;
} KeyedChange;

/* Does the source name records of the entity, or what they refer to, by keys of its own? */
extern bool own_keys_used(const Source *source, const Entity *entity);
/* Is what the document calls its record clear?  False, and *error: it isn't. */
extern bool own_keys_check(const Source *source, const Change *change, ChangeError *error);
/*
 * See to it that what the source has is bound, before it is asked for its keys.  Raises
 * while a transaction goes on that may send more by external ids.
 */
extern void own_keys_arm(const char *source);
/*
 * Find the records that the changes of a call name by their sources' keys, and bind keys
 * that are new; without write, what would be bound is only supposed.  Call it before any
 * record is touched.  The changes are put into another order.
 */
extern void own_keys_resolve(KeyedChange *changes, int n, bool write);
/*
 * A change was applied: let its key be as the record stands now.  Returns whether the key is
 * new: what refers to it need not wait any more.
 */
extern bool own_keys_settle(const KeyedChange *keyed, const Answer *answer);
/* Note for sync_check which keys were in conflict. */
extern void own_keys_note_conflicts(const KeyedChange *changes, int n);

/* May the key be bound to the record, or is it?  Else it, or the record, has another. */
extern bool own_keys_bind(const char *source, const char *entity, const char *source_id,
						  const char *external_id);

/*
 * The source has deleted what its current key of the record named: deliveries go there no
 * more, and what comes back is something else there.
 */
extern void own_keys_end(const char *source, const char *entity, const char *external_id);
/* The external id of a record that is new, palloc'd. */
extern const char *own_keys_new_id(void);

#endif							/* SYNCEXT_OWN_KEYS_H */
