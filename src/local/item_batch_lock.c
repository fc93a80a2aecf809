/*
 * item_batch_lock.c
 *	  Locking the relations that a batch of items is about.
 *
 * The locks come before anything is known of the relations, and are kept until the
 * end of the transaction: ALTER TABLE waits for the batch, or the batch for it.  A
 * relation that another session has locked for longer than syncext.lock_timeout, and
 * one that is gone or has lost what its binding names, keeps its own items from being
 * done, and no others.
 */
#include "postgres.h"

#include "access/xact.h"
#include "storage/lmgr.h"

#include "local/item_batch_lock.h"
#include "process/for_now.h"
#include "settings.h"
#include "storage/link.h"
#include "storage/locks.h"

static LOCKMODE
lock_mode(const Binding *binding)
{
	/* where rows are only read, building an index need not wait */
	return binding->capture == CAPTURE_POLL ? AccessShareLock : RowExclusiveLock;
}

typedef struct Wait
{
	Oid			relid;
	LOCKMODE	lockmode;
} Wait;

static void
wait_for_lock(void *arg)
{
	const Wait *wait = arg;

	LockRelationOid(wait->relid, wait->lockmode);
}

/* False if another session keeps it for too long. */
static bool
lock_relation(Oid relid, const Binding *binding)
{
	Wait		wait = {relid, lock_mode(binding)};

	return ConditionalLockRelationOid(relid, wait.lockmode) ||
		bounded_wait_try(setting_lock_timeout, wait_for_lock, &wait);
}

static void
wait_for_transfer(void *arg)
{
	(void) lock_transaction(LOCK_TRANSFER, *(const Oid *) arg, true);
}

/*
 * A poll compares a row with what was delivered to it, and delivery a record with what was
 * polled: neither must see the other's work half done, and a foreign table has no rows here
 * that could be locked.
 */
static bool
lock_transfer(Oid relid)
{
	return lock_transaction(LOCK_TRANSFER, relid, false) ||
		bounded_wait_try(setting_lock_timeout, wait_for_transfer, &relid);
}

/* Why the relation isn't what the item was made for, NULL if it is. */
static const char *
why_closed(const BatchItem *item, const Binding *binding)
{
	if (binding == NULL)
		return psprintf("relation with OID %u is not attached any more", item->relation);
	if (strcmp(binding->source, item->source) != 0 || strcmp(binding->entity, item->entity) != 0)
		return psprintf("relation %s was attached as another source's or entity's in the meantime",
						binding->name != NULL ? binding->name : psprintf("%u", item->relation));
	if ((link_of_source(item->source) != NULL) != item->linked)
		return psprintf("source \"%s\" was %s in the meantime", item->source,
						item->linked ? "unlinked" : "linked");
	return NULL;
}

/* Set how things are with the relation of the first item, for all of its items. */
static void
look_at_relation(BatchItem *item)
{
	const Binding *binding = binding_of_relation(item->relation);
	const Binding *again;
	const Attached *attached;

	item->closed = why_closed(item, binding);
	if (binding == NULL || item->closed != NULL)
		return;
	item->relation_busy = !lock_relation(item->relation, binding) ||
		(binding->capture == CAPTURE_POLL && !lock_transfer(item->relation));
	if (item->relation_busy)
		return;
	/* the session that had the lock may have made something else of it */
	again = binding_of_relation(item->relation);
	item->closed = why_closed(item, again);
	if (again == NULL || item->closed != NULL)
		return;
	item->relation_busy = again->capture != binding->capture;
	if (item->relation_busy)
		return;
	attached = attached_open(item->relation, lock_mode(binding));
	if (attached == NULL)
		item->closed = psprintf("attached relation %u was dropped", item->relation);
	else if (attached->problem != NULL)
		item->closed = pstrdup(attached->problem);
	else
	{
		item->name = pstrdup(attached->name);
		item->owner = attached->owner;
		item->deferrable = attached->deferrable;
		/* a transaction with a snapshot of its own has to be told of what that doesn't see */
		item->may_be_alone = item->wants_alone && attached->relkind == RELKIND_RELATION &&
			attached->has_key_index && !IsolationUsesXactSnapshot() &&
			lock_mode(binding) == RowExclusiveLock;
	}
}

void
item_batch_lock_relations(BatchItem *items, int n)
{
	List	   *relations = NIL;
	ListCell   *lc;

	for (int i = 0; i < n; i++)
		if (i == 0 || items[i].relation != items[i - 1].relation)
			relations = list_append_unique_oid(relations, items[i].relation);
	list_sort(relations, list_oid_cmp);
	foreach(lc, relations)
	{
		const BatchItem *first = NULL;

		for (int i = 0; i < n; i++)
		{
			if (items[i].relation != lfirst_oid(lc))
				continue;
			if (first == NULL)
				look_at_relation(&items[i]);
			else
			{
				items[i].relation_busy = first->relation_busy;
				items[i].closed = first->closed;
				items[i].owner = first->owner;
				items[i].name = first->name;
				items[i].deferrable = first->deferrable;
				items[i].may_be_alone = first->may_be_alone;
			}
			first = &items[i];
		}
	}
}
