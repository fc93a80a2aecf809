/*
 * work.h
 *	  Working through records of attached relations: all in one
 *	  subtransaction, or in smaller ones where that fails.
 */
#ifndef SYNCEXT_WORK_H
#define SYNCEXT_WORK_H

#include "local/place.h"

typedef struct WorkItem
{
	/* set by work_item, but for external_id */
	Oid			relation;		/* attached */
	const char *source;			/* as this one's copy */
	const char *entity;			/* of this */
	bool		linked;			/* which the hub behind a link decides */
	const char *external_id;

	bool		correction;		/* to be written whatever row version was seen */
	bool		deleted;		/* the record was deleted, as far as the caller knows */
	Jsonb	   *fields;			/* the record's fields, to order by; or NULL */
	void	   *data;			/* the caller's */
	int			free_value;		/* let the row go of its unique values, for others to
								 * get: free_value_put; 0: don't */

	/* how things are with its relation: set by work_lock_relations */
	const char *name;			/* qualified and quoted */
	Oid			owner;
	bool		deferrable;		/* constraints of it can be deferred */
	bool		shut;			/* another session has it locked */
	const char *closed;			/* why nothing can be done with it at all, or NULL */

	/* what came of it */
	int			outcome;		/* what the WorkFunction returned */
	bool		busy;			/* somebody holds the row: not now */
	char	   *error;			/* why it failed, or NULL */
	int			sqlerrcode;		/* of that */
	struct Handover *handover;	/* the unique values that the row was refused for, or
								 * NULL */
} WorkItem;

/*
 * Make an item of a relation for work that is right as long as it is bound so.  Whoever
 * is waited for on the way to its lock may change that: then the item fails.
 */
extern void work_item(WorkItem *item, const Binding *binding, bool linked,
					  const char *external_id);

/* Returns an outcome of its own making; sets item->busy, or raises. */
typedef int (*WorkFunction) (Placer *placer, Attached *attached, WorkItem *item, void *arg);

/*
 * Do the work for all items.  An item that fails has error set and has changed
 * nothing; what concerns more than one item (a cancel, no space) is raised.
 */
extern void work_through(const Registry *registry, WorkItem *items, int n,
						 WorkFunction function, void *arg);

/* SQLSTATE, message and constraint of an error, as it is stored. */
extern char *work_describe_error(const ErrorData *error);

/* Why the item wasn't done; NULL if it was. */
extern const char *work_error(const WorkItem *item);

#endif							/* SYNCEXT_WORK_H */
