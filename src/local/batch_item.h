/*
 * batch_item.h
 *	  A record of an attached relation that work is to be done for.
 */
#ifndef SYNCEXT_BATCH_ITEM_H
#define SYNCEXT_BATCH_ITEM_H

#include "local/row_state.h"

/* What came of an item whose row another transaction holds; outcomes of callers are not below 0. */
#define BATCH_ITEM_BUSY	(-1)

typedef struct BatchItem
{
	/* set by batch_item_init, but for external_id */
	Oid			relation;		/* attached */
	const char *source;			/* as this one's copy */
	const char *entity;			/* of this */
	bool		linked;			/* which the hub behind a link decides */
	const char *external_id;

	ItemPointerData at;			/* where its row was read, a hint; or not valid */
	ItemPointerData record_at;	/* where its record was read in this transaction, a hint; or not
								 * valid */
	bool		correction;		/* to be written whatever row version was seen */
	bool		deleted;		/* the record was deleted, as far as the caller knows */
	Jsonb	   *fields;			/* the record's fields, to order by; or NULL */
	bool		known;			/* load.c's: the row has seen the record as it is */
	bool		wants_alone;	/* to be done while nobody else writes the relation, if that can be */
	void	   *data;			/* the caller's */
	int			free_value;		/* let the row go of its unique values, for others to
								 * get: free_value_put; 0: don't */

	/* how things are with its relation: set by item_batch_lock_relations */
	const char *name;			/* qualified and quoted */
	Oid			owner;
	bool		deferrable;		/* constraints of it can be deferred */
	bool		may_be_alone;	/* it wants that, and the relation is of the kind */
	bool		relation_busy;	/* another session has it locked */
	const char *closed;			/* why nothing can be done with it at all, or NULL */

	/* what came of it */
	int			outcome;		/* what the BatchItemFunction returned: of an enum that its
								 * caller counts by, RowWriteOutcome for one */
	bool		named;			/* deliver.c's: the row was given a key of the relation's own */
	bool		busy;			/* another transaction holds the row: not now */
	char	   *error;			/* why it failed, or NULL */
	int			sqlerrcode;		/* of that */
	struct Handover *handover;	/* the unique values that the row was refused for, or
								 * NULL */
} BatchItem;

/*
 * Make an item of a relation for work that is right as long as it is bound so.  A
 * session that holds the relation's lock until we get it may change that: then the
 * item fails.
 */
extern void batch_item_init(BatchItem *item, const Binding *binding, bool linked,
							const char *external_id);

/* Can anything be done for the item? */
extern bool batch_item_is_open(const BatchItem *item);
/* SQLSTATE, message and constraint of an error, as it is stored. */
extern char *batch_item_describe_error(const ErrorData *error);

/* Why the item wasn't done; NULL if it was. */
extern const char *batch_item_error(const BatchItem *item);

#endif							/* SYNCEXT_BATCH_ITEM_H */
