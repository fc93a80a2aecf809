/*
 * rebase.c
 *	  Rows of relations behind a link whose hub has gone back in time: what it has
 *	  lost of them is sent to it again.
 *
 * Called by link/resync.  The hub has said what it has of the record now, and up to
 * which row version that is what we knew.  That is what is agreed on from now on; what
 * the row holds beside it, its own edits and those of others that the hub had
 * delivered once, is an edit made on that row version, which the hub decides as any
 * other.
 */
#include "postgres.h"

#include "local/linked.h"
#include "local/rebase.h"
#include "local/work.h"
#include "model/fields.h"
#include "storage/replica.h"

/* What comes of a row. */
typedef enum RebaseOutcome
{
	REBASE_KNOWN,				/* it was done before, or the row is gone */
	REBASE_EQUAL,				/* the row holds nothing else than the hub has */
	REBASE_CAPTURED,
	REBASE_PLACED,				/* nothing is sent from it: the hub's is placed again */
	REBASE_STRANDED				/* the hub has nothing to place */
} RebaseOutcome;

/* Nothing of it goes to the hub: what that has comes over what is here. */
static int
yield_row(Placer *placer, Placement *p, const LostRecord *lost)
{
	p->replica.row_version = 0;
	replica_set(placer->replica, p->attached->binding->relation, p->external_id, &p->replica);
	return lost->present ? REBASE_PLACED : REBASE_STRANDED;
}

static int
rebase_row(Placer *placer, Attached *attached, WorkItem *item, void *arg)
{
	const LostRecord *lost = item->data;
	LinkedRecord now = {.whole = true, .deleted = lost->deleted, .fields = lost->fields,
	.withheld = lost->withheld};
	Placement	p;
	Fields		agreed;

	if (!place_lock_row(placer, attached, item->external_id, &p))
	{
		item->busy = true;
		return REBASE_KNOWN;
	}
	if (!p.replica.exists ||
		replica_seen(p.replica.row_version, p.replica.answered, p.replica.fields != NULL) <= lost->base)
		return REBASE_KNOWN;
	p.replica.answered = p.replica.adjusted = 0;
	p.replica.held = p.replica.cascaded = NULL;
	if (!attached->binding->in)
		return yield_row(placer, &p, lost);
	agreed = linked_fields(&now, p.replica.fields);
	p.replica.fields = lost->present && !lost->deleted ?
		rebase_keep_withheld(&agreed, p.replica.fields, &lost->withheld) : NULL;
	p.replica.row_version = lost->base;
	replica_set(placer->replica, attached->binding->relation, item->external_id, &p.replica);
	return linked_capture(&p, true) ? REBASE_CAPTURED : REBASE_EQUAL;
}

Jsonb *
rebase_keep_withheld(const Fields *agreed, Jsonb *before, const Fields *withheld)
{
	Fields		known = {0, NULL};
	Fields		kept;

	if (before == NULL || withheld->n == 0)
		return fields_to_jsonb(agreed);
	fields_from_container(&before->root, &known);
	kept.n = 0;
	kept.field = palloc(sizeof(Field) * (agreed->n + known.n + 1));
	/* both are in jsonb's key order */
	for (int i = 0, j = 0; i < agreed->n || j < known.n;)
	{
		int			cmp = i == agreed->n ? 1 : j == known.n ? -1 :
			field_name_cmp(agreed->field[i].name, known.field[j].name);

		if (cmp <= 0)
			kept.field[kept.n++] = agreed->field[i];
		else if (fields_find(withheld, known.field[j].name) != NULL)
			kept.field[kept.n++] = known.field[j];
		i += cmp <= 0;
		j += cmp >= 0;
	}
	return fields_to_jsonb(&kept);
}

bool
rebase_rows(const char *source, LostRecord *records, int n, Rebased *result)
{
	WorkItem   *items = palloc0(sizeof(WorkItem) * Max(n, 1));
	int			nitems = 0;
	bool		all = true;

	for (int i = 0; i < n; i++)
	{
		const Binding *binding = binding_of_entity(source, records[i].entity);

		if (binding == NULL || !binding_stands(binding))
			continue;
		work_item(&items[nitems], binding, true, records[i].external_id);
		items[nitems++].data = &records[i];
	}
	if (nitems > 0)
		work_through(registry_get(), items, nitems, rebase_row, NULL);
	for (int i = 0; i < nitems; i++)
	{
		/* what the table's own code says to it matters when it is placed */
		if (work_error(&items[i]) != NULL)
			all = false;
		else if (items[i].outcome == REBASE_CAPTURED)
			result->resent++;
		else if (items[i].outcome == REBASE_STRANDED)
			result->stranded++;
		if (items[i].error != NULL && result->error == NULL)
			result->error = pstrdup(items[i].error);
	}
	return all;
}
